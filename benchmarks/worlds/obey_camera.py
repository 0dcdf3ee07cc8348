"""Does the world obey the camera? Held-out scenes, PSNR against the truth and direction of optical flow.

    python benchmarks/worlds/obey_camera.py --seeds 20000000:20000020

The last line printed is one JSON object; `sanawm_env.evaluation.summarize` says what its main keys mean.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks import print_line
from sanawm_env.envs.options import as_device, sampler_sigmas
from sanawm_env.evaluation import SceneTrial, summarize, try_scene
from sanawm_env.evaluation.metrics.commands import ROTATION, TRANSLATION
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import EVAL_SEEDS
from sanawm_env.world.model import WorldModel
from sanawm_env.world.noise import MAX_SEED

UNTRAINED = "untrained"
SHEET_SECONDS = (0, 0.25, 0.5, 1, 1.5, 2)


@dataclass(frozen=True)
class Args:
    """Roll a world through held-out scenes and report how well it follows the camera."""

    seeds: str = "20000000:20000020"
    """Scene seeds, first:last+1."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Built-in name or folder; `untrained` is a small world of random weights, for tests."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default if not given."""
    steps: int | None = None
    """Model calls per chunk; the checkpoint's schedule if not given."""
    rotation_deg: float = math.degrees(ROTATION)
    """Commanded turn, degrees per frame."""
    translation: float = TRANSLATION
    """Commanded speed, metres per frame."""
    sheet: Path | None = None
    """Picture to write: for each scene the true row above the generated one. The first columns are moments of
    the scene's own path, the last three the ends of yaw, pitch and forward."""
    sheet_scenes: int = 8
    """Scenes on the picture."""
    device: str = "auto"
    """Where to compute."""


def parse_seeds(text: str) -> range:
    """Read `first:last+1`.

    Raises:
        ValueError: Not two whole numbers that make a non-empty range of possible seeds.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text.strip(), re.ASCII)
    if found is None:
        raise ValueError(f"seeds must be two whole numbers first:last+1, such as 20000000:20000020; got {text!r}.")
    seeds = range(int(found[1]), int(found[2]))
    if seeds.start >= seeds.stop:
        raise ValueError(f"seeds {text!r} hold no scene: the second number must be larger than the first.")
    if seeds.stop - 1 > MAX_SEED:
        raise ValueError(f"seeds must not exceed 2**63 - 1; got {text!r}.")
    return seeds


def measure(args: Args) -> dict[str, Any]:
    """Try all scenes.

    Raises:
        ValueError, FileNotFoundError: An argument that cannot be used; says what to change.
    """
    seeds = parse_seeds(args.seeds)
    if not (math.isfinite(args.rotation_deg) and args.rotation_deg > 0 and args.translation > 0):
        raise ValueError("rotation-deg and translation must be positive; the sign is drawn for each scene.")
    untrained = args.checkpoint == UNTRAINED
    device = as_device(args.device)
    world = WorldModel.untrained(device=device) if untrained else WorldModel.load(args.checkpoint, device)
    sigmas = sampler_sigmas(world.config.sigmas, args.steps, None)
    chunk = world.config.chunk_frames if args.chunk_frames is None else args.chunk_frames
    if seeds.start not in EVAL_SEEDS or seeds.stop - 1 not in EVAL_SEEDS:
        print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)

    began = time.perf_counter()
    trials: list[SceneTrial] = []
    shown: list[np.ndarray] = []
    for seed in tqdm(seeds, unit="scene", file=sys.stderr):
        trial = try_scene(
            world,
            seed,
            chunk_frames=chunk,
            sigmas=sigmas,
            rotation=math.radians(args.rotation_deg),
            translation=args.translation,
        )
        if args.sheet is not None and len(shown) < args.sheet_scenes:
            shown.append(sheet_rows(trial, world.config.fps))
        trials.append(_slim(trial))
    if args.sheet is not None and shown:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(shown)).save(args.sheet)

    families = sorted({trial.family for trial in trials})
    forward = [trial.commands[-1] for trial in trials]
    return {
        **summarize(trials),
        "by_family": {name: summarize([t for t in trials if t.family == name]) for name in families},
        # Forward paths: how many went backwards, how many because only that way was free, how many were blocked.
        "forward_backwards": sum(command.sign < 0 for command in forward),
        "forward_sign_not_drawn": sum(not command.drawn for command in forward),
        "forward_blocked": sum(not command.free for command in forward),
        "wrong": {
            motion: [trial.seed for trial in trials if not trial.obeyed[i]]
            for i, motion in enumerate(command.motion for command in trials[0].commands)
        },
        "seeds": f"{seeds.start}:{seeds.stop}",
        "held_out": seeds.start in EVAL_SEEDS and seeds.stop - 1 in EVAL_SEEDS,
        "checkpoint": args.checkpoint,
        "checkpoint_hash": world.checkpoint,
        "chunk_frames": chunk,
        "sigmas": list(sigmas),
        "rotation_deg_per_frame": round(args.rotation_deg, 6),
        "translation_per_frame": args.translation,
        "device": str(world.device),
        "seconds": round(time.perf_counter() - began, 1),
    }


def sheet_rows(trial: SceneTrial, fps: float) -> np.ndarray:
    """`(2 H, columns * W, 3)`: the truth above the generated frames."""
    moments = [round(seconds * fps) for seconds in SHEET_SECONDS]
    columns = np.concatenate([trial.clip[:, moments], trial.motions[:, :, -1]], axis=1)
    rows, count, height, width, _ = columns.shape
    return columns.transpose(0, 2, 1, 3, 4).reshape(rows * height, count * width, 3)


def _slim(trial: SceneTrial) -> SceneTrial:
    """The trial without its videos, which would fill the memory over thousands of scenes."""
    return replace(trial, clip=trial.clip[:, :0], motions=trial.motions[:, :, :0])


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
