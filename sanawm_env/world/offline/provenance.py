"""What the bits of a world's frames depend on beside its inputs."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

import sanawm_env
from sanawm_env.world.model import WorldModel

__all__ = ["WORLD", "code_digest", "frames_depend_on"]

WORLD = ("camera", "scenes", "world")
"""Folders of the package that decide about generated frames."""


def frames_depend_on(world: WorldModel, threads: int | None = None) -> dict[str, Any]:
    """What the bits of a world's frames depend on, its inputs apart; JSON-ready.

    Threads and the kind of processor are in it: both change the order of sums, and a minute later the frames.

    Args:
        world: Which.
        threads: Of torch in the processes that make the frames; None is those of this one.
    """
    transformer = world.transformer
    gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
    return {
        "checkpoint": world.checkpoint,
        "device": str(world.device),
        "processor": gpu or f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads() if threads is None else threads,
        "dtype": str(world.dtype).removeprefix("torch."),
        # Quantised weights have types of their own.
        "weights": sorted({f"{type(each.data).__name__} {each.dtype}" for each in transformer.parameters()}),
        "batched": world.batched,
        "state_precision": world.state_precision,
        "torch": torch.__version__,
        "code": code_digest(WORLD),
    }


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
