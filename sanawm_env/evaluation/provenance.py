"""What a number depends on beside its own options, so that results on disk are taken up only where they still hold."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.provenance import WORLD, code_digest, frames_depend_on

__all__ = ["code_digest", "episodes_depend_on", "frames_depend_on", "numbers_depend_on"]

MEASURES = (*WORLD, "envs", "evaluation/camera_recovery", "evaluation/metrics", "evaluation/parts")
"""What decides about a suite's numbers."""
EPISODES = (*WORLD, "envs", "tasks", "evaluation/policy/trials.py")
"""What decides about a policy's episodes, beside the policy."""
LIBRARIES = ("numpy", "scipy", "opencv-python", "opencv-python-headless", "scikit-image", "evo")
"""Packages that measures compute with."""


def numbers_depend_on(world: WorldModel, threads: int | None = None) -> dict[str, Any]:
    """`frames_depend_on` for measures of frames: also their code, and the libraries that they compute with."""
    return _depend_on(world, threads, MEASURES)


def episodes_depend_on(world: WorldModel, threads: int | None = None) -> dict[str, Any]:
    """`frames_depend_on` for episodes of a task: also the code of environments and tasks, and libraries."""
    return _depend_on(world, threads, EPISODES)


def _depend_on(world: WorldModel, threads: int | None, parts: tuple[str, ...]) -> dict[str, Any]:
    libraries = {name: _version(name) for name in LIBRARIES}
    return frames_depend_on(world, threads) | {"code": code_digest(parts), "libraries": libraries}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
