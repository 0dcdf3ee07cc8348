"""`curve.jsonl`: what was measured during training, one evaluation a line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sanawm_env.policies.sb3.evaluator import Episodes
from scipy import stats

from sanawm_env.files import write_text

__all__ = ["Point", "interval", "read", "write"]

SHARES = ("success", "spl", "soft_spl", "coverage", "progress")
"""Measures in [0, 1]."""


@dataclass(frozen=True)
class Point:
    """One evaluation."""

    policy: str
    """Name of the algorithm, or `random`."""
    steps: int
    """Environment steps that it has learned from."""
    frames: int
    """Pixel frames that the world has made for them (goal images and evaluations not counted)."""
    minutes: float
    """Wall-clock minutes since training began, evaluations included."""
    seeds: tuple[int, ...]
    """Reset seeds of the episodes."""
    episodes: Episodes
    """Measures of each episode, in the order of the seeds."""

    def mean(self, measure: str) -> float:
        """Mean over the episodes.

        Raises:
            ValueError: The task has no such measure.
        """
        if measure not in self.episodes:
            raise ValueError(f"no measure {measure!r}; there are {', '.join(self.episodes)}.")
        return float(np.mean(self.episodes[measure]))


def write(path: Path, points: list[Point]) -> None:
    """Write the file, whole or not at all: per line the fields of `Point`, and under `mean` those of the measures."""
    write_text(path, "".join(map(_line, points)))


def read(path: Path) -> list[Point]:
    """All evaluations of a run, the oldest first.

    A last line that a kill has cut short is left out, with a note on stderr.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another line is no evaluation.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; python -m sanawm_env.policies.sb3.train writes one.")
    points = []
    text = path.read_bytes().decode(errors="replace")  # the cut may go through a character
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            values.pop("mean")
            points.append(Point(**values | {"seeds": tuple(values["seeds"])}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                print(f"note: the last line of {path} is unfinished and is left out.", file=sys.stderr)
                break
            raise ValueError(f"{path}:{number} is no evaluation ({error}); delete the line.") from None
    return points


def _line(point: Point) -> str:
    return json.dumps(asdict(point) | {"mean": {name: point.mean(name) for name in point.episodes}}) + "\n"


def interval(values: list[float], measure: str = "", confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values and the ends of its Student-t confidence interval; NaN ends for one value.

    Args:
        values: At least one.
        measure: Its name; the interval of a share, such as `success`, is cut to [0, 1].
        confidence: In (0, 1).
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values))
    low, high = (0.0, 1.0) if measure in SHARES else (-np.inf, np.inf)
    return mean, max(mean - half, low), min(mean + half, high)
