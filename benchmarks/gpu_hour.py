"""Everything that needs a GPU, by one command: tests, speed, precision, memory, training; resumable, no network.

    python benchmarks/gpu_hour.py --out gpu_hour
    python benchmarks/gpu_hour.py --size small --device cpu      # a rehearsal of the same code in minutes

For a machine with torch 2.8 or newer and one H100 or H200. Every stage (`benchmarks/speed/gpu/stages.py`) is a process
of its own that is ended after `--stage-minutes`; each of its parts leaves a JSON file as it ends, an error where it
failed.
The same command again goes on with what has no file yet. `--stages` chooses; delete a part's file to run it again.

Nothing is downloaded. What the stages import beside torch travels as wheels: docs/how-to/gpu-hour.md.

The last line printed, and `summary.json`, is one JSON object:

    stages[name]            finished, parts, results, errors (by part) and seconds
    goals[name]             the best way, its value, the goal and whether it is met: a minute of 720p stage 1 in 10 s,
                            p95 over p50 of chunks 1.1, 8 slots 1.5 times the frames of one; null where not measured
    machine                 GPU, driver, versions
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import print_line
from benchmarks.speed.gpu.stages import STAGES, Stage
from benchmarks.speed.gpu.summary import finished, summarize
from sanawm_env.files import write_json

ROOT = Path(__file__).resolve().parents[1]
STDERR = 2
BESIDE_BASE = 10.0
"""Minutes of training that are not for `base`."""


@dataclass(frozen=True)
class Args:
    """Run the stages of a GPU hour that have not run yet."""

    out: Path = Path("runs/gpu_hour")
    """Folder of results; the same one goes on where it stopped."""
    size: Literal["release", "small"] = "release"
    """`small` rehearses all of it on toys; its figures mean nothing."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Where to compute."""
    stages: tuple[str, ...] = ()
    """Names of stages; empty is all of them."""
    stage_minutes: float = 9.0
    """A stage's process is ended after this long; what it had finished stays."""
    minutes: float = 60.0
    """No process begins after this long."""
    base_minutes: float | None = None
    """Minutes of training for the recipe `base`; None is what the other stages leave of `minutes`, in a rehearsal a
    blink; 0 leaves it out."""

    def __post_init__(self) -> None:
        known = [stage.name for stage in STAGES]
        if unknown := sorted(set(self.stages) - set(known)):
            raise ValueError(f"unknown stages {unknown}; known: {', '.join(known)}.")
        if not (self.stage_minutes > 0 and self.minutes > 0):
            raise ValueError("stage_minutes and minutes must be positive.")


def hour(args: Args) -> dict[str, Any]:
    """Run what is left, and sum up.

    Raises:
        ValueError: No such device here, or a folder of results of another size.
    """
    check(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "settings.json", {"size": args.size, "device": args.device})
    chosen = [stage for stage in STAGES if not args.stages or stage.name in args.stages]
    for stage in chosen:
        if lacking := missing(stage):
            print(
                f"{stage.name}: lacks {', '.join(lacking)}; some parts will say that they cannot run", file=sys.stderr
            )
    began = time.monotonic()
    # A part that ends its process twice counts as finished, so that this ends.
    while waiting := [stage for stage in chosen if not finished(args.out, stage.name)]:
        for stage in waiting:
            left = args.minutes - (time.monotonic() - began) / 60
            if left > 0:
                run_stage(stage, args, left)
        if (time.monotonic() - began) / 60 >= args.minutes or broken(args.out, waiting):
            break
    summary = summarize(args.out)
    write_json(args.out / "summary.json", summary)
    return summary


def run_stage(stage: Stage, args: Args, left: float) -> None:
    """Run a stage's process, and end it and its children when its time is over."""
    settings = {
        "size": args.size,
        "device": args.device,
        "out": str(args.out.resolve()),
        "base_minutes": base_minutes(args, left) if stage.name == "training" else 0.0,
        "stage_minutes": min(args.stage_minutes, left),
    }
    command = [sys.executable, "-m", "benchmarks.speed.gpu.runner", stage.name, json.dumps(settings)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    limit = 60 * min(args.stage_minutes, left)
    print(f"== {stage.name}: {stage.about}", file=sys.stderr, flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, stdout=STDERR, start_new_session=True
    )
    try:
        code = process.wait(limit)
        if code:
            print(f"{stage.name}: ended with {code}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"{stage.name}: ended after {limit / 60:.1f} minutes; its parts so far are kept", file=sys.stderr)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def base_minutes(args: Args, left: float) -> float:
    """Minutes of `base`, as the first call decided them: how many parts there are depends on it."""
    path = args.out / "base_minutes.json"
    if path.exists():
        return float(json.loads(path.read_text(encoding="utf-8")))
    minutes = args.base_minutes
    if minutes is None:
        minutes = 1.0 if args.size == "small" else max(0.0, left - BESIDE_BASE)
    write_json(path, minutes)
    return minutes


def broken(out: Path, stages: Sequence[Stage]) -> bool:
    """Whether none of these stages got so far as to name its parts: to try again would not help."""
    return not any((out / stage.name / "parts.json").exists() for stage in stages)


def missing(stage: Stage) -> list[str]:
    """Distributions that a stage wants and this machine lacks."""
    found = []
    for name in (*stage.imports, *stage.optional):
        try:
            version(name)
        except PackageNotFoundError:
            found.append(name)
    return found


def check(args: Args) -> None:
    """Refuse what cannot run, before anything is written."""
    if importlib.util.find_spec("torch") is None:
        raise ValueError("torch is not installed; take a machine that has it, 2.8 or newer.")
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device; for a rehearsal use --size small --device cpu.")
    if args.device == "cpu" and args.size != "small":
        raise ValueError("true sizes need a GPU; on a CPU use --size small.")
    path = args.out / "settings.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != {"size": args.size, "device": args.device}:
            raise ValueError(f"{args.out} holds results of {before}; choose another --out.")


def main(argv: Sequence[str] | None = None) -> None:
    print_line(hour, Args, __doc__, argv)


if __name__ == "__main__":
    main()
