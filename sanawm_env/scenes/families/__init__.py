"""Scene families: each one turns an integer seed into a world."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sanawm_env.scenes.builder import Dice
from sanawm_env.scenes.families.maze import build_maze
from sanawm_env.scenes.families.outdoor import build_outdoor
from sanawm_env.scenes.families.room import build_room
from sanawm_env.scenes.scene import Scene

FAMILIES: dict[str, Callable[[Dice], Scene]] = {
    "room": build_room,
    "maze": build_maze,
    "outdoor": build_outdoor,
}
"""Family name to the function that draws one scene of it."""


def check_families(families: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted families, all by default.

    Raises:
        ValueError: If a name is unknown or none is given.
    """
    names = tuple(FAMILIES) if families is None else tuple(families)
    unknown = [n for n in names if n not in FAMILIES]
    if unknown or not names:
        raise ValueError(f"unknown scene families {unknown}; choose some of {list(FAMILIES)}")
    return names


def make_scene(family: str, seed: int) -> Scene:
    """One scene (batch of one, CPU); the same family and seed give the same scene, bit for bit."""
    (name,) = check_families([family])
    if seed < 0:
        raise ValueError(f"seeds must not be negative, got {seed}")
    return FAMILIES[name](Dice(seed, 1))
