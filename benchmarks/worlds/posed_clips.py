"""Does the world follow the camera of real, or other, clips? PSNR gain over the frozen first frame on posed clips.

    python -m benchmarks.worlds.posed_clips --data ds --checkpoint runs/world/checkpoint --seeds 20000000:20000016

The world is given a clip's first frame, camera and path, and rolls out; only clips that no training takes are used
(docs/how-to/training-on-clips.md). With --seeds the same is measured on procedural scenes, so that two runs before and
after training say what was won on the one and lost on the other. Means are over clips that have moved by then: where
the frozen frame is below 30 dB. The last line is JSON.
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
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks import print_line
from benchmarks.worlds.obey_camera import parse_seeds
from sanawm_env.envs.options import as_device
from sanawm_env.evaluation import psnr_gain
from sanawm_env.evaluation.metrics.psnr import PsnrGain
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import list_clips
from sanawm_env.training.clips.posed import camera_of, fit_clip, held_out
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of

Clip = tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]
"""Frames `(F, H, W, 3)`, poses `(F, 4, 4)` and intrinsics `(4,)`."""


@dataclass(frozen=True)
class Args:
    """Roll a world along the cameras of held-out clips."""

    data: Path
    """Dataset of posed clips."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Built-in name or folder."""
    seconds: tuple[float, ...] = (1.0, 4.0)
    """When to compare; clips that are shorter are left out."""
    clips: int = 32
    """At most so many, the first by name."""
    all: bool = False
    """Take the clips that training may take as well: for a few clips of your own that are all you have."""
    seeds: str = ""
    """Procedural scenes to measure as well, first:last+1; those from 20,000,000 on were never trained on."""
    sheet: Path | None = None
    """Picture to write: for each of the first six clips the truth above what the world made."""
    device: str = "auto"
    """Where to compute."""


def measure(args: Args) -> dict[str, Any]:
    """Roll out along all clips.

    Raises:
        ValueError, FileNotFoundError: An argument that cannot be used; says what to change.
    """
    world = WorldModel.load(args.checkpoint, as_device(args.device))
    height, width, fps = world.config.height, world.config.width, world.config.fps
    if not args.seconds or min(args.seconds) * fps < 1:
        raise ValueError(f"seconds must be some moments after the first frame; got {args.seconds}.")
    frames = 1 + round(max(args.seconds) * fps)
    found = [clip for clip in list_clips(args.data) if args.all or held_out(clip)]
    usable = [clip for clip in found if len(clip) >= frames and clip.fps == fps][: args.clips]
    if not usable:
        raise ValueError(
            f"{args.data} has {len(found)} held-out clips, none of {frames} frames at {fps:g} frames/s; "
            "take fewer --seconds, or --all clips."
        )
    began = time.perf_counter()
    posed = (
        (fit_clip(clip, height, width, 0, frames), clip.c2w[:frames], camera_of(clip, height, width)) for clip in usable
    )
    sheet: list[NDArray[np.uint8]] = []
    result: dict[str, Any] = {"clips": len(usable), **gains(world, posed, len(usable), args.seconds, sheet)}
    if args.seeds:
        seeds = parse_seeds(args.seeds)
        drawn = (make_clips([seed], frames, height, width) for seed in seeds)
        scenes = ((each.rgb[0].numpy(), each.c2w[0].numpy(), each.intrinsics[0].numpy()) for each in drawn)
        result["procedural"] = {"seeds": args.seeds, **gains(world, scenes, len(seeds), args.seconds, [])}
    if args.sheet is not None:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(sheet[:6])).save(args.sheet)
    return result | {
        "data": str(args.data),
        "checkpoint": args.checkpoint,
        "checkpoint_hash": world.checkpoint,
        "device": str(world.device),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def gains(
    world: WorldModel, clips: Any, count: int, seconds: Sequence[float], sheet: list[NDArray[np.uint8]]
) -> dict[str, Any]:
    """PSNR gain at each moment, one clip after another; pictures of each go to `sheet`."""
    moments = [round(second * world.config.fps) for second in seconds]
    parts: dict[int, list[PsnrGain]] = {moment: [] for moment in moments}
    for number, (truth, c2w, camera) in enumerate(tqdm(clips, total=count, unit="clip", file=sys.stderr)):
        made = rollout(world, starts_of(truth[None, 0], camera[None]), c2w[None], [number])
        for moment in moments:
            parts[moment].append(psnr_gain(made, truth[None], moment))
        shown = [0, *moments]
        sheet.append(np.concatenate([np.concatenate(list(each[shown]), 1) for each in (truth, made[0])]))
    out = {}
    for second, moment in zip(seconds, moments, strict=True):
        gain = PsnrGain.cat(parts[moment])
        means = {"gain_db": gain.gain_db, "generated_db": gain.generated_db, "frozen_db": gain.frozen_db}
        rounded = {
            name: None if (mean := gain.mean(value)) is None else round(mean, 3) for name, value in means.items()
        }
        out[f"at_{second:g}_s"] = rounded | {"moving": gain.counted}
    return out


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
