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

__all__ = ["MAX_SEED", "check_seeds", "frame_noise", "slot_noise"]

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
    return slot_noise([seed], [start], frames, shape)[0]


def slot_noise(
    seeds: Sequence[int], starts: Sequence[int], frames: int, shape: tuple[int, int, int], stage: int = 1
) -> Tensor:
    """The `frame_noise` of several rollouts, `(B, C, T, h, w)`, in one go; that of stage 2 is another.

    One generator is set from counter to counter: a new one for every frame would ask the system for entropy that
    nobody uses, at ten times the cost.
    """
    draws = np.empty((len(seeds), frames, *shape), np.float32)
    bits = np.random.Philox(key=0)
    generator, state = np.random.Generator(bits), bits.state
    words = state["state"]
    for slot, (seed, start) in enumerate(zip(seeds, starts, strict=True)):
        words["key"][:] = (seed, stage - 1)
        for frame in range(frames):
            # The frame index is the counter's highest word: 2**192 draws lie between two frames.
            words["counter"][:] = (0, 0, 0, start + frame)
            bits.state = state
            generator.standard_normal(dtype=np.float32, out=draws[slot, frame])
    return torch.from_numpy(draws).transpose(1, 2).contiguous()


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
