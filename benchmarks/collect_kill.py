"""Is anything lost or made twice when `sanawm collect` is killed, again and again, or the disk runs full?

    OMP_NUM_THREADS=1 python benchmarks/collect_kill.py --kills 50

A small collection runs undisturbed once. Then the same line is started and killed with SIGKILL after a random time, as
often as asked; whenever it was faster than the kill, a new folder begins. Halfway, one start runs against a limit on
the size of files, as if the disk were full. Each folder is finished at the end by the same line, and looked at:

    every item is there once, with the hash of frames, the actions, and the bytes of the video of the undisturbed run;
    `sanawm/progress.jsonl` names no item twice;
    no temporary, no file that cannot be read, no item without its video;
    the index has as many episodes as were kept.

Kills fall into starting up, stepping, encoding, writing and indexing alike: `phases` counts what a folder looked like.
The last line printed is one JSON object; `wrong` lists what was found, and the exit code is 1 if there is any.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from sanawm_env.cli.main import main


@dataclass(frozen=True)
class Args:
    """Kill collections, and look at what comes of them."""

    kills: int = 50
    """How often."""
    episodes: int = 12
    """To a collection."""
    steps: int = 4
    """To an episode."""
    checkpoint: str = "untrained"
    """Built-in name or folder; `untrained` is a small world of random weights."""
    seed: int = 0
    """Of the moments."""
    seconds: float = 540.0
    """After which no more are killed; what was begun is finished and looked at."""


class Run:
    """`sanawm collect` in a process forked from this one: libraries are loaded once, not for each kill."""

    def __init__(self, args: Args, out: Path, limit: int | None = None) -> None:
        """Start it; `limit` is the largest file that it may write, bytes."""
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._child(args, out, limit))

    def _child(self, args: Args, out: Path, limit: int | None) -> int:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(self._said.fileno(), 2)
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # under pytest it is another file
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            main(
                [
                    *("collect", "--task", "PointNav", "--policy", "random:smooth", "--out", str(out)),
                    *("--episodes", str(args.episodes), "--max-steps", str(args.steps), "--slots", "2"),
                    *("-c", args.checkpoint, "--device", "cpu", "--env", "chunk_frames=1"),
                ]
            )
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except BaseException:
            return 99
        finally:
            sys.stderr.flush()
        return 0

    def wait(self, seconds: float = 600.0) -> bool:
        """Whether it ends within that time."""
        deadline = time.monotonic() + seconds
        while self.code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self.code is not None

    def kill(self) -> None:
        """For good, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def said(self) -> str:
        """The last line that it wrote to the standard error."""
        self._said.seek(0)
        return (self._said.read().strip().splitlines() or [""])[-1]


def measure(args: Args) -> dict[str, Any]:
    """Everything that the JSON line holds."""
    began, rng = time.monotonic(), random.Random(args.seed)
    phases: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean"
        clock = time.monotonic()
        undisturbed = Run(args, clean)
        if not undisturbed.wait() or undisturbed.code != 0:
            raise RuntimeError(f"the undisturbed run ended with {undisturbed.code}: {undisturbed.said}")
        usual = longest = time.monotonic() - clock
        truth = facts(clean)
        kills, full, out = 0, None, Path(folder) / "out 0"
        folders: list[Path] = []
        while kills < args.kills and time.monotonic() - began < args.seconds:
            if out not in folders:
                folders.append(out)
            if full is None and kills >= args.kills // 2:
                full = _full_disk(args, Path(folder) / "full", wrong)
                folders.append(Path(folder) / "full")
            clock, run = time.monotonic(), Run(args, out)
            # A third of them anywhere, a third soon after the start, so that a folder is killed many times before it is
            # done, and a third in the short moments in which an episode or the index is written.
            draw = rng.random()
            pause = rng.uniform(0, longest if draw < 0.33 else longest / 3)
            if not (_wait_for_writing(run, out, rng) if draw > 0.67 else run.wait(pause)):
                run.kill()
                kills += 1
                phases[_phase(out)] += 1
                print(f"{kills} kills, {len(folders)} folders", file=sys.stderr)
            if run.code not in (0, -signal.SIGKILL):
                wrong.append(f"{out.name}: ended with {run.code}: {run.said}")
            if run.code == 0:
                longest = max(0.3, min(longest, time.monotonic() - clock))  # the machine may be less busy now
                out = Path(folder) / f"out {len(folders)}"
        for each in folders:
            run = Run(args, each)
            if not run.wait() or run.code != 0:
                wrong.append(f"{each.name}: the last run ended with {run.code}: {run.said}")
            wrong += [f"{each.name}: {fault}" for fault in faults(each, truth)]
    return {
        "kills": kills,
        "folders": len(folders),
        "episodes": len(folders) * args.episodes,
        "disk_full": full,
        "wrong": wrong,
        "phases": dict(phases),
        "undisturbed_seconds": round(usual, 2),
        "seconds": round(time.monotonic() - began, 1),
        "args": asdict(args),
    }


