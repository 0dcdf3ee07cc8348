"""Training of a world's decoder on what the world makes, with the anchor before its eyes.

`training.vae` fits the decoder to coded truth. A world's own latents are softer, and an anchored decoder has to
learn how far to trust the warped image beside them: it is shown rollouts of the finished world, chunk by chunk as
an environment makes them, with the true frames as the target. The transformer and the code stay as they are, so
rollouts before and after are the same in latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sanawm_env.scenes import Clips, make_clips
from sanawm_env.scenes.seeds import STAGE_SEEDS, SceneSeeds
from sanawm_env.training.clips.codec import vae_of
from sanawm_env.training.clips.posed import Pick, PosedClips, PosedConfig
from sanawm_env.training.host import HostSettings
from sanawm_env.training.loop import clock, learning_rate, train_for
from sanawm_env.training.optim import EMA, MuonAdamW, clip_gradients
from sanawm_env.training.parallel import SEED_SPACING, average, join, leave
from sanawm_env.training.stages.vae import picture_loss
from sanawm_env.training.store import write_settings
from sanawm_env.world.checkpoints.local import load_checkpoint, resolve, save_checkpoint
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import TinyVAE
from sanawm_env.world.sampler import denoise


@dataclass(frozen=True)
class DecoderTrainConfig(HostSettings):
    """`sanawm train decoder`."""

    init: str = "small"
    """Checkpoint (name or folder) whose decoder is trained. In an anchored world it learns to use the anchor here."""
    out: Path = Path("runs/decoder")
    """Run folder; `checkpoint/` in it is the world with the trained decoder (EMA weights)."""
    minutes: float = 15.0
    """Wall-clock budget."""
    batch: int = 16
    """Latents per step, four frames each."""
    clips: int = 4
    """Rollouts made at a time."""
    clip_latents: int = 24
    """Latent frames of a rollout; a multiple of the chunk."""
    idle: float = 0.15
    """Share of rollouts that stand still."""
    reuse: float = 3.0
    """How often a latent is drawn, on average."""
    pool: int = 3072
    """Latents kept."""
    lr_muon: float = 0.01
    lr_adam: float = 2e-3
    decay_share: float = 0.7
    """Share of the budget over which the learning rate falls."""
    ema: float = 0.995
    first_seed: int = STAGE_SEEDS["decoder"].start
    """Scene seeds count up from here, see `scenes.seeds`."""
    posed: PosedConfig = field(default_factory=PosedConfig)
    """Clips of your own among the scenes, at least `1 + 4 * clip_latents` frames long."""


def train_decoder(config: DecoderTrainConfig) -> Path:
    """Train the decoder of a checkpoint.

    Returns:
        The run folder.

    Raises:
        ValueError: A checkpoint with another kind of VAE, or one whose decoder is linear.
    """
    rank, ranks = join()
    config.prepare(rank)
    settings, weights, coded, _ = load_checkpoint(resolve(config.init))
    vae = vae_of(settings, coded, config.device)
    if vae.refine is None:
        raise ValueError(f"the decoder of {config.init!r} is linear (vae.width 0) and has nothing to train.")
    frames = 1 + config.clip_latents * vae.temporal_stride
    posed = config.posed.open(settings.height, settings.width, frames, seed=config.seed + SEED_SPACING * rank)
    if settings.model.anchor and not vae.config.anchor:
        vae = with_anchor(vae).to(config.device)
        settings = settings.replace(vae=dict(settings.vae) | {"anchor": True})
    assert vae.refine is not None
    refine = vae.refine
    model = SanaWMTransformer(settings.model)
    model.load_state_dict(weights)
    world = WorldModel(settings, model.to(config.device).eval(), vae, "training", batched=True)
    config.out.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        write_settings(config.out, config, processes=ranks)
    pool = _Pool(config, world, SceneSeeds(config.first_seed, rank, ranks), posed)
    optimizer, ema, minutes_now = MuonAdamW(refine, config.lr_muon, config.lr_adam), EMA(refine, config.ema), clock()
    progress: dict[str, Any] = {"step": 0, "clips": 0, "minutes": 0.0}

    def step(minutes: float) -> tuple[dict[str, float], float]:
        latents, before, views, target = pool.draw()
        with torch.autocast(config.device.split(":")[0], torch.bfloat16):
            out = vae.decode_blocks(latents, before, views if vae.config.anchor else None).float()
        loss = picture_loss(out, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        error = (out.detach().clamp(-1, 1) - target).square().flatten(1).mean(1)
        value, after = average(refine, loss.item(), minutes_now())
        norm = clip_gradients(refine.parameters(), 1.0)
        if not math.isfinite(value) or not math.isfinite(norm):
            return {"loss": 0.0}, after  # skip the update, keep the run
        optimizer.scale_lr(learning_rate(progress["step"], 30, minutes, config.minutes, config.decay_share))
        optimizer.step()
        ema.update(refine, progress["step"])
        return {"loss": value, "psnr": float((10 * torch.log10(4 / error)).mean())}, after

    def save(minutes: float) -> None:
        live = {name: value.clone() for name, value in refine.state_dict().items()}
        refine.load_state_dict(ema.values)
        save_checkpoint(config.out / "checkpoint", settings, weights, vae.state_dict())
        refine.load_state_dict(live)

    train_for(
        config.minutes, step, save, out=config.out, progress=progress, clips_per_step=config.batch, save_every=5.0
    )
    leave()
    return config.out


def with_anchor(vae: TinyVAE) -> TinyVAE:
    """The same VAE with a decoder that takes an anchor, and decodes as before until it is trained.

    Raises:
        ValueError: It takes one already.
    """
    if vae.config.anchor:
        raise ValueError("this VAE's decoder takes an anchor already.")
    new = TinyVAE(replace(vae.config, anchor=True)).eval()
    state, old = new.state_dict(), vae.state_dict()
    for name, value in old.items():
        if value.shape == state[name].shape:
            state[name] = value
        else:  # the layer that the anchor comes in by: its channels are the last ones
            wider = torch.zeros_like(state[name], device=value.device)
            wider[:, : value.shape[1]] = value
            state[name] = wider
    new.load_state_dict(state)
    return new


class _Pool:
    """Latents of rollouts, what came before them, what the anchor shows there, and the true frames."""

    def __init__(
        self, config: DecoderTrainConfig, world: WorldModel, scenes: SceneSeeds, posed: PosedClips | None = None
    ) -> None:
        self.config, self.world, self.scenes, self.posed = config, world, scenes, posed
        self.kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.made = self.drawn = 0

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents and their predecessors `(B, C, 1, h, w)`, views and frames of each."""
        config = self.config
        while self.made * config.reuse < self.drawn + 16 * config.batch:
            self._roll_out()
        self.drawn += config.batch
        pick = torch.randint(len(self.kept), (config.batch,)).tolist()
        latents, before, views, target = (
            torch.stack(parts) for parts in zip(*(self.kept[i] for i in pick), strict=True)
        )
        return latents.float(), before.float(), views.float(), target.float() / 127.5 - 1

    @torch.inference_mode()
    def _roll_out(self) -> None:
        """One rollout of each of the next scenes."""
        config, world = self.config, self.world
        stride, chunk = world.vae.temporal_stride, world.config.chunk_frames * world.vae.temporal_stride
        frames = config.clip_latents * stride
        seeds = self.scenes.take(config.clips)
        out: Pick | Clips
        if self.posed is not None and self.posed.turn():
            out = self.posed.take(config.clips, config.device)
        else:
            out = make_clips(
                seeds, 1 + frames, world.config.height, world.config.width, device=config.device,
                compile=config.compile_renderer,
            )  # fmt: skip
        rgb, c2w = out.rgb, torch.linalg.solve(out.c2w[:, :1].double(), out.c2w.double())
        idle = torch.rand(config.clips) < config.idle
        rgb = torch.where(idle[:, None, None, None, None].to(rgb.device), rgb[:, :1], rgb)
        c2w = torch.where(idle[:, None, None, None].to(c2w.device), c2w[:, :1], c2w)
        state, _ = world.start(rgb[:, 0].cpu().numpy(), out.intrinsics.cpu().numpy(), seeds)
        for first in range(1, 1 + frames, chunk):
            done = denoise(world.networks, state, c2w[:, first : first + chunk], world.config.sigmas)
            latents = done.latents.half()
            before = torch.cat((state.vae_tails["latent"].unsqueeze(2).half(), latents[:, :, :-1]), 2)
            target = rgb[:, first : first + chunk].permute(0, 4, 1, 2, 3)
            views = done.views if done.views is not None else torch.zeros(config.clips, 4, chunk, 1, 1)
            for i in range(config.clips):
                for j in range(latents.shape[2]):
                    part, at = slice(j * stride, (j + 1) * stride), slice(j, j + 1)
                    self.kept.append(
                        (latents[i, :, at], before[i, :, at], views[i, :, part].half(), target[i, :, part].clone())
                    )
            tails = {"latent": done.latents[:, :, -1].to(world.dtype), "started": torch.ones_like(idle)}
            state = replace(done.state, vae_tails=tails)
        self.made += config.clips * config.clip_latents
        self.kept = self.kept[-config.pool :]
