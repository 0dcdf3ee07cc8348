"""Sums of `parts.beyond`: sharpness, likeness, self-consistency and depth, where frame 0 shows nothing or something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BANDS", "summarize_beyond"]

Row = dict[str, Any]
Array = NDArray[np.float64]

BANDS = ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0))
"""Metres; errors of depth are told for each."""
GOAL_BAND = (1.0, 4.0)
"""Metres at which the median error of depth has a goal."""


def summarize_beyond(rows: Sequence[Row]) -> dict[str, Any]:
    """Sum up the scenes.

    Args:
        rows: What `parts.beyond` returned of each.

    Returns:
        JSON-ready, by seconds where it says so:

        * `sharpness_unseen`: gradient energy of all scenes over the true renders', by seconds.
        * `self_consistency_db`: mean PSNR against the first look at the same made-up place, by seconds since then.
        * `psnr_gain_db_unseen`, `ssim_gain_unseen`: mean against the truth, less that of the frozen frame 0.
        * `feature_distance`: squared kernel distance (KID: Binkowski et al. 2018, cubic kernel, unbiased) of the
          depth network's features to those of the true renders; 0 is alike, the larger the worse. None below 8 looks.
        * `depth_median_error` (relative, true distance in `GOAL_BAND`), `depth_bias` (the largest of any band),
          `depth_bands` (median relative error and bias of each band of true distance, pixels), of unseen places; None
          for a world that has no depth.
        * `seen`: the same of the places that frame 0 shows.
    """
    unseen, seen = ([look for row in rows for look in row[name] if "energy" in look] for name in ("looks", "glances"))
    later = [(look, row["looks"][0]) for row in rows for look in row["looks"] if "self_psnr" in look]
    gaps = sorted({look["seconds"] - first["seconds"] for look, first in later})
    consistent = {
        f"{gap:g}": _mean([a["self_psnr"] for a, first in later if a["seconds"] - first["seconds"] == gap])
        for gap in gaps
    }
    features = [np.array([look[name] for look in unseen]) for name in ("features", "true_features")]
    found = {
        "scenes": len(rows),
        "looks": len(unseen),
        "self_consistency_db": consistent,
        **{f"{name}_unseen": value for name, value in _likeness(unseen).items()},
        "feature_distance": kernel_distance(*features) if len(unseen) >= 8 else None,
        **_depth(unseen),
        "seen": {"glances": len(seen), **_likeness(seen), **_depth(seen)},
    }
    return {"beyond": found}


def kernel_distance(ours: Array, theirs: Array) -> float:
    """Unbiased squared maximum mean discrepancy of two sets `(n, d)` under the kernel `(x.y / d + 1)^3`.

    Both are put on the scale of `theirs` first, each feature by itself.
    """
    middle, spread = theirs.mean(0), theirs.std(0) + 1e-6
    x, y = ((each - middle) / spread for each in (ours, theirs))
    own, other, across = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    inside = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(inside - 2 * across.mean())


def _likeness(looks: Sequence[Row]) -> dict[str, Any]:
    """Sharpness by seconds, and likeness to the truth."""
    by_time = sorted({look["seconds"] for look in looks})
    return {
        "sharpness": {f"{s:g}": _ratio([look for look in looks if look["seconds"] == s]) for s in by_time},
        "psnr_db": _mean([look["psnr"] for look in looks]),
        "psnr_gain_db": _mean([look["psnr"] - look["frozen_psnr"] for look in looks]),
        "ssim_gain": _mean([look["ssim"] - look["frozen_ssim"] for look in looks]),
    }


def _depth(looks: Sequence[Row]) -> dict[str, Any]:
    """Errors of the world's metres, by band of the true ones."""
    pairs = np.array([pair for look in looks for pair in look.get("depth", ())])
    if not len(pairs):
        return {"depth_median_error": None, "depth_bias": None, "depth_bands": None}
    guess, truth = pairs.T
    ratio = np.minimum(guess, BANDS[-1][1]) / truth
    bands = []
    for low, high in BANDS:
        inside = ratio[(truth >= low) & (truth < high)]
        bands.append(
            {
                "from_m": low,
                "to_m": high,
                "pixels": len(inside),
                "median_error": float(np.median(np.abs(inside - 1))) if len(inside) else None,
                "bias": float(np.median(inside) - 1) if len(inside) else None,
            }
        )
    goal = ratio[(truth >= GOAL_BAND[0]) & (truth < GOAL_BAND[1])]
    biases = [abs(bias) for band in bands if (bias := band["bias"]) is not None and (band["pixels"] or 0) >= 100]
    return {
        "depth_median_error": float(np.median(np.abs(goal - 1))) if len(goal) else None,
        "depth_bias": max(biases) if biases else None,
        "depth_bands": bands,
    }


def _ratio(looks: Sequence[Row]) -> float:
    """Energy of all over true energy of all: scenes with more to see count more."""
    return float(sum(look["energy"] for look in looks) / max(sum(look["true_energy"] for look in looks), 1e-9))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
