"""Is anything lost or made twice when `sanawm collect` is killed, again and again, or the disk runs full?

    python benchmarks/collect_kill.py --kills 50

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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro


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
    """After which no more starts are killed; what was begun is finished and looked at."""


def line(args: Args, out: Path) -> list[str]:
    """The command."""
    return [
        *(sys.executable, "-m", "sanawm_env.cli", "collect", "--task", "PointNav", "--policy", "random:smooth"),
        *("--episodes", str(args.episodes), "--max-steps", str(args.steps), "-c", args.checkpoint, "--device", "cpu"),
        *("--slots", "2", "--out", str(out), "--env", "chunk_frames=1"),
    ]


def start(args: Args, out: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """Start it; `limit` is the largest file that it may write, bytes."""

    def full() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line(args, out), env=environment, preexec_fn=full, **quiet)  # type: ignore[call-overload]


def measure(args: Args) -> dict[str, Any]:
    """Everything that the JSON line holds."""
    began, rng = time.monotonic(), random.Random(args.seed)
    phases: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean"
        clock = time.monotonic()
        if (code := start(args, clean).wait()) != 0:
            raise RuntimeError(f"the undisturbed run ended with {code}.")
        usual = time.monotonic() - clock
        truth = facts(clean)
        kills, folders, out, full = 0, [], Path(folder) / "out 0", None
        first_item = _seconds_to_first(args, Path(folder) / "probe")
        while kills < args.kills and time.monotonic() - began < args.seconds:
            if out not in folders:
                folders.append(out)
            if full is None and kills >= args.kills // 2:
                full = _full_disk(args, Path(folder) / "full", wrong)
                folders.append(Path(folder) / "full")
            process = start(args, out)
            # Mostly after the program has started up, where there is something to lose.
            wait = rng.uniform(0.2, usual) if rng.random() < 0.2 else rng.uniform(first_item * 0.9, usual)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                phases[_phase(out)] += 1
                print(f"{kills} kills", file=sys.stderr)
            else:
                if process.returncode != 0:
                    wrong.append(f"{out.name}: ended with {process.returncode}: {_stderr(process)}")
                out = Path(folder) / f"out {len(folders)}"
        for each in folders:
            process = start(args, each)
            if process.wait() != 0:
                wrong.append(f"{each.name}: the last run ended with {process.returncode}: {_stderr(process)}")
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


def _seconds_to_first(args: Args, out: Path) -> float:
    """From the start to the first item on the disk."""
    clock, process = time.monotonic(), start(args, out)
    while not (out / "sanawm/episodes/000000.json").exists() and process.poll() is None:
        time.sleep(0.01)
    seconds = time.monotonic() - clock
    process.kill()
    process.wait()
    return seconds


def _full_disk(args: Args, out: Path, wrong: list[str]) -> str:
    """A start in which no large file can be written to its end; what it said."""
    process = start(args, out, limit=8000)
    _, said = process.communicate()
    last = said.strip().splitlines()[-1] if said.strip() else ""
    if process.returncode != 2 or "is full" not in last:
        wrong.append(f"full disk: ended with {process.returncode} and said {last!r}")
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


def _stderr(process: subprocess.Popen[str]) -> str:
    return (process.stderr.read() if process.stderr is not None else "").strip()[-300:]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON line."""
    result = measure(tyro.cli(Args, description=__doc__, args=argv))
    print(json.dumps(result))
    if result["wrong"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
