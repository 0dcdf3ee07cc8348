"""What trials of policies add up to: means with bootstrap intervals, costs, and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from sanawm_env.evaluation.curves import curve
from sanawm_env.evaluation.policy.trials import Trial

__all__ = ["Estimate", "Summary", "format_table", "summarize_trials"]

CONFIDENCE = 0.95
"""Of the intervals."""

_SCORES = {"success": "success", "spl": "SPL", "soft_spl": "soft SPL", "coverage": "coverage"}
"""Measures that say how well the task was done, and their names in the table. A failed episode scores 0."""
_OTHERS: dict[str, tuple[str, Callable[[Trial], float | None]]] = {
    "distance_to_goal": ("distance to goal, m", lambda trial: trial.measures.get("distance_to_goal")),
    "deviation": ("deviation at the end, m", lambda trial: trial.measures.get("deviation")),
    "revisit_psnr": ("revisit PSNR, dB", lambda trial: trial.measures.get("revisit_psnr")),
    "return": ("return", lambda trial: trial.reward),
    "steps": ("steps", lambda trial: trial.steps),
    "path_length": ("path length, m", lambda trial: trial.measures.get("path_length")),
}
"""What else is known of an episode at its end. Failed ones, which have no end, are left out."""


@dataclass(frozen=True)
class Estimate:
    """A mean over episodes."""

    mean: float | None
    """None where no episode counts."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of the mean; None for fewer than two episodes."""
    high: float | None
    """Upper end."""
    count: int
    """Episodes that count."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of some episodes' values."""
        if not len(values):
            return cls(None, None, None, 0)
        found = curve(np.asarray(values, dtype=np.float64)[:, None], [0.0], confidence=CONFIDENCE)
        return cls(found.mean[0], found.low[0], found.high[0], found.count[0])

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        # Adding 0 after rounding turns -0.00 into 0.00.
        mean, *ends = (f"{round(v, 2) + 0.0:.2f}" for v in (self.mean, self.low, self.high) if v is not None)
        return f"{mean} [{', '.join(ends)}]" if ends else mean


