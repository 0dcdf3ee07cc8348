"""Shares of the moves that contact got right, and how far its depth is from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Array = NDArray[np.float64]

CUT = 0.05
"""Metres into a surface that `kept_of_hits` forgives."""
NEAR = 1.5
"""Metres; the depth that decides a step."""


@dataclass(frozen=True)
class Move:
    """One move, what is true of it, and what contact made of it."""

    seed: int
    """Of the scene."""
    family: str
    step: int
    """Steps walked before."""
    hit: bool
    """Whether the body would come nearer to a surface than its radius."""
    seen: bool
    """Whether frame 0 shows the contact point of a hit, or the way of a free move."""
    shares: dict[str, float]
    """Share of the path that contact leaves, in each case."""
    room: dict[str, float]
    """True least room (m) along that share."""


def summarize(moves: Sequence[Move], case: str = "") -> dict[str, Any]:
    """Numbers and shares, within the first view and beyond it; None where there are no such moves."""
    found: dict[str, Any] = {}
    for end, seen in (("", True), ("_beyond", False)):
        hits = [m for m in moves if m.hit and m.seen == seen]
        free = [m for m in moves if not m.hit and m.seen == seen]
        found[f"blocked_of_hits{end}"] = _share([m.shares[case] < 1 for m in hits])
        found[f"shortened_of_free{end}"] = _share([m.shares[case] < 1 for m in free])
        found[f"kept_of_hits{end}"] = _share([m.room[case] >= -CUT for m in hits])
        found[f"hits{end}"], found[f"free{end}"] = len(hits), len(free)
    return found


def interval(moves: Sequence[Move]) -> list[float] | None:
    """95 % interval of the share of shortened moves; None for fewer than two scenes."""
    seeds = sorted({m.seed for m in moves})
    if len(seeds) < 2:
        return None
    short = [sum(m.shares[""] < 1 for m in moves if m.seed == seed) for seed in seeds]
    count = [sum(m.seed == seed for m in moves) for seed in seeds]
    found = bootstrap(
        (short, count),
        lambda short, count, axis: short.sum(axis) / count.sum(axis),
        paired=True,
        method="percentile",
        rng=0,
    ).confidence_interval
    return [round(float(found.low), 4), round(float(found.high), 4)]


def depth_error(pixels: Array) -> dict[str, float | None]:
    """Relative errors of depth, `(2, pixels)` guessed and true, where both see something."""
    guess, true = pixels[:, np.isfinite(pixels).all(0)]
    error, near = guess / true - 1, true < NEAR
    return {
        "depth_median_error": median(np.abs(error)),
        "depth_median_error_near": median(np.abs(error[near])),
        "depth_median_bias": median(error),
        "depth_median_bias_near": median(error[near]),
    }


def median(values: Array) -> float | None:
    """To four decimals; None of no values."""
    return round(float(np.median(values)), 4) if values.size else None


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None
