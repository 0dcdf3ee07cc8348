"""What a number depends on beside its own options, so that results on disk are taken up only where they still hold."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import sanawm_env
from sanawm_env.world.model import WorldModel

__all__ = ["code_digest", "frames_depend_on", "numbers_depend_on"]

WORLD = ("camera", "scenes", "world")
"""Folders of the package that decide about generated frames."""
MEASURES = (*WORLD, "envs", "evaluation/camera_recovery", "evaluation/metrics", "evaluation/parts.py")
"""What decides about a suite's numbers."""
LIBRARIES = ("numpy", "scipy", "opencv-python", "opencv-python-headless", "scikit-image", "evo")
"""Packages that measures compute with."""


def frames_depend_on(world: WorldModel) -> dict[str, Any]:
    """What the bits of a world's frames depend on, its inputs apart; JSON-ready.

    Threads and the kind of processor are in it: both change the order of sums, and a minute later the frames.
    """
    transformer = world.transformer
    gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
    return {
        "checkpoint": world.checkpoint,
        "device": str(world.device),
        "processor": gpu or f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "dtype": str(world.dtype).removeprefix("torch."),
        # Quantised weights have types of their own.
        "weights": sorted({f"{type(each.data).__name__} {each.dtype}" for each in transformer.parameters()}),
        "batched": world.batched,
        "torch": torch.__version__,
        "code": code_digest(WORLD),
    }


def numbers_depend_on(world: WorldModel) -> dict[str, Any]:
    """The same for measures of frames: also their code, and the libraries that they compute with."""
    libraries = {name: _version(name) for name in LIBRARIES}
    return frames_depend_on(world) | {"code": code_digest(MEASURES), "libraries": libraries}


@cache
def code_digest(parts: tuple[str, ...]) -> str:
    """Hash of source files of this package.

    A version number would have to be remembered with every fixed metric; a forgotten one prints a stale number.

    Args:
        parts: Folders, taken with all below them, or files, relative to the package.
    """
    root, digest = Path(sanawm_env.__file__).parent, hashlib.sha256()
    files = [
        file for part in parts for file in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    ]
    for file in sorted(files):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
