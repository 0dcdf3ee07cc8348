"""Kill a collection that works in one process."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.collecting.kills.run import Args, Run, phase

__all__ = ["kill_alone"]

_LARGEST = 8000
"""Bytes of a file, in the start that meets a limit."""


def kill_alone(args: Args, folder: Path, usual: float, wrong: list[str]) -> tuple[list[Path], dict[str, Any]]:
    """Kill it as often as asked.

    Args:
        args: Of the benchmark.
        folder: Where collections go.
        usual: Seconds of an undisturbed run.
        wrong: Gets what is found to be wrong.

    Returns:
        The folders that are to be finished, and figures.
    """
    began, rng, phases = time.monotonic(), random.Random(args.seed), Counter[str]()
    longest, kills, limit = usual, 0, None
    out = folder / "out 0"
    folders: list[Path] = []
    while kills < args.kills and time.monotonic() - began < args.minutes * 60:
        if out not in folders:
            folders.append(out)
        if limit is None and kills >= args.kills // 2:
            limit = _meet_limit(args, folder / "limited", wrong)
            folders.append(folder / "limited")
        run = Run(args, out)
        # A third of them anywhere, a third soon after the start, so that a folder is killed many times before it is
        # done, and a third in the short moments in which an episode or the index is written.
        draw = rng.random()
        pause = rng.uniform(0, longest if draw < 0.33 else longest / 3)
        wanted = rng.choice(["indexing", "committing"])
        if not (run.wait_for(lambda: phase(out) == wanted) if draw > 0.67 else run.wait(pause)):  # noqa: B023
            run.kill()
            kills += 1
            phases[phase(out)] += 1
            print(f"{kills} kills, {len(folders)} folders", file=sys.stderr)
        if run.code not in (0, -signal.SIGKILL):
            wrong.append(f"{out.name}: ended with {run.code}: {run.said}")
        if run.code == 0:
            longest = max(0.3, min(longest, time.monotonic() - run.began))  # the machine may be less busy now
            out = folder / f"out {len(folders)}"
    return folders, {"kills": kills, "phases": dict(phases), "file_size_limit": limit}


def _meet_limit(args: Args, out: Path, wrong: list[str]) -> str:
    """A start in which no large file can be written to its end; what it said."""
    run = Run(args, out, limit=_LARGEST)
    run.wait()
    if run.code != 2 or "is full" not in run.said:
        wrong.append(f"limit: ended with {run.code} and said {run.said!r}")
    if left := [path.name for path in out.rglob("*") if path.name.startswith(".") and path.is_file()]:
        wrong.append(f"limit: left {left}")
    return run.said.replace(str(out), "OUT")
