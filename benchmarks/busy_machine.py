"""How much of its fair share does the default environment get where other programs want the cores, too?

    python benchmarks/busy_machine.py

Four processes take turns, each asleep while another one is measured, so that the ratios hold within one run:

    ours      `gym.make` in a process that imported sanawm_env before torch: what the package sets up by itself
    plain     the same where torch came first: OpenMP waits as it does without us
    async4    `gym.make_vec(..., vectorization_mode="async")` with four workers
    busy      neighbours that compute without a pause, 2 or 4 of them; only while `ours` is measured beside them

The last line printed is one JSON object:

    idle_ratio      frames/s of `ours` over those of `plain`, nobody else at work
    share_2         frames/s of `ours` beside two busy processes, over its fair share: cores / (threads + 2) of its
                    frames/s alone
    share_4         likewise beside four
    share_async4    frames/s of the four workers together, over those of one environment alone, which has all cores
    plain_share_2   `share_2` of `plain`, for comparison
    frames_per_s    the medians behind all of these

Variables of OpenMP in the caller's environment are taken away: the numbers are those of the defaults.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware, print_line

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 4
"""Of `async4`."""
NEIGHBOURS = (2, 4)
_DEFAULTS = ("GOMP_", "OMP_", "KMP_", "MKL_")
_BUSY = "while True: pass"
_TOO_LONG = 60.0
"""Seconds that a process may take to end."""


@dataclass(frozen=True)
class Args:
    """Time environments beside busy processes, and in workers."""

    checkpoint: str = "small-reflect"
    """Built-in name or folder."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default if not given."""
    sampler_steps: int | None = None
    """Model calls per chunk; the checkpoint's schedule if not given."""
    seconds: float = 6.0
    """Of each measurement; the step that is under way is finished."""
    rounds: int = 4
    """Times that all measurements take turns; medians are reported."""

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.rounds < 1:
            raise ValueError(f"seconds must be above 0 and rounds at least 1; got {self.seconds} and {self.rounds}.")


class Process:
    """An environment in a process of its own, that steps for some seconds when asked to."""

    def __init__(self, kind: str, args: Args) -> None:
        """Start it, and return when it has reset its environment and stepped once.

        Args:
            kind: `ours`, `plain` or `async4`.
            args: Of the benchmark.

        Raises:
            RuntimeError: It ended without an answer.
        """
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmarks.busy_machine import serve; serve()"
        settings = json.dumps({"kind": kind, **asdict(args)})
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_DEFAULTS)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, settings],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.facts = self._answer()

    def frames_per_s(self, seconds: float) -> float:
        """Step for that long."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        found = self._answer()
        return float(found["frames"] / found["seconds"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(_TOO_LONG)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measured process ended with exit code {self._process.wait()}; its error is above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve() -> None:
    """The other side of `Process`."""
    settings = json.loads(sys.argv[1])
    kind, args = settings.pop("kind"), Args(**settings)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers goes to the parent
    if kind == "plain":
        import torch
    import sanawm_env  # noqa: F401  (before torch, unless plain)

    if kind != "plain":
        import torch
    import gymnasium as gym

    options: dict[str, Any] = {
        "checkpoint": args.checkpoint,
        "chunk_frames": args.chunk_frames,
        "sampler_steps": args.sampler_steps,
    }
    env: Any
    if kind == "async4":
        env = gym.make_vec("SanaWM-v0", num_envs=WORKERS, vectorization_mode="async", **options)
    else:
        env = gym.make("SanaWM-v0", episode_seconds=None, **options)
    env.action_space.seed(0)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    # In the vector environment's info every entry has a row per worker.
    frames = len(info["frames"]) if kind != "async4" else info["frames"].shape[0] * info["frames"].shape[1]
    from sanawm_env.world.accel.threads import SPIN_COUNT, spinning

    spin = "OpenMP's own" if spinning() else SPIN_COUNT
    facts = {"threads": torch.get_num_threads(), "spin_count": spin, "frames_per_step": frames}
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        begun, count, passed = time.perf_counter(), 0, 0.0
        while passed < float(line):
            env.step(env.action_space.sample())
            count, passed = count + frames, time.perf_counter() - begun
        print(json.dumps({"frames": count, "seconds": passed}), file=out, flush=True)
    env.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Neighbours that leave no core idle."""
    neighbours = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        time.sleep(0.3)  # until all of them are past their start
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def measure(args: Args) -> dict[str, Any]:
    """Run the benchmark."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    speeds: dict[str, list[float]] = {}
    machine = hardware(0)  # before our own load
    with ExitStack() as stack:
        processes = {}
        for kind in ("ours", "plain", "async4"):
            processes[kind] = Process(kind, args)
            stack.callback(processes[kind].close)
        turns = [(kind, 0) for kind in processes]
        turns += [("ours", count) for count in NEIGHBOURS] + [("plain", NEIGHBOURS[0])]
        for i in tqdm(range(args.rounds * len(turns)), unit="measurement", file=sys.stderr):
            kind, count = turns[i % len(turns)]
            with busy(count):
                found = processes[kind].frames_per_s(args.seconds)
            speeds.setdefault(f"{kind}_beside_{count}" if count else kind, []).append(found)
        facts = {kind: process.facts for kind, process in processes.items()}

    median = {name: statistics.median(found) for name, found in speeds.items()}

    def share(kind: str, count: int) -> float:
        threads = facts[kind]["threads"]
        return median[f"{kind}_beside_{count}"] / (median[kind] * min(1.0, cores / (threads + count)))

    return {
        "idle_ratio": round(median["ours"] / median["plain"], 3),
        **{f"share_{count}": round(share("ours", count), 3) for count in NEIGHBOURS},
        f"share_async{WORKERS}": round(median["async4"] / median["ours"], 3),
        f"plain_share_{NEIGHBOURS[0]}": round(share("plain", NEIGHBOURS[0]), 3),
        "frames_per_s": {name: round(value, 2) for name, value in median.items()},
        "all_frames_per_s": {name: [round(value, 2) for value in found] for name, found in speeds.items()},
        "processes": facts,
        "hardware": machine | {"threads": facts["ours"]["threads"], "usable_cores": cores},
        "settings": asdict(args),
    }


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv, (ValueError, OSError, RuntimeError))


if __name__ == "__main__":
    main()
