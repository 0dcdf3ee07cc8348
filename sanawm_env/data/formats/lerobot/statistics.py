"""LeRobot's statistics of features: of one episode, and of several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTILES", "combined", "of_rows"]

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}

Statistics = Mapping[str, Any]
"""min, max, mean, std, the quantiles and count, each a (nested) list."""


def of_rows(values: NDArray[Any]) -> dict[str, Any]:
    """Of one feature `(n, ...)`; a plain number counts as shape (1,)."""
    rows = np.asarray(values, np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    found: dict[str, Any] = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    for name, value in zip(QUANTILES, np.quantile(rows, list(QUANTILES.values()), axis=0), strict=True):
        found[name] = value
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(rows)]}


def combined(parts: Sequence[Statistics]) -> dict[str, Any]:
    """Of several sets of rows from those of each: exact but for the quantiles, which are weighted means of quantiles.

    LeRobot combines them in the same way.
    """
    counts = np.array([part["count"][0] for part in parts], np.float64)
    stacked = {name: np.array([part[name] for part in parts], np.float64) for name in parts[0] if name != "count"}
    weights = (counts / counts.sum()).reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    mean = (weights * stacked["mean"]).sum(0)
    spread = (weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)).sum(0)
    found = {"min": stacked["min"].min(0), "max": stacked["max"].max(0), "mean": mean, "std": np.sqrt(spread)}
    found |= {name: (weights * stacked[name]).sum(0) for name in QUANTILES}
    return {name: value.tolist() for name, value in found.items()} | {"count": [int(counts.sum())]}
