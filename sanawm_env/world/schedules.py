"""Noise levels of the sampler: the release's, how to make others, and what every schedule has to be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["RELEASE_SIGMAS", "check_sigmas", "euler_sigmas", "sampler_sigmas"]

RELEASE_SIGMAS = (1.0, 0.960, 0.889, 0.727, 0.0)
"""Noise levels of the distilled release; four model calls."""


def check_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Check a sampler schedule.

    Args:
        sigmas: Noise levels in [0, 1].

    Returns:
        The same levels as plain floats.

    Raises:
        ValueError: Fewer than two levels, not strictly descending, above 1, or not ending in 0.
    """
    levels = tuple(float(level) for level in sigmas)
    descending = all(a > b for a, b in itertools.pairwise(levels))
    if len(levels) < 2 or not descending or levels[0] > 1 or levels[-1] != 0:
        raise ValueError(
            f"sigmas must descend strictly from at most 1 to exactly 0, for instance (1.0, 0.9, 0.6, 0.0); "
            f"got {levels}."
        )
    return levels


def euler_sigmas(steps: int = 60, shift: float = 9.8) -> tuple[float, ...]:
    """Noise levels of the release's scheduler: `steps` of them and a final 0.

    The evenly spaced levels run from 1 down to the *shifted* 1/1000, and are then shifted (again): s*u / (1 + (s-1)*u).

    Raises:
        ValueError: Steps below 1, or a shift that is not positive.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"steps must be at least 1 and the flow shift positive; got {steps} and {shift}.")

    def shifted(u: Any) -> Any:
        return shift * u / (1 + (shift - 1) * u)

    levels = shifted(np.linspace(1.0, np.float32(shifted(np.float32(0.001))), steps))
    return (*(float(level) for level in levels.astype(np.float32)), 0.0)


def sampler_sigmas(schedule: Sequence[float], steps: int | None, sigmas: Sequence[float] | None) -> tuple[float, ...]:
    """The noise levels that somebody asks for by number or by value.

    Args:
        schedule: The checkpoint's.
        steps: Model calls; the checkpoint's schedule is resampled to that many, evenly by its index.
        sigmas: The levels themselves.

    Raises:
        ValueError: Both are given, steps below 1, or no valid schedule.
    """
    if sigmas is not None:
        if steps is not None:
            raise ValueError("give either sampler_steps or sigmas, not both.")
        return check_sigmas(sigmas)
    if steps is None or steps == len(schedule) - 1:
        return check_sigmas(schedule)
    if steps < 1:
        raise ValueError(f"sampler_steps must be at least 1; got {steps}.")
    places = np.linspace(0, len(schedule) - 1, steps + 1)
    return check_sigmas(np.interp(places, np.arange(len(schedule)), schedule).tolist())
