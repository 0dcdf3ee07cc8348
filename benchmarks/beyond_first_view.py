"""What is a world worth where its first image showed nothing? Held-out scenes, looked at again and again for a minute.

    python benchmarks/beyond_first_view.py --seeds 20000000:20000040

The camera turns 114 degrees away in five seconds while it walks on, comes back, and does it again. At the far ends,
pixels that frame 0 does not show by true geometry are judged; 36 degrees on the way there, pixels that it does show
(`seen`). The last line is JSON; `evaluation.report.beyond` says what its keys mean, of which these have goals:

    sharpness_unseen       gradient energy over the truth's, after 5 s and 65 s          >= 0.6
    self_consistency_db    PSNR of a made-up place seen again after 10 s                 >= 26
    depth_median_error     relative, at 1 to 4 m; also in `seen`                          <= 0.05
    depth_bias             largest median error, with its sign taken off, of any band;
                           also in `seen`                                                 <= 0.02
    translation_error      % of the path over 5 s, of cameras recovered from the frames; beside the estimator's own in
                           true pictures, and both again without the scenes in which it loses itself there (> 25 %)
    psnr_gain_db_unseen    over the frozen frame 0
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import print_line
from benchmarks.worlds.obey_camera import parse_seeds
from sanawm_env.envs.options import as_device
from sanawm_env.evaluation.parts import Setting, beyond, fidelity
from sanawm_env.evaluation.parts.beyond import views
from sanawm_env.evaluation.report.summary import summarize_results
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import EVAL_SEEDS
from sanawm_env.world.model import WorldModel


@dataclass(frozen=True)
class Args:
    """Look away from the first view and come back, for a minute."""

    seeds: str = "20000000:20000040"
    """Scene seeds, first:last+1."""
    seconds: float = 60.0
    """Length; half a lap (5 s) is added, so that it ends at a far end."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Built-in name or folder."""
    camera: bool = True
    """Recover cameras as well, for `translation_error`; it takes half as long again."""
    sheet: Path | None = None
    """Picture to write: for each scene the true far ends above the generated ones."""
    sheet_scenes: int = 6
    """Scenes on the picture."""
    device: str = "auto"
    """Where to compute."""


def measure(args: Args) -> dict[str, Any]:
    """All scenes.

    Raises:
        ValueError, FileNotFoundError: An argument that cannot be used; says what to change.
    """
    seeds = parse_seeds(args.seeds)
    if not args.seconds > 0:
        raise ValueError(f"seconds must be positive; got {args.seconds}.")
    world, setting = WorldModel.load(args.checkpoint, as_device(args.device)), Setting(long_s=args.seconds)
    if seeds.start not in EVAL_SEEDS or seeds.stop - 1 not in EVAL_SEEDS:
        print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)
    began = time.perf_counter()
    results: dict[str, dict[int, dict[str, Any]]] = {"beyond": {}}
    for seed in tqdm(seeds, unit="scene", file=sys.stderr):
        results["beyond"][seed] = beyond(world, seed, setting)
        if args.camera:
            results.setdefault("fidelity", {})[seed] = fidelity(world, seed, setting)
    if args.sheet is not None:
        rows = [row for seed in seeds[: args.sheet_scenes] for row in views(world, seed, setting)]
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(args.sheet)
    summary = summarize_results(results)
    found = dict(summary["beyond"])
    if args.camera:
        found["translation_error"] = summary["camera"]["relative_translation_percent"]
        found["translation_error_of_estimator"] = summary["camera_of_true_renders"]["relative_translation_percent"]
        found["translation_where_followed"] = summary["translation_where_followed"]
    return {
        **found,
        "seeds": f"{seeds.start}:{seeds.stop}",
        "seconds_of_world": args.seconds,
        "checkpoint": args.checkpoint,
        "checkpoint_hash": world.checkpoint,
        "device": str(world.device),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
