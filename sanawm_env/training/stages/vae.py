"""Training of the built-in world's VAE: the block transform in closed form, then the decoder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sanawm_env.files import replacing, save_tensors
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.seeds import STAGE_SEEDS, VALIDATION_SEEDS, SceneSeeds
from sanawm_env.training.clips.posed import PosedConfig
from sanawm_env.training.host import HostSettings
from sanawm_env.training.optim import EMA, MuonAdamW, clip_gradients
from sanawm_env.training.store import load_weights
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig

HELD_OUT = VALIDATION_SEEDS[:8]
"""Scenes that the reported error is of."""
FRAMES = 17
"""Of a clip."""


@dataclass(frozen=True)
class VAETrainConfig(HostSettings):
    """`sanawm train vae`."""

    out: Path = Path("runs/vae")
    """Where `vae.json` and `vae.safetensors` go; an existing VAE there is trained further."""
    minutes: float = 10.0
    """Wall-clock budget of the decoder; 0 fits the block transform only."""
    fit_clips: int = 192
    """Clips for the block transform's covariance."""
    batch: int = 8
    """Clips per decoder step, one latent pair of each."""
    lr: float = 2e-3
    """Adam learning rate of the decoder."""
    latent_noise: float = 0.1
    """Noise added to the latents, relative to unit variance, so that the decoder forgives the world model."""
    height: int = 128
    width: int = 224
    """Pixels."""
    first_seed: int = STAGE_SEEDS["vae"].start
    """Scene seeds count up from here, see `scenes.seeds`."""
    posed: PosedConfig = field(default_factory=PosedConfig)
    """Clips of your own among the scenes, at least 17 frames long."""
    vae: TinyVAEConfig = field(default_factory=TinyVAEConfig)
    """Sizes."""


@torch.no_grad()
def fit_transform(vae: TinyVAE, frames: list[Tensor]) -> None:
    """Set the block transform to the leading eigenvectors of the clips' blocks, stills included.

    Args:
        vae: The VAE to fill in.
        frames: Clips `(B, 3, 1 + stride*n, H, W)` in [-1, 1].
    """
    stride, size = vae.temporal_stride, vae.mean.numel()
    count, total, outer = (
        0,
        torch.zeros(size, dtype=torch.float64),
        torch.zeros(size, size, dtype=torch.float64),
    )
    for clip in frames:
        still = clip[:, :, :-1:stride].repeat_interleave(stride, dim=2)[:, :, : 2 * stride]
        x = vae.patches(vae.shrink(torch.cat((clip[:, :, 1:], still), dim=2))).flatten(0, 3)
        count += len(x)
        total += x.double().sum(0).cpu()
        outer += (x.T @ x).double().cpu()
    mean = total / count
    values, vectors = torch.linalg.eigh(outer / count - mean[:, None] * mean[None])
    keep = vae.config.channels
    std = values.flip(0)[:keep].clamp_min(1e-12).sqrt()
    basis = vectors.flip(1)[:, :keep]
    scale = std**-vae.config.whiten
    scale = scale / (scale * std).square().mean().sqrt()  # unit variance on average over channels
    vae.mean.copy_(mean)
    vae.analysis.copy_((basis * scale).T)
    vae.synthesis.copy_(basis / scale)


