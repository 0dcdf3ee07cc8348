"""Kill parts of a collection that many processes share through Ray."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.collecting.kills.cluster import Machines, cluster
from benchmarks.collecting.kills.run import Args, Run, phase

__all__ = ["kill_through_ray"]

_VICTIMS = {"worker": 5, "driver": 3, "machine": 2}
"""How often each, in ten kills."""
_LONGEST_PAUSE = 8.0
"""Seconds: a worker needs about five to be there again."""
_GAVE_UP = ("is not there", "no worker could be made")
"""Said by a run in which an episode, or all workers, died too often; the next one tries again."""


def kill_through_ray(args: Args, folder: Path, wrong: list[str]) -> tuple[list[Path], dict[str, Any]]:
    """Kill workers, drivers and machines as often as asked.

    Args:
        args: Of the benchmark.
        folder: Where collections go.
        wrong: Gets what is found to be wrong.

    Returns:
        The folders that are to be finished, and figures.
    """
    rng, counts, phases = random.Random(args.seed), Counter[str](), Counter[str]()
    gave_up, folders = 0, [folder / "ray 0"]
    with cluster(2) as machines:
        began, run = time.monotonic(), Run(args, folders[-1], ray=machines.address)
        while counts.total() < args.kills and not wrong and time.monotonic() - began < args.minutes * 60:
            if not _wait(run, folders[-1], rng):
                now = phase(folders[-1])
                if (victim := _kill(run, machines, rng)) is not None:
                    counts[victim] += 1
                    phases[now] += 1
                    print(f"{counts.total()} kills, {len(folders)} folders: {victim}", file=sys.stderr)
            if run.code is None:
                continue
            if run.code == 0:
                folders.append(folder / f"ray {len(folders)}")
            elif run.code != -signal.SIGKILL:
                gave_up += 1
                if not any(words in line for line in run.lines for words in _GAVE_UP):
                    wrong.append(f"{folders[-1].name}: ended with {run.code}: {run.said}")
            run = Run(args, folders[-1], ray=machines.address)
        if not run.wait(240) or run.code != 0:
            if run.code is None:
                run.kill()
            wrong.append(f"{folders[-1].name}: the last run through Ray ended with {run.code}: {run.said}")
    figures = {"kills": counts.total(), "victims": dict(counts), "phases": dict(phases), "runs_that_gave_up": gave_up}
    return folders, figures


def _wait(run: Run, out: Path, rng: random.Random) -> bool:
    """Half of the kills fall anywhere, half while a file is written; whether the run has ended before."""
    if rng.random() < 0.5:
        return run.wait(rng.uniform(0, _LONGEST_PAUSE))
    wanted = rng.choice(["encoding", "committing", "indexing"])
    return run.wait_for(lambda: phase(out) == wanted, 2 * _LONGEST_PAUSE)


def _kill(run: Run, machines: Machines, rng: random.Random) -> str | None:
    """Kill somebody, and say whom; None where there was nobody."""
    victim = rng.choices(list(_VICTIMS), list(_VICTIMS.values()))[0]
    if victim == "driver":
        run.kill()
    elif victim == "machine":
        raylet = rng.choice(machines.raylets)
        os.kill(raylet, signal.SIGKILL)
        machines.replace(raylet)
    else:
        if not (workers := machines.workers()):
            return None
        with suppress(ProcessLookupError):  # gone between the look and the kill
            os.kill(rng.choice(workers), signal.SIGKILL)
            return victim
        return None
    return victim
