"""A usable checkpoint, a sample sheet and held-out gains, written while a world model trains."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sanawm_env.evaluation import psnr_gain
from sanawm_env.files import replacing
from sanawm_env.scenes import Clips, make_clips
from sanawm_env.scenes.seeds import VALIDATION_SEEDS
from sanawm_env.training.store import appending
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import TinyVAE
from sanawm_env.world.rollout import rollout, starts_of

if TYPE_CHECKING:
    from sanawm_env.training.optim import EMA

SHEET_SEEDS = VALIDATION_SEEDS[:16]
"""Scenes of the sheets."""
FRAMES = (8, 16, 32, 64, 128)
"""Pixel frames at which the gain over the frozen first frame is logged."""


@functools.cache
def _held_out(height: int, width: int, device: str) -> Clips:
    """The clips of the sheets, rendered once per run."""
    return make_clips(SHEET_SEEDS, FRAMES[-1] + 1, height, width, device=device)


def write_sheet(out: Path, settings: WorldConfig, vae: TinyVAE, ema: EMA, step: int, device: str) -> None:
    """Write `checkpoint/`, `sheet_<step>.png` (truth above model) and a line of `gains.jsonl`."""
    model = SanaWMTransformer(settings.model).to(device).eval()
    model.load_state_dict(ema.values)
    save_checkpoint(out / "checkpoint", settings, model.state_dict(), vae.state_dict())
    world = WorldModel(settings, model, vae, checkpoint="training", batched=True)
    clips = _held_out(settings.height, settings.width, device)
    truth = clips.rgb.cpu().numpy()
    cameras = clips.intrinsics.cpu().numpy()
    made = rollout(world, starts_of(truth[:, 0], cameras), clips.c2w.cpu().numpy(), SHEET_SEEDS)
    gains = {}
    for frame in FRAMES:
        gain = psnr_gain(made, truth, frame)
        gains[str(frame / settings.fps)] = gain.mean(gain.gain_db)
    with appending(out / "gains.jsonl") as log:
        log.write(json.dumps({"step": step, **gains}) + "\n")
    shown = [0, 8, 16, 32, 64, 128]
    rows = np.stack((truth[:6, shown], made[:6, shown]), axis=1)  # clip by clip: truth above, model below
    sheet = rows.transpose(0, 1, 3, 2, 4, 5).reshape(12 * truth.shape[2], -1, 3)
    with replacing(out / f"sheet_{step:06d}.png") as temporary:
        Image.fromarray(sheet).save(temporary)
