"""Datasets of posed clips from textured worlds: `sanawm data generate`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sanawm_env.camera.rays import relative_to_first
from sanawm_env.scenes.external.source import Take
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, read_clip, write_clip
from sanawm_env.scenes.seeds import EVAL_SEEDS, check_training_seeds

__all__ = ["SOURCES", "Plan", "Source", "generate"]


@dataclass(frozen=True)
class Source:
    """A package that draws textured worlds."""

    packages: tuple[str, ...]
    """Modules that must be there."""
    license: str
    """Under which its pictures may be used."""

    def check(self, name: str) -> None:
        """Refuse before anything is written.

        Raises:
            ValueError: A package is not installed; says which line installs it.
        """
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            install = f'pip install "sanawm_env[{name}]" (or -e ".[{name}]")'
            raise ValueError(f"the source {name!r} needs {' and '.join(missing)}: {install}.")


SOURCES: dict[str, Source] = {
    "labmaze": Source(("labmaze", "mujoco"), "Apache-2.0 (textures of labmaze)"),
    "vizdoom": Source(("vizdoom",), "BSD-3-Clause (Freedoom)"),
}
"""By name, which is that of the extra and of the module in this folder as well."""


@dataclass(frozen=True)
class Plan:
    """What to make."""

    source: str
    """One of `SOURCES`."""
    clips: int
    """Clips that training may take, of scene seeds from `seed` on."""
    held_out: int = 0
    """Clips that it may not, of scene seeds from the first of `EVAL_SEEDS` on."""
    seed: int = 0
    """First scene seed."""
    frames: int = 97
    """Of each clip, at 16 frames/s."""
    height: int = 128
    width: int = 224
    """Pixels."""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"unknown source {self.source!r}; known are {', '.join(SOURCES)}.")
        if self.clips < 0 or self.held_out < 0 or self.clips + self.held_out == 0:
            raise ValueError(f"nothing to make: clips is {self.clips} and held_out {self.held_out}; raise one of them.")
        if self.frames < 2 or min(self.height, self.width) < 16:
            raise ValueError(
                f"clips need at least 2 frames of 16x16 px; got {self.frames} of {self.height}x{self.width}."
            )
        if self.clips:
            check_training_seeds([self.seed, self.seed + self.clips - 1])

    @property
    def seeds(self) -> list[int]:
        """Of all clips, those held out first: there are few, and nothing can be measured without them."""
        return [*EVAL_SEEDS[: self.held_out], *range(self.seed, self.seed + self.clips)]

    def name(self, seed: int) -> str:
        """Of a clip's folder."""
        return f"{self.source}-{seed:08d}"


def generate(plan: Plan, out: Path) -> tuple[int, Iterator[PosedClip]]:
    """Make the clips that are not there yet.

    A clip depends on its seed and size alone, so an interrupted run goes on where it stopped, and a longer one keeps
    what a shorter one made.

    Returns:
        How many there are to make, and those as they are made.

    Raises:
        ValueError: A package of the source is not installed (says which line installs it), or `out` holds something
            else, or clips of another length or size.
    """
    SOURCES[plan.source].check(plan.source)
    folder = prepare_clips(out)
    todo = []
    for seed in plan.seeds:
        if not (folder / plan.name(seed) / "clip.json").exists():
            todo.append(seed)
            continue
        there = read_clip(folder / plan.name(seed))
        if (len(there), there.height, there.width) != (plan.frames, plan.height, plan.width):
            raise ValueError(
                f"{there.folder} has {len(there)} frames of {there.height}x{there.width}, not {plan.frames} of "
                f"{plan.height}x{plan.width}; choose another folder."
            )
    film: Callable[[int, int, int, int], Take]
    film = importlib.import_module(f"sanawm_env.scenes.external.{plan.source}").film
    return len(todo), (
        _write(folder / plan.name(seed), plan, seed, film(seed, plan.frames, plan.height, plan.width)) for seed in todo
    )


def _write(folder: Path, plan: Plan, seed: int, take: Take) -> PosedClip:
    c2w = relative_to_first(torch.from_numpy(take.c2w)).numpy()
    clip = PosedClip(
        c2w,
        np.tile(take.intrinsics.astype(np.float32), (len(c2w), 1)),
        plan.height,
        plan.width,
        metric=True,
        figures={"seed": seed, "held_out": seed in EVAL_SEEDS},
        source=plan.source,
        license=SOURCES[plan.source].license,
    )
    return write_clip(folder, clip, take.rgb, take.depth)
