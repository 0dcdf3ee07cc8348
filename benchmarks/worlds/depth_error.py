"""How good is an anchored world's own depth? Held-out scenes, against the true depth, along a short walk.

    python benchmarks/worlds/depth_error.py --seeds 20000000:20000020

The world walks each scene's own path. After every step its depth sensor is compared with the depth of the true scene
from that pose: once for the picture that the world made (`generated`), once for the true picture of that place
(`true_pictures`), which leaves out what the world invented differently. `seen` is where frame 0 shows the place
(its z-buffer decides), `beyond` is the rest, where the depth network looks at the present picture; `start` is frame 0
itself. Pixels of the sky, and all beyond the sensor's `max_depth`, are left out. The last line is JSON: medians over
pixels of the relative error and of the error in metres, and how many pixels there are.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
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
from sanawm_env.camera import relative_to_first
from sanawm_env.envs.options import as_device
from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth
from sanawm_env.envs.sensors.depth import Depth
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import EVAL_SEEDS, make_clips
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.warp import anchor_disparity
from sanawm_env.world.state import WorldState

Picture = NDArray[np.uint8]
Metres = NDArray[np.float32]


@dataclass(frozen=True)
class Args:
    """Walk through held-out scenes and measure the depth sensor."""

    seeds: str = "20000000:20000020"
    """Scene seeds, first:last+1."""
    steps: int = 4
    """Steps of a walk, of the checkpoint's default length."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Built-in name or folder of an anchored world."""
    sheet: Path | None = None
    """Picture to write: for each scene the generated frame after each step, above its depth and the true depth."""
    sheet_scenes: int = 3
    """Scenes on the picture, each of another family if there are as many."""
    device: str = "auto"
    """Where to compute."""


@dataclass(frozen=True, eq=False)
class Look:
    """One moment of a walk."""

    frame: Picture
    """What the world shows."""
    depth: Metres
    """Its depth."""
    truth: Metres
    """True depth from that pose."""


class Errors:
    """Errors in metres and true metres of pixels, by name."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[Metres, Metres]]] = defaultdict(list)

    def add(self, name: str, depth: Metres, truth: Metres, where: NDArray[np.bool_]) -> None:
        """Note the pixels `where` of one picture that have something near enough to be measured."""
        use = where & (truth < Depth().max_depth)
        self._found[name].append((np.abs(np.minimum(depth, Depth().max_depth) - truth)[use], truth[use]))

    def join(self, other: Errors) -> None:
        """Note all that another one has."""
        for name, parts in other._found.items():
            self._found[name] += parts

    def medians(self) -> dict[str, dict[str, float | int]]:
        """JSON-ready."""
        out: dict[str, dict[str, float | int]] = {}
        for name, parts in self._found.items():
            error, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
            if len(error):
                out[name] = {
                    "relative": round(float(np.median(error / truth)), 4),
                    "metres": round(float(np.median(error)), 4),
                    "pixels": len(error),
                }
        return out


def seen_by_first(state: WorldState) -> NDArray[np.bool_]:
    """`(H, W)` where frame 0 shows what the only slot's camera looks at."""
    known = anchor_disparity(state.first_disparity, state.c2w[:, None], state.intrinsics)[0, 0]
    return (known >= 0).repeat_interleave(2, 0).repeat_interleave(2, 1).cpu().numpy()


def walk(world: WorldModel, source: AnchoredDepth, seed: int, steps: int, errors: Errors) -> tuple[str, list[Look]]:
    """One scene: its family, and what was seen after each step."""
    config = world.config
    frames = config.chunk_frames * world.vae.temporal_stride
    clip = make_clips([seed], 1 + steps * frames, config.height, config.width)
    rgb, truth = clip.rgb[0].numpy(), clip.depth[0].numpy()
    poses = relative_to_first(clip.c2w.double())[0].numpy()
    state, _ = world.start(rgb[None, 0], clip.intrinsics.numpy(), [seed])
    everywhere = np.ones(truth.shape[1:], bool)
    errors.add("start", source.depth(state, [rgb[0]])[0], truth[0], everywhere)
    looks = []
    for end in range(frames, steps * frames + 1, frames):
        state, made = world.step(state, poses[None, end - frames + 1 : end + 1])
        seen = seen_by_first(state)
        for name, frame in (("generated", made[0, -1]), ("true_pictures", rgb[end])):
            depth = source.depth(state, [frame])[0]
            for part, where in (("seen", seen), ("beyond", ~seen)):
                errors.add(f"{name}_{part}", depth, truth[end], where)
            if name == "generated":
                looks.append(Look(frame, depth, truth[end]))
    return clip.family[0], looks


def measure(args: Args) -> dict[str, Any]:
    """Walk through all scenes.

    Raises:
        ValueError, FileNotFoundError: An argument that cannot be used; says what to change.
    """
    seeds = parse_seeds(args.seeds)
    if args.steps < 1:
        raise ValueError(f"steps must be at least 1; got {args.steps}.")
    world = WorldModel.load(args.checkpoint, as_device(args.device))
    source = AnchoredDepth(world)
    if seeds.start not in EVAL_SEEDS or seeds.stop - 1 not in EVAL_SEEDS:
        print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)
    began = time.perf_counter()
    overall = Errors()
    families: defaultdict[str, Errors] = defaultdict(Errors)
    shown: dict[str, list[Look]] = {}
    for seed in tqdm(seeds, unit="scene", file=sys.stderr):
        own = Errors()
        family, looks = walk(world, source, seed, args.steps, own)
        for errors in (overall, families[family]):
            errors.join(own)
        if len(shown) < args.sheet_scenes:
            shown.setdefault(family, looks)
    if args.sheet is not None:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate([sheet_rows(looks) for looks in shown.values()])).save(args.sheet)
    return {
        **overall.medians(),
        "by_family": {name: families[name].medians() for name in sorted(families)},
        "seeds": f"{seeds.start}:{seeds.stop}",
        "steps": args.steps,
        "max_depth": Depth().max_depth,
        "checkpoint": args.checkpoint,
        "checkpoint_hash": world.checkpoint,
        "device": str(world.device),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def sheet_rows(looks: Sequence[Look]) -> Picture:
    """`(3 H, steps * W, 3)`: generated frames, their depth, the true depth."""
    rows = [
        np.concatenate([look.frame for look in looks], axis=1),
        np.concatenate([grey(look.depth) for look in looks], axis=1),
        np.concatenate([grey(look.truth) for look in looks], axis=1),
    ]
    return np.concatenate(rows)


def grey(depth: Metres) -> Picture:
    """Depth as a picture, by its logarithm: white is half a metre or less, black 16 m or more."""
    level = 1 - np.log2(np.clip(depth, 0.5, 16) / 0.5) / 5
    return np.repeat((level * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
