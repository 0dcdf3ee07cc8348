"""Why a rendering may differ from the first one: what it depends on, then and now, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["reasons"]

_WORDS = {
    "checkpoint": "the checkpoint was {then} and is {now}",
    "device": "it was rendered on {then}, and now on {now}",
    "processor": "the processor was {then} and is {now}; others sum in another order",
    "threads": "{then} threads rendered it, and now {now} (--threads as-recorded); their number decides how sums round",
    "dtype": "weights and activations were {then} and are {now}",
    "weights": "the weights were stored as {then} and are {now}",
    "batched": "slots shared a forward: {then}, and now: {now}; a batch of another size sums in another order",
    "torch": "PyTorch was {then} and is {now}",
    "code": "the code of the world has changed since (camera, scenes, world: {then}, now {now})",
}


def reasons(
    then: Mapping[str, Any], now: Mapping[str, Any], versions_then: Mapping[str, str], versions_now: Mapping[str, str]
) -> list[str]:
    """What differs, one sentence each; a sentence of its own if nothing does.

    Args:
        then: The recipe's `depends_on`.
        now: `world.offline.provenance.frames_depend_on` of the world that rendered it again.
        versions_then: The recipe's versions of software.
        versions_now: Those here.
    """
    found, unknown = [], []
    for name, words in _WORDS.items():
        if name not in then:
            unknown.append(name)
        elif then[name] != now.get(name):
            found.append(words.format(then=_text(then[name]), now=_text(now.get(name))))
    for name in sorted((then.keys() | now.keys()) - _WORDS.keys()):  # of a version that knows more
        if then.get(name) != now.get(name):
            found.append(f"{name} was {_text(then.get(name))} and is {_text(now.get(name))}")
    for name in sorted(versions_then.keys() & versions_now.keys() - {"torch"}):
        if versions_then[name] != versions_now[name]:
            found.append(f"{name} was {versions_then[name]} and is {versions_now[name]}")
    if unknown:
        found.append(f"the recipe, an older one, does not say: {', '.join(unknown)}")
    if then.get("device", "cpu") != "cpu" and then.get("batched"):
        found.append("episodes collected side by side on a GPU agree with one by itself up to rounding only")
    return found or [
        "nothing that is recorded differs: was the recipe or the dataset edited, or is a kernel of the device not "
        "repeatable?"
    ]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