@dataclass(frozen=True)
class Summary:
    """One policy on one task."""

    policy: str
    """Its name."""
    task: str
    """Its name."""
    episodes: int
    """All of them."""
    terminated: int
    """Ended by the task."""
    truncated: int
    """Ended by a limit."""
    failed: int
    """Not played to an end."""
    metrics: dict[str, Estimate]
    """`success`, `spl`, `soft_spl`, `coverage`, where a failed episode counts as 0; `distance_to_goal`, `deviation`,
    `revisit_psnr`, `return`, `steps`, `path_length` at the end of those that did not fail. What the task has."""
    gains: dict[str, Estimate]
    """How much the scores exceed the baseline's, world by world: the mean of the differences on common seeds."""
    baseline: str | None
    """The task's first policy; None for that itself."""
    frames_per_episode: float
    """Pixel frames generated, failed episodes included, by steps and in the policy's imagination."""
    imagined_per_episode: float
    """Of those, imagined."""
    seconds_per_episode: float
    """Wall clock."""
    frames_per_success: float | None
    """Frames of all episodes over the number of successes; None without one."""
    failures: dict[str, list[int]]
    """Reason of failure to the seeds that it met."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def summarize_trials(trials: Sequence[Trial]) -> list[Summary]:
    """One summary per task and policy, tasks and policies in the order in which they first appear."""
    tasks = list(dict.fromkeys(trial.task for trial in trials))
    policies = list(dict.fromkeys(trial.policy for trial in trials))
    found: list[Summary] = []
    for task in tasks:
        first: list[Trial] = []
        for policy in policies:
            own = [trial for trial in trials if (trial.task, trial.policy) == (task, policy)]
            if own:
                found.append(_summary(own, first))
                first = first or own
    return found


def format_table(summaries: Sequence[Summary], width: int = 120) -> str:
    """One table per task, a column per policy, and footnotes.

    Args:
        summaries: Of `summarize_trials`.
        width: Columns of text; more policies than fit go below.
    """
    blocks = []
    for task, group in groupby(summaries, key=lambda summary: summary.task):
        columns = [(summary.policy, _cells(summary)) for summary in group]
        blocks += [f"{task}\n{block}" for block in _blocks(columns, width)]
    notes = [f"means over episodes, in brackets their {CONFIDENCE:.0%} bootstrap interval", *_agreement(summaries)]
    notes += [line for summary in summaries for line in _failures(summary)]
    return "\n\n".join([*blocks, "\n".join(notes)])


def _summary(trials: Sequence[Trial], first: Sequence[Trial]) -> Summary:
    """Of one policy on one task; `first` are the trials of the baseline, or none."""
    ended = [trial for trial in trials if trial.ending != "failed"]
    metrics = {key: Estimate.of(list(scores.values())) for key in _SCORES if (scores := _scores(trials, key))}
    for key, (_, value) in _OTHERS.items():
        values = [found for trial in ended if (found := value(trial)) is not None]
        if values or key in ("return", "steps"):
            metrics[key] = Estimate.of(values)
    gains = {}
    for key in metrics if first else ():
        ours, theirs = _scores(trials, key), _scores(first, key)
        if common := sorted(ours.keys() & theirs.keys()):
            gains[key] = Estimate.of([ours[seed] - theirs[seed] for seed in common])
    failures: dict[str, list[int]] = {}
    for trial in trials:
        if trial.reason is not None:
            failures.setdefault(trial.reason, []).append(trial.seed)
    frames, successes = sum(t.frames + t.imagined for t in trials), sum(t.success for t in trials)
    return Summary(
        policy=trials[0].policy,
        task=trials[0].task,
        episodes=len(trials),
        terminated=sum(trial.ending == "terminated" for trial in trials),
        truncated=sum(trial.ending == "truncated" for trial in trials),
        failed=len(trials) - len(ended),
        metrics=metrics,
        gains=gains,
        baseline=first[0].policy if first else None,
        frames_per_episode=frames / len(trials),
        imagined_per_episode=sum(trial.imagined for trial in trials) / len(trials),
        seconds_per_episode=sum(trial.seconds for trial in trials) / len(trials),
        frames_per_success=frames / successes if successes else None,
        failures=failures,
    )


def _scores(trials: Sequence[Trial], key: str) -> dict[int, float]:
    """Seed to score; empty where the task has no such score."""
    if key not in _SCORES or not (key == "success" or any(key in trial.measures for trial in trials)):
        return {}
    return {t.seed: 0.0 if t.ending == "failed" else t.measures.get(key, 0.0) for t in trials}


def _cells(summary: Summary) -> dict[str, str]:
    """Label to text, of one column."""
    labels = _SCORES | {key: label for key, (label, _) in _OTHERS.items()}
    cells = {"episodes": str(summary.episodes)}
    cells |= {label: str(summary.metrics[key]) for key, label in labels.items() if key in summary.metrics}
    cells |= {f"{_SCORES[key]}, gain over first": str(gain) for key, gain in summary.gains.items()}
    per_success = summary.frames_per_success
    return cells | {
        "frames per episode": f"{summary.frames_per_episode:,.0f}",
        "  of these imagined": f"{summary.imagined_per_episode:,.0f}",
        "seconds per episode": f"{summary.seconds_per_episode:.2f}",
        "frames per success": "-" if per_success is None else f"{per_success:,.0f}",
        "terminated": str(summary.terminated),
        "truncated": str(summary.truncated),
        "failed": str(summary.failed),
    }


def _blocks(columns: Sequence[tuple[str, dict[str, str]]], width: int) -> list[str]:
    """Columns side by side, as many as fit, at least one."""
    # The fullest column knows the order: others only lack some of its rows.
    order = max((cells for _, cells in columns), key=len)
    labels = list(order | {label: "" for _, cells in columns for label in cells})
    margin = max(map(len, labels))
    sizes = [max(len(name), *map(len, cells.values())) for name, cells in columns]
    blocks, begin = [], 0
    while begin < len(columns):
        end = begin + 1
        while end < len(columns) and margin + sum(2 + size for size in sizes[begin : end + 1]) <= width:
            end += 1
        shown = list(zip(columns[begin:end], sizes[begin:end], strict=True))
        lines = [" " * margin + "".join(f"  {name:<{size}}" for (name, _), size in shown)]
        for label in labels:
            lines.append(
                f"{label:<{margin}}" + "".join(f"  {cells.get(label, '-'):<{size}}" for (_, cells), size in shown)
            )
        blocks.append("\n".join(line.rstrip() for line in lines))
        begin = end
    return blocks


def _failures(summary: Summary) -> list[str]:
    """Why episodes of one column failed."""
    lines = []
    for reason, seeds in summary.failures.items():
        some = ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")
        who = f"{summary.task}, {summary.policy}"
        lines.append(f"{who}: {len(seeds)} of {summary.episodes} episodes failed (seeds {some}): {reason}")
    return lines


def _agreement(summaries: Sequence[Summary]) -> list[str]:
    """What an interval without width does not say: the exact one-sided bound of a rate of 0 or 1."""
    played = [s for s in summaries if s.failed < s.episodes and s.episodes > 1]
    counts = sorted({s.episodes for s in played if s.metrics["success"].mean in (0.0, 1.0)})
    return [
        f"where all of {count} episodes succeed (or none does) the bootstrap cannot tell how sure that is: with "
        f"{CONFIDENCE:.0%} confidence the rate is then at least {bound:.2f} (or at most {1 - bound:.2f})"
        for count in counts
        for bound in [float((1 - CONFIDENCE) ** (1 / count))]
    ]
