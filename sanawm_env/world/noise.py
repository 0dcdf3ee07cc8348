"""Counter-based starting noise: a pure function of seed and latent-frame index.

A generator that is advanced by drawing would make the noise of a frame depend on the chunk lengths before it,
and would be one more thing to save. Here the whole generator state of a rollout is its seed together with the
number of latent frames committed so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["MAX_SEED", "check_seeds", "frame_noise"]

MAX_SEED = 2**63 - 1
"""Largest noise seed: seeds are stored as int64."""


def frame_noise(seed: int, start: int, frames: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise of some latent frames of one rollout, the same on every device.

    Args:
        seed: Noise seed of the rollout, 0 to `MAX_SEED`.
        start: Absolute index of the first latent frame.
        frames: Number of latent frames T.
        shape: Channels, rows and columns of a latent frame.

    Returns:
        `(C, T, h, w)` float32 on the CPU.
    """
    # The frame index is the counter's highest word: 2**192 draws lie between two frames.
    generators = [np.random.Generator(_philox(seed, j)) for j in range(start, start + frames)]
    draws = [generator.standard_normal(shape, np.float32) for generator in generators]
    return torch.tensor(np.stack(draws, axis=1))


def _philox(seed: int, frame: int) -> np.random.Philox:
    return np.random.Philox(key=seed, counter=[0, 0, 0, frame])


def check_seeds(seeds: Sequence[int], slots: int) -> list[int]:
    """Check one noise seed per slot; returns them as plain ints.

    Raises:
        ValueError: Wrong number, not integers, or outside 0..`MAX_SEED`.
    """
    try:
        values = [int(seed) for seed in seeds]
        exact = all(value == seed for value, seed in zip(values, seeds, strict=True))
    except (TypeError, ValueError, OverflowError):
        values, exact = [], False
    if not exact or len(values) != slots or any(not 0 <= value <= MAX_SEED for value in values):
        raise ValueError(f"seeds must be {slots} integers in 0..2**63-1, one per slot; got {seeds!r}.")
    return values
