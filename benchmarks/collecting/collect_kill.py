"""Is anything lost or made twice when `sanawm collect` is killed, again and again, or the disk runs full?

    OMP_NUM_THREADS=1 python benchmarks/collecting/collect_kill.py --kills 50
    OMP_NUM_THREADS=1 python benchmarks/collecting/collect_kill.py --kills 50 --ray --steps 40 --minutes 15
    sudo OMP_NUM_THREADS=1 python benchmarks/collecting/collect_kill.py --kills 0 --disk

A small collection runs undisturbed once. Then the same line is started and killed with SIGKILL after a random time, as
often as asked; whenever it was faster than the kill, a new folder begins. With `--ray` the line shares its work out to
two machines of a cluster, and a worker, the driver or a machine is killed. Without it, one start halfway runs against a
limit on the size of files, and `--disk` fills a real file system up. Each folder is finished at the end by the same
line, and looked at:

    every item is there once, with the hash of frames, the actions, and the bytes of the video of the undisturbed run;
    `sanawm/progress.jsonl` names no item twice;
    no temporary, no file that cannot be read, no item without its video;
    the index has as many episodes as were kept.

Kills fall into starting up, stepping, encoding, writing and indexing alike: `phases` counts what a folder looked like.
The last line printed is one JSON object; `wrong` lists what was found, and the exit code is 1 if there is any.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import torch
import tyro

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks.collecting.kills.alone import kill_alone
from benchmarks.collecting.kills.faults import facts, faults
from benchmarks.collecting.kills.full_disk import fill_disk
from benchmarks.collecting.kills.run import Args, Run
from benchmarks.collecting.kills.through_ray import kill_through_ray


def measure(args: Args) -> dict[str, Any]:
    """Everything that the JSON line holds."""
    began, wrong = time.monotonic(), list[str]()
    folder = tempfile.mkdtemp(prefix="collect_kill-")
    try:
        clean = Path(folder) / "clean"
        undisturbed = Run(args, clean)
        if not undisturbed.wait() or undisturbed.code != 0:
            raise RuntimeError(f"the undisturbed run ended with {undisturbed.code}: {undisturbed.said}")
        usual = time.monotonic() - undisturbed.began
        truth = facts(clean)
        folders, figures = list[Path](), dict[str, Any]()
        if args.kills and args.ray:
            folders, figures = kill_through_ray(args, Path(folder), wrong)
        elif args.kills:
            folders, figures = kill_alone(args, Path(folder), usual, wrong)
        for each in folders:
            run = Run(args, each)
            if not run.wait() or run.code != 0:
                wrong.append(f"{each.name}: the last run ended with {run.code}: {run.said}")
            wrong += [f"{each.name}: {fault}" for fault in faults(each, truth)]
        if args.disk:
            figures["disk_full"] = fill_disk(args, Path(folder) / "disks", truth, wrong)
    finally:
        if not wrong:  # what is wrong is there to be looked at
            shutil.rmtree(folder, ignore_errors=True)
    return {
        **figures,
        "folders": len(folders),
        "episodes": len(folders) * args.episodes,
        "wrong": wrong,
        "look_at": folder if wrong else None,
        "undisturbed_seconds": round(usual, 2),
        "seconds": round(time.monotonic() - began, 1),
        "args": asdict(args),
    }


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
