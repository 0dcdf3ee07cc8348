"""Learning curves of one or several runs, with the random baseline.

python -m sanawm_env.policies.sb3.plot --runs runs/rl/point_0 runs/rl/point_1 runs/rl/point_2 --out point.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import tyro
from numpy.typing import NDArray
from sanawm_env.policies.sb3 import curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["band", "main", "plot"]

PANELS = ("success", "soft_spl", "return")
"""Measures that are drawn unless others are asked for."""


def plot(runs: list[Path], out: Path, measures: tuple[str, ...] = PANELS, title: str = "") -> None:
    """Draw a panel per measure.

    Bands are 95 % Student-t intervals: of one run over its held-out episodes, of several runs (the same settings but
    for the seed) over the runs, that is, of the mean of training anew. The random policy is drawn likewise.

    Args:
        runs: Folders of `sanawm_env.policies.sb3.train`.
        out: The picture.
        measures: Names in `Point.episodes`; those that the task has not are left out.
        title: Above all.

    Raises:
        FileNotFoundError, ValueError: No run, no curve in one, or none of the measures.
    """
    if not runs:
        raise ValueError("give at least one run, the folder of a curve.jsonl.")
    curves = [curve.read(run / "curve.jsonl") for run in runs]
    for run, points in zip(runs, curves, strict=True):
        if not any(point.policy != "random" for point in points):
            raise ValueError(f"{run} has no evaluation of a trained policy yet; wait for its first.")
    shown = [name for name in measures if all(name in point.episodes for points in curves for point in points)]
    if not shown:
        raise ValueError(f"none of {', '.join(measures)} was measured; there are {', '.join(curves[0][0].episodes)}.")
    figure, axes = plt.subplots(1, len(shown), figsize=(4.2 * len(shown), 3.4), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], shown, strict=True):
        for trained, colour in ((False, "0.5"), (True, "tab:blue")):
            chosen = [[p for p in points if (p.policy != "random") == trained] for points in curves]
            if not all(chosen):
                continue  # a curve that somebody cut
            steps, mean, low, high = band(chosen, name)
            if not trained:
                steps = np.array([0, max(points[-1].steps for points in curves)])
                mean, low, high = (np.repeat(value, 2) for value in (mean, low, high))
            label = chosen[0][0].policy if len(runs) == 1 else f"{chosen[0][0].policy}, {len(runs)} runs"
            axis.plot(steps, mean, color=colour, label=label, linestyle="-" if trained else "--")
            axis.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(title=name, xlabel="environment steps")
        axis.grid(alpha=0.3)
    axes[0][0].legend(loc="best")
    if title:
        figure.suptitle(title)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def band(
    runs: list[list[curve.Point]], measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Steps, mean, and the ends of its 95 % interval, see `plot`.

    Several runs are compared at the steps of the first, up to where the shortest ends; between two evaluations a run
    is interpolated.

    Args:
        runs: Evaluations of each run, the oldest first.
        measure: Name in `Point.episodes`.
    """
    steps = np.array([point.steps for point in runs[0]], dtype=np.float64)
    if len(runs) == 1:
        values = [point.episodes[measure] for point in runs[0]]
    else:
        steps = steps[steps <= min(points[-1].steps for points in runs)]
        means = [np.interp(steps, [p.steps for p in points], [p.mean(measure) for p in points]) for points in runs]
        values = np.stack(means, axis=1).tolist()
    mean, low, high = np.array([curve.interval(row, measure) for row in values]).T
    return steps, mean, low, high


def main(runs: tuple[Path, ...], out: Path, measures: tuple[str, ...] = PANELS, title: str = "") -> None:
    """Draw learning curves.

    Args:
        runs: Folders of `sanawm_env.policies.sb3.train`, one training each.
        out: The picture.
        measures: What to draw.
        title: Above all.
    """
    try:
        plot(list(runs), out, measures, title)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    tyro.cli(main)