def train_vae(config: VAETrainConfig) -> Path:
    """Fit the block transform (once), then train the decoder for `minutes`.

    Returns:
        The folder with `vae.json` and `vae.safetensors`.
    """
    config.prepare()
    posed = config.posed.open(config.height, config.width, FRAMES, seed=config.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / "vae.safetensors"
    vae = TinyVAE(config.vae).to(config.device)
    scenes = SceneSeeds(config.first_seed)

    def fresh(count: int) -> Tensor:
        """The next clips, rendered or posed ones."""
        if posed is not None and posed.turn():
            return _as_input(posed.take(count, config.device).rgb)
        return _clips(config, scenes.take(count))

    if path.exists():
        load_weights(path, vae)
        scenes.skip(500_000)  # new scenes on a later call
    else:
        clips = []
        for start in tqdm(range(0, config.fit_clips, 16), desc="block transform", unit="batch"):
            clips.append(fresh(min(16, config.fit_clips - start)))
        fit_transform(vae, clips)
        _save(config, vae)
    if config.minutes > 0 and vae.refine is not None:
        _train_decoder(config, vae, fresh)
    return config.out


def _train_decoder(config: VAETrainConfig, vae: TinyVAE, fresh: Callable[[int], Tensor]) -> None:
    assert vae.refine is not None
    optimizer, ema = MuonAdamW(vae.refine, 0.01, config.lr), EMA(vae.refine, 0.995)
    started, step, average = time.monotonic(), 0, None
    bar = tqdm(
        total=config.minutes,
        unit="min",
        bar_format="{l_bar}{bar}| {n:.1f}/{total} min [{remaining} left{postfix}]",
    )
    frames = fresh(2 * config.batch)
    while (minutes := (time.monotonic() - started) / 60) < config.minutes:
        if step % 16 == 0:  # rendering costs more than a step: use every batch of scenes several times
            frames = torch.cat((frames[-6 * config.batch :], fresh(2 * config.batch)))
        pick = torch.randint(len(frames), (config.batch,))
        loss = _decoder_loss(config, vae, frames[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(vae.refine.parameters(), 1.0)
        optimizer.scale_lr(min(1.0, (step + 1) / 50, 4 * (config.minutes - minutes) / config.minutes + 0.02))
        optimizer.step()
        ema.update(vae.refine, step)
        value = loss.item()
        average = value if average is None else 0.98 * average + 0.02 * value
        step += 1
        bar.n = minutes
        bar.set_postfix_str(
            f"step {step}, loss {average:.4f}, {step * config.batch / max(1e-9, minutes * 60):.1f} clips/s"
        )
        if step % 300 == 0:
            _checkpoint(config, vae, ema)
    bar.close()
    _checkpoint(config, vae, ema)


def _decoder_loss(config: VAETrainConfig, vae: TinyVAE, frames: Tensor) -> Tensor:
    """L1 plus a gradient term on one latent of each clip, half of them the stream's first still."""
    stride = vae.temporal_stride
    groups = (frames.shape[2] - 1) // stride
    start = int(torch.randint(groups - 1, ())) * stride + 1
    target = frames[:, :, start + stride : start + 2 * stride]
    with torch.no_grad():
        pair = vae.encode_blocks(frames[:, :, start : start + 2 * stride])
        if bool(torch.rand(()) < 0.25):  # a still, which follows itself
            target = target[:, :, :1].expand(-1, -1, stride, -1, -1)
            pair = vae.encode_blocks(target).repeat(1, 1, 2, 1, 1)
        strength = config.latent_noise * torch.rand(len(pair), 1, 1, 1, 1, device=pair.device)
        pair = pair + strength * torch.randn_like(pair)
    with torch.autocast(config.device.split(":")[0], torch.bfloat16):
        out = vae.decode_blocks(pair[:, :, 1:], pair[:, :, :1]).float()
    return picture_loss(out, target)


def picture_loss(out: Tensor, target: Tensor) -> Tensor:
    """L1, squared error and error of the steps from pixel to pixel, of frames `(B, 3, F, H, W)` in [-1, 1]."""
    edges = sum((out.diff(dim=d) - target.diff(dim=d)).abs().mean() for d in (3, 4))
    return (out - target).abs().mean() + 2.0 * (out - target).square().mean() + 0.5 * edges


def _clips(config: VAETrainConfig, seeds: Sequence[int]) -> Tensor:
    size = (FRAMES, config.height, config.width)
    return _as_input(make_clips(seeds, *size, device=config.device, compile=config.compile_renderer).rgb)


def _as_input(rgb: Tensor) -> Tensor:
    """Frames `(B, F, H, W, 3)` uint8 as the VAE takes them: `(B, 3, F, H, W)` in [-1, 1]."""
    return rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _checkpoint(config: VAETrainConfig, vae: TinyVAE, ema: EMA) -> None:
    assert vae.refine is not None
    live = {k: v.clone() for k, v in vae.refine.state_dict().items()}
    vae.refine.load_state_dict(ema.values)
    _save(config, vae)
    vae.refine.load_state_dict(live)


@torch.no_grad()
def _save(config: VAETrainConfig, vae: TinyVAE) -> None:
    with replacing(config.out / "vae.json") as temporary:
        temporary.write_text(json.dumps(asdict(config.vae), indent=1), encoding="utf-8")
        save_tensors(config.out / "vae.safetensors", vae.state_dict())
    frames = _clips(config, HELD_OUT)
    out, _ = vae.decode(
        vae.encode(frames),
        vae.init_tails(len(frames), config.height // vae.spatial_stride, config.width // vae.spatial_stride),
    )
    error = (out.clamp(-1, 1) - frames).square().flatten(1).mean(1)
    print(f"held-out reconstruction {float((10 * torch.log10(4 / error)).mean()):.2f} dB")
    sheet = torch.cat((frames[:4, :, 8], out[:4, :, 8].clamp(-1, 1)), dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    with replacing(config.out / "sheet.png") as temporary:
        Image.fromarray(((sheet + 1) * 127.5).round().to(torch.uint8).cpu().numpy()).save(temporary)
