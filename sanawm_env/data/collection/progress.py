"""How a collection goes: a bar for people, JSON lines for machines, and the closing lines."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.work import WorkList

__all__ = ["Progress", "closing_lines"]


class Progress:
    """Counts what is done in this run, shows it, and writes a line for each episode to `sanawm/progress.jsonl`."""

    def __init__(self, path: Path, work: WorkList) -> None:
        """Open both.

        Args:
            path: The file, which grows from run to run.
            work: What there is to do.
        """
        self._path, self._work = path, work
        self._began = time.perf_counter()
        self.episodes = self.kept = self.frames = self.imagined = 0
        """Of this run."""
        if path.exists() and not path.read_bytes().endswith(b"\n"):  # a killed run's half line
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
        plan = work.plan
        if plan.episodes is not None:
            self._bar = tqdm(total=plan.episodes, initial=work.finished, unit="episode", disable=None, file=sys.stderr)
        else:
            total, initial = round((plan.hours or 0) * 3600, 1), round(work.kept_seconds, 1)
            self._bar = tqdm(total=total, initial=initial, unit="s", desc="kept", disable=None, file=sys.stderr)

    @property
    def seconds(self) -> float:
        """Wall clock of this run."""
        return time.perf_counter() - self._began

    def add(self, done: Done) -> None:
        """Another episode lies on the disk."""
        self.episodes += 1
        self.kept += done.kept
        self.frames += done.frames
        self.imagined += done.imagined
        line = {"time": round(time.time(), 3), **asdict(done), "run": self.figures()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._work.plan.episodes is not None:
            self._bar.update()
        else:
            self._bar.update(done.seconds_of_world if done.kept else 0)
        figures = self.figures()
        self._bar.set_postfix_str(
            f"{self.kept} kept, {figures['episodes_per_hour']:.0f} episodes/h, "
            f"{figures['frames_per_second']:.0f} frames/s, {self._work.size / 1e6:.4g} MB"
            + (f", {figures['seconds_per_kept']:.3g} s each kept" if self.kept else "")
        )

    def figures(self) -> dict[str, float]:
        """Of this run: rates, and the cost of an episode that is kept (frames of forks included)."""
        seconds, kept = max(self.seconds, 1e-9), max(self.kept, 1)
        found = {
            "seconds": seconds,
            "episodes": float(self.episodes),
            "kept": float(self.kept),
            "episodes_per_hour": self.episodes / seconds * 3600,
            "frames_per_second": self.frames / seconds,
            "bytes": float(self._work.size),
        }
        if self.kept:
            found |= {"seconds_per_kept": seconds / kept, "frames_per_kept": (self.frames + self.imagined) / kept}
        return {name: round(value, 3) for name, value in found.items()}

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def closing_lines(root: Path, done: Mapping[int, Mapping[str, Any]], progress: Progress, size: int) -> list[str]:
    """What there is now, why the rest is not, and what this run cost."""
    outcomes = [values["outcome"] for values in done.values()]
    kept = [each for each in outcomes if each["kept"]]
    failed = [each for each in outcomes if each["failed"] is not None]
    dropped = [each for each in outcomes if not each["kept"] and each["failed"] is None]
    minutes = sum(each["seconds_of_world"] for each in kept) / 60
    lines = [
        f"{root}: {len(outcomes)} episodes: {len(kept)} kept ({minutes:.4g} min of world time), "
        f"{len(dropped)} dropped, {len(failed)} failed; {size / 1e6:.4g} MB"
    ]
    reasons = Counter(each["reasons"][0].partition(":")[0] for each in dropped)
    lines += [f"  dropped by {name}: {count}" for name, count in reasons.most_common()]
    failures = Counter(each["failed"] for each in failed)
    lines += [f"  failed {count} times: {reason}" for reason, count in failures.most_common(5)]
    if len(failures) > 5:
        lines.append(f"  and {len(failures) - 5} other failures; sanawm/episodes/*.json has all")
    if progress.episodes:
        figures = progress.figures()
        line = (
            f"this run: {progress.episodes} episodes in {figures['seconds']:.1f} s "
            f"({figures['episodes_per_hour']:.0f} episodes/h, {figures['frames_per_second']:.0f} frames/s)"
        )
        if progress.kept:
            line += (
                f"; a kept episode cost {figures['seconds_per_kept']:.3g} s and {figures['frames_per_kept']:.0f} "
                "generated frames"
            )
        lines.append(line)
    return lines
