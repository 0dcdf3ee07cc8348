"""Sample sheets and held-out scores written while a world model trains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ..model.cache import empty_cache
from ..model.transformer import SanaWMTransformer
from ..model.vae import TinyVAE
from ..sampler import commit_chunk, denoise_chunk
from ..scenes import make_clips
from .data import camera_inputs

if TYPE_CHECKING:
    from .optim import EMA
    from .world import WorldTrainConfig

SHEET_SEEDS = range(9_000_000, 9_000_016)
"""Scenes of the sheets: training range, but far beyond what a run reaches; evaluation seeds stay untouched."""
SIGMAS = (1.0, 0.75, 0.0)


@torch.no_grad()
def generate(
    model: SanaWMTransformer, vae: TinyVAE, rgb: Tensor, c2w: Tensor, intrinsics: Tensor, *,
    chunk: int, sigmas: tuple[float, ...], preconditioned: bool, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Roll the model along given poses, as the environment does, all clips in one batch.

    Args:
        model: The transformer.
        vae: The VAE.
        rgb: `(B, F, H, W, 3)` uint8; only frame 0 is used.
        c2w: `(B, F, 4, 4)`.
        intrinsics: `(B, 4)` px.
        chunk: Latent frames per chunk.
        sigmas: Noise levels of the sampler.
        preconditioned: See `sampler.velocity`.
        seed: Of the noise.

    Returns:
        `(B, F, H, W, 3)` float in [-1, 1].
    """
    batch, _, height, width = rgb.shape[:4]
    patch = model.config.patch_size
    first = vae.encode(rgb[:, :1].permute(0, 4, 1, 2, 3).float() / 127.5 - 1)
    grid = (first.shape[3] // patch[0], first.shape[4] // patch[1])
    relative = torch.linalg.solve(c2w[:, :1].double(), c2w.double()).float()
    raymap, plucker = camera_inputs(relative, intrinsics, height, width, vae.temporal_stride, grid)
    cache = empty_cache(model.config, batch, grid[0] * grid[1], device=rgb.device)
    cache = commit_chunk(model, first, cache, raymap=raymap[:, :1], plucker=plucker[:, :, :1])
    noise = torch.randn(
        batch,
        vae.latent_channels,
        raymap.shape[1] - 1,
        *first.shape[3:],
        generator=torch.Generator().manual_seed(seed),
    )
    latents = [first]
    for start in range(1, raymap.shape[1], chunk):
        end = min(start + chunk, raymap.shape[1])
        piece, cache = denoise_chunk(
            model, noise[:, :, start - 1 : end - 1].to(rgb.device), cache, sigmas, preconditioned=preconditioned,
            raymap=raymap[:, start:end], plucker=plucker[:, :, start:end],
        )  # fmt: skip
        latents.append(piece)
    frames, _ = vae.decode(torch.cat(latents, dim=2), vae.init_tails(batch, *first.shape[3:]))
    return frames.permute(0, 2, 3, 4, 1)


def psnr_gain(rgb: Tensor, generated: Tensor, frame: int) -> float:
    """PSNR against the true frame minus PSNR of the frozen first frame, dB, mean over clips that move."""
    truth = rgb.float() / 127.5 - 1
    error = (generated[:, frame].clamp(-1, 1) - truth[:, frame]).square().mean((1, 2, 3))
    frozen = (truth[:, 0] - truth[:, frame]).square().mean((1, 2, 3))
    moving = frozen > 4e-3
    return float((10 * torch.log10(frozen / error))[moving].mean())


def write_sheet(config: WorldTrainConfig, vae: TinyVAE, ema: EMA, step: int) -> None:
    """Write `ema.safetensors`, a picture and the held-out gains of the averaged weights."""
    save_file({k: v.contiguous().cpu() for k, v in ema.values.items()}, config.out / "ema.safetensors")
    model = SanaWMTransformer(config.model).to(config.device).eval()
    model.load_state_dict(ema.values)
    clips = make_clips(
        SHEET_SEEDS,
        33,
        config.data.height,
        config.data.width,
        device=config.device,
        compile=config.compile_renderer,
    )
    out = generate(
        model,
        vae,
        clips.rgb,
        clips.c2w,
        clips.intrinsics,
        chunk=1,
        sigmas=SIGMAS,
        preconditioned=config.preconditioned,
    )
    gains = {str(f / 16): round(psnr_gain(clips.rgb, out, f), 3) for f in (4, 8, 16, 32)}
    with (config.out / "gains.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, **gains}) + "\n")
    shown = [0, 4, 8, 16, 24, 32]
    truth = clips.rgb[:6, shown]
    made = ((out[:6, shown].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    rows = torch.stack((truth, made), dim=1).flatten(0, 1)  # clip by clip: truth above, model below
    sheet = rows.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
    Image.fromarray(sheet.cpu().numpy()).save(config.out / f"sheet_{step:06d}.png")
