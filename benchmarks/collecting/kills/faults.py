"""What is wrong with a folder that was killed, and finished."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sanawm_env.data.collection.store import Store

__all__ = ["Facts", "facts", "faults", "temporaries"]

Facts: TypeAlias = dict[int, tuple[str, Any, bytes]]
"""By item: hash of frames, actions, and the bytes of the video."""
_PARTS = ("frames", "actions", "video")


def facts(root: Path) -> Facts:
    """What must not depend on kills."""
    store = Store(root)
    return {
        number: (each["recipe"]["frames_sha256"], each["recipe"]["actions"], store.video(number).read_bytes())
        for number, each in store.done().items()
    }


def faults(root: Path, truth: Facts) -> list[str]:
    """Compare a finished folder with that of an undisturbed run; empty if all is well."""
    store, found = Store(root), []
    try:
        here = facts(root)
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]
    if sorted(here) != sorted(truth):
        found.append(f"items {sorted(here)}")
    for number in here:
        pairs = zip(_PARTS, here[number], truth.get(number, (None, None, None)), strict=True)
        if parts := [name for name, mine, theirs in pairs if mine != theirs]:
            found.append(f"item {number} differs: {', '.join(parts)}")
    for number in here:
        with np.load(store.arrays(number)) as arrays:
            if len(arrays["c2w"]) != store.done()[number]["recipe"]["frames"]:
                found.append(f"item {number} has other poses than frames")
    found += [f"left over: {name}" for name in temporaries(root)]
    if (videos := len(list(root.rglob("*.mp4")))) != len(truth):
        found.append(f"{videos} videos")
    numbers = Counter(_numbers(root / "sanawm" / "progress.jsonl"))
    found += [f"item {number} was made {count} times" for number, count in numbers.items() if count > 1]
    try:
        info = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [*found, f"no index: {error}"]
    if info["total_episodes"] != len(truth):
        found.append(f"the index has {info['total_episodes']} episodes")
    return found


def temporaries(root: Path) -> list[str]:
    """Names of files and folders that a killed writer left."""
    return sorted(path.name for path in root.rglob(".*"))


def _numbers(path: Path) -> list[int]:
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(int(json.loads(text)["number"]))
        except (ValueError, KeyError):  # a killed run's half line
            continue
    return found
