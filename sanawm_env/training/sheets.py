"""A usable checkpoint, a sample sheet and held-out gains, written while a world model trains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..config import WorldConfig
from ..evaluation import psnr_gain, rollout
from ..model.checkpoint import save_checkpoint
from ..model.transformer import SanaWMTransformer
from ..model.vae import TinyVAE
from ..scenes import make_clips
from ..world import WorldModel

if TYPE_CHECKING:
    from .optim import EMA
    from .world import WorldTrainConfig

SHEET_SEEDS = range(9_000_000, 9_000_016)
"""Scenes of the sheets: in the training range, but far beyond what a run reaches. Evaluation seeds stay unseen."""
FRAMES = (4, 8, 16, 32)
"""Pixel frames at which the gain over the frozen first frame is logged."""


def world_config(config: WorldTrainConfig, vae: TinyVAE) -> WorldConfig:
    """The world that a training run makes."""
    return WorldConfig(
        model=config.model,
        vae={"kind": "tiny", **vars(vae.config)},
        height=config.data.height,
        width=config.data.width,
        sigmas=config.sigmas,
        chunk_frames=config.model.chunk_frames,
        max_chunk_frames=config.max_chunk,
        preconditioned=config.preconditioned,
        name=config.name,
    )


def write_sheet(config: WorldTrainConfig, vae: TinyVAE, ema: EMA, step: int) -> None:
    """Write `checkpoint/`, `sheet_<step>.png` (truth above model) and a line of `gains.jsonl`."""
    model = SanaWMTransformer(config.model).to(config.device).eval()
    model.load_state_dict(ema.values)
    settings = world_config(config, vae)
    save_checkpoint(config.out / "checkpoint", settings, model.state_dict(), vae.state_dict())
    world = WorldModel(settings, model, vae, checkpoint="training", batched=True)
    clips = make_clips(SHEET_SEEDS, FRAMES[-1] + 1, config.data.height, config.data.width, device=config.device)
    truth = clips.rgb.cpu().numpy()
    cameras = clips.intrinsics.cpu().numpy()
    made = rollout(world, truth[:, 0], cameras, clips.c2w.cpu().numpy(), SHEET_SEEDS, chunk_frames=1)
    gains = {}
    for frame in FRAMES:
        gain = psnr_gain(made, truth, frame)
        gains[str(frame / settings.fps)] = gain.mean(gain.gain_db)
    with (config.out / "gains.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, **gains}) + "\n")
    shown = [0, 4, 8, 16, 24, 32]
    rows = np.stack((truth[:6, shown], made[:6, shown]), axis=1)  # clip by clip: truth above, model below
    sheet = rows.transpose(0, 1, 3, 2, 4, 5).reshape(12 * truth.shape[2], -1, 3)
    Image.fromarray(sheet).save(config.out / f"sheet_{step:06d}.png")
