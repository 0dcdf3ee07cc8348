"""How a session came to a moment: its episode's beginning and the actions since.

A moment itself (`EnvSnapshot`) is a value of the environment's, which knows nothing of it; this is kept beside moments,
in memory here and in their files by `save_moment`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from sanawm_env.envs.snapshot import EnvSnapshot

__all__ = ["LONGEST", "Beginning", "Past", "past_of", "read_past", "remember", "written_past"]

LONGEST = 10_000
"""Steps of a past; that of a longer walk is no longer kept, so that memory does not grow with it."""


@dataclass(frozen=True)
class Beginning:
    """A reset that gives the same world each time."""

    settings: Mapping[str, Any]
    """Of the session, as JSON has them."""
    seed: int
    options: Mapping[str, Any]
    """Of the reset, as JSON has them; no `state`."""


@dataclass(frozen=True, eq=False, slots=True)
class Past:
    """A beginning and actions; those of later moments share the memory of earlier ones."""

    beginning: Beginning
    steps: int = 0
    before: Past | None = None
    action: NDArray[np.float32] | None = None

    def then(self, action: Any) -> Past | None:
        """One step further; None where it becomes too long."""
        if self.steps >= LONGEST:
            return None
        return Past(self.beginning, self.steps + 1, self, np.asarray(action, np.float32))

    @property
    def actions(self) -> list[NDArray[np.float32]]:
        """Oldest first."""
        found, past = [], self
        while past.before is not None and past.action is not None:
            found.append(past.action)
            past = past.before
        return found[::-1]


_PASTS: WeakKeyDictionary[EnvSnapshot, Past] = WeakKeyDictionary()


def past_of(moment: EnvSnapshot) -> Past | None:
    """How a moment came about; None where that is not known."""
    return _PASTS.get(moment)


def remember(moment: EnvSnapshot, past: Past | None) -> None:
    """Keep it for as long as the moment is there."""
    if past is not None:
        _PASTS[moment] = past


# -- files ----------------------------------------------------------------------------------------------------


def written_past(moment: EnvSnapshot) -> dict[str, NDArray[Any]]:
    """As arrays for a file; none where it is not known."""
    past = past_of(moment)
    if past is None:
        return {}
    actions = np.stack(past.actions) if past.steps else np.zeros(0, np.float32)
    return {"past": np.array(json.dumps(asdict(past.beginning))), "actions": actions}


def read_past(arrays: Mapping[str, NDArray[Any]]) -> Past | None:
    """Inverse of `written_past`."""
    if "past" not in arrays:
        return None
    past = Past(Beginning(**json.loads(arrays["past"].item())))
    for step, action in enumerate(arrays["actions"]):
        past = Past(past.beginning, step + 1, past, action)
    return past
