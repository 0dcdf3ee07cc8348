"""Metrics over time, averaged over scenes, with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

__all__ = ["Curve", "MetricCurves", "by_family", "curve", "metric_curves"]

RESAMPLES = 2000
"""Bootstrap samples: the interval's ends then move by about a hundredth of its length from seed to seed."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Mean over scenes at each moment. All tuples have one entry per moment."""

    seconds: tuple[float, ...]
    """The moments."""
    mean: tuple[float | None, ...]
    """None where no scene counts."""
    low: tuple[float | None, ...]
    """Lower end of the confidence interval of the mean; None for fewer than two scenes."""
    high: tuple[float | None, ...]
    """Upper end."""
    count: tuple[int, ...]
    """Scenes that count."""
    confidence: float
    """Of the interval, in (0, 1)."""

    def at(self, seconds: float) -> dict[str, float | int | None]:
        """Mean, low, high, count and seconds of the moment nearest to a given one."""
        i = int(np.abs(np.asarray(self.seconds) - seconds).argmin())
        values = (self.seconds[i], self.mean[i], self.low[i], self.high[i], self.count[i])
        return dict(zip(("seconds", "mean", "low", "high", "count"), values, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


@dataclass(frozen=True)
class MetricCurves:
    """One metric of a world and its gains over baselines; each keyed by family, and `all`."""

    metric: str
    """Its name."""
    generated: dict[str, Curve]
    """The metric itself."""
    gains: dict[str, dict[str, Curve]]
    """Per baseline, how much better the world is; positive is better also for distances."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "metric": self.metric,
            "generated": {family: each.to_dict() for family, each in self.generated.items()},
            "gains": {name: {f: each.to_dict() for f, each in part.items()} for name, part in self.gains.items()},
        }


def curve(values: ArrayLike, seconds: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Curve:
    """Mean curve of N scenes.

    Scenes are resampled (`scipy.stats.bootstrap`), with the same draws at every moment. The method is the plain
    percentile one: BCa, which corrects skew, has no answer where all scenes agree, as they do at a ceiling.
    With few scenes (below 10 or so) the interval is somewhat too short.

    Args:
        values: `(N, F)`; NaN where a scene does not count at that moment.
        seconds: `(F,)` moments.
        confidence: Of the interval.
        seed: Of the resampling.

    Raises:
        ValueError: Shapes that do not belong together, infinite values, or a confidence outside (0, 1).
    """
    table, moments = np.asarray(values, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if table.ndim != 2 or moments.shape != table.shape[1:] or not len(moments):
        raise ValueError(f"need values (N, F) and seconds (F,) with F >= 1; got {table.shape} and {moments.shape}.")
    if np.isinf(table).any():
        raise ValueError("values must be finite, or NaN where a scene does not count; got an infinite one.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, for example 0.95; got {confidence}.")
    rows = [_interval(column[~np.isnan(column)], confidence, seed) for column in table.T]
    mean, low, high, count = zip(*rows, strict=True)
    return Curve(tuple(moments.tolist()), mean, low, high, count, confidence)


def by_family(
    values: ArrayLike, families: Sequence[str], seconds: ArrayLike, *, confidence: float = 0.95, seed: int = 0
) -> dict[str, Curve]:
    """Curves of all scenes (`all`) and of each family on its own.

    Args:
        values: `(N, F)`; NaN where a scene does not count.
        families: N names.
        seconds: `(F,)` moments.
        confidence: Of the intervals.
        seed: Of the resampling.

    Raises:
        ValueError: See `curve`; or another number of families.
    """
    table = np.asarray(values, dtype=np.float64)
    if len(families) != len(table):
        raise ValueError(f"{len(table)} scenes need as many family names; got {len(families)}.")
    names = np.asarray(families, dtype=str)
    groups = {"all": np.ones(len(table), dtype=bool)} | {name: names == name for name in sorted(set(families))}
    return {name: curve(table[rows], seconds, confidence=confidence, seed=seed) for name, rows in groups.items()}


def metric_curves(
    metric: str,
    generated: ArrayLike,
    baselines: Mapping[str, ArrayLike],
    families: Sequence[str],
    seconds: ArrayLike,
    *,
    higher_is_better: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
) -> MetricCurves:
    """A metric and its gains; each scene is compared with its own baseline, so that hard scenes cancel out.

    Args:
        metric: Name.
        generated: `(N, F)` of the world.
        baselines: `(N, F)` of each baseline, by name.
        families: N names.
        seconds: `(F,)` moments.
        higher_is_better: False for a distance.
        confidence: Of the intervals.
        seed: Of the resampling.

    Raises:
        ValueError: See `by_family`; or a baseline of another shape.
    """
    ours, sign = np.asarray(generated, dtype=np.float64), 1 if higher_is_better else -1
    gains: dict[str, dict[str, Curve]] = {}
    for name, values in baselines.items():
        theirs = np.asarray(values, dtype=np.float64)
        if theirs.shape != ours.shape:
            raise ValueError(f"baseline {name!r} has shape {theirs.shape}, the world {ours.shape}.")
        gains[name] = by_family(sign * (ours - theirs), families, seconds, confidence=confidence, seed=seed)
    return MetricCurves(metric, by_family(ours, families, seconds, confidence=confidence, seed=seed), gains)


def _interval(sample: Array, confidence: float, seed: int) -> tuple[float | None, float | None, float | None, int]:
    """Mean, low, high, count."""
    if len(sample) < 2:
        return (float(sample[0]) if len(sample) else None), None, None, len(sample)
    found = bootstrap(
        (sample,),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(sample.mean()), float(found.low), float(found.high), len(sample)