def facts(root: Path) -> dict[int, tuple[str, Any, bytes]]:
    """What must not depend on kills, by item."""
    from sanawm_env.data.collection.store import Store

    store = Store(root)
    return {
        number: (each["recipe"]["frames_sha256"], each["recipe"]["actions"], store.video(number).read_bytes())
        for number, each in store.done().items()
    }


def faults(root: Path, truth: dict[int, tuple[str, Any, bytes]]) -> list[str]:
    """What is wrong with a finished folder."""
    import numpy as np

    from sanawm_env.data.collection.store import Store

    store, found = Store(root), []
    try:
        here = facts(root)
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]
    if sorted(here) != sorted(truth):
        found.append(f"items {sorted(here)}")
    found += [f"item {number} differs" for number in here if here[number] != truth.get(number)]
    for number in here:
        with np.load(store.arrays(number)) as arrays:
            if len(arrays["c2w"]) != store.done()[number]["recipe"]["frames"]:
                found.append(f"item {number} has other poses than frames")
    found += [f"left over: {path.name}" for path in root.rglob("*") if path.name.startswith(".")]
    if (videos := len(list(root.rglob("*.mp4")))) != len(truth):
        found.append(f"{videos} videos")
    numbers = Counter(_numbers(root / "sanawm" / "progress.jsonl"))
    found += [f"item {number} was made {count} times" for number, count in numbers.items() if count > 1]
    info = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
    if info["total_episodes"] != len(truth):
        found.append(f"the index has {info['total_episodes']} episodes")
    return found


def _numbers(path: Path) -> list[int]:
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(int(json.loads(text)["number"]))
        except (ValueError, KeyError):  # a killed run's half line
            continue
    return found


def _wait_for_writing(run: Run, root: Path, rng: random.Random) -> bool:
    """Wait for a temporary of an episode's files or of the index; whether the run has ended before one was seen."""
    wanted = rng.choice(["indexing", "committing"])
    while not run.wait(0.001):
        if _phase(root) == wanted:
            return False
    return True


def _full_disk(args: Args, out: Path, wrong: list[str]) -> str:
    """A start in which no large file can be written to its end; what it said."""
    run = Run(args, out, limit=8000)
    run.wait()
    last = run.said
    if run.code != 2 or "is full" not in last:
        wrong.append(f"full disk: ended with {run.code} and said {last!r}")
    if left := [path.name for path in out.rglob("*") if path.name.startswith(".") and path.is_file()]:
        wrong.append(f"full disk: left {left}")
    return last.replace(str(out), "OUT")


def _phase(root: Path) -> str:
    """What a killed collection was about, by what it left."""
    if not (root / "sanawm" / "collection.json").exists():
        return "starting"
    if any(root.glob(".index-*")):
        return "indexing"
    if any((root / "sanawm").rglob(".*.json")) or any((root / "sanawm").rglob(".*.npz")):
        return "committing"
    return "encoding" if any(root.rglob(".*.mp4")) else "between"


def benchmark(argv: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON line."""
    args = tyro.cli(Args, description=__doc__, args=argv)
    torch.set_num_threads(1)  # threads of torch do not come along into a fork
    result = measure(args)
    print(json.dumps(result))
    if result["wrong"]:
        sys.exit(1)


if __name__ == "__main__":
    benchmark()
