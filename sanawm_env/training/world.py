"""Training of the world model."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tqdm import tqdm

from ..config import WorldConfig
from ..model.checkpoint import audit, load_checkpoint, resolve
from ..model.config import SanaWMConfig
from ..model.transformer import SanaWMTransformer
from ..model.vae import TinyVAE, TinyVAEConfig, build_vae
from .data import Batch, DataConfig, LatentPool
from .flow import NoiseConfig, draw_chunks, draw_levels, flow_loss, own_context
from .host import keep_freed_memory
from .optim import EMA, MuonAdamW, clip_gradients
from .sheets import write_sheet
from .store import initialise, load_state, save_state

TINY = SanaWMConfig(
    depth=6,
    hidden_size=240,
    head_dim=48,
    in_channels=32,
    patch_size=(2, 2),
    mlp_ratio=2.0,
    caption_channels=0,
    text_length=0,
    temporal_stride=4,
    softmax_every_n=2,
    pos_embed_tokens=0,
    release_buffers=False,
    chunk_frames=3,
    first_chunk="alone",
    window_frames=6,
    softmax_scale="head",
    camera_softmax_scale="head",
    camera_conv_tail=True,
    truncate_timesteps=False,
    chunk_causal_softmax="window",
)
"""The built-in world's transformer."""


@dataclass(frozen=True)
class WorldTrainConfig:
    """`sanawm train world`."""

    out: Path = Path("runs/world")
    """Run folder: training state, exported checkpoint (EMA weights), sample sheets, log."""
    vae: Path = Path("runs/vae")
    """Folder of a trained VAE (`vae.json`, `vae.safetensors`)."""
    init: str = ""
    """Checkpoint (name or folder) whose weights and VAE a new run starts from, for instance `tiny`."""
    minutes: float = 60.0
    """Wall-clock budget of this call; the learning rate falls to zero over its last part."""
    decay_share: float = 0.25
    """Share of the budget over which the learning rate falls."""
    warmup: int = 150
    """Steps of linear warm-up (first start only)."""
    batch: int = 16
    """Clips per step."""
    latents: int = 7
    """Latent frames per clip, the first image included."""
    max_chunk: int = 3
    """Longest chunk in latent frames; every step draws 1 to this."""
    lr_muon: float = 0.02
    """Learning rate of matrices."""
    lr_adam: float = 2e-3
    """Learning rate of everything else."""
    clip: float = 1.0
    """Global gradient-norm limit."""
    ema: float = 0.998
    """Decay of the weight average."""
    preconditioned: bool = True
    """See `sampler.velocity`."""
    bf16: bool = True
    """Autocast matrix products to bfloat16."""
    seed: int = 0
    """Of weights, noise and crops."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    compile_renderer: bool = True
    """Fuse the ray caster with torch.compile."""
    sigmas: tuple[float, ...] = (1.0, 0.9, 0.0)
    """Sampler schedule of sheets and of the exported checkpoint."""
    name: str = "tiny"
    """Name of the exported checkpoint."""
    save_every: float = 10.0
    """Minutes between saves and sample sheets."""
    model: SanaWMConfig = field(default_factory=lambda: TINY)
    """The transformer."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training clips."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise levels."""


def load_vae(folder: Path, device: str) -> TinyVAE:
    """The VAE that `sanawm train vae` left in `folder`.

    Raises:
        FileNotFoundError: No VAE there yet.
    """
    if not (folder / "vae.json").exists():
        raise FileNotFoundError(f"No VAE in {folder}: run `sanawm train vae --out {folder}` first.")
    vae = TinyVAE(TinyVAEConfig(**json.loads((folder / "vae.json").read_text())))
    vae.load_state_dict(load_file(folder / "vae.safetensors"))
    return vae.to(device).eval()


def vae_of(config: WorldConfig, weights: dict[str, torch.Tensor], device: str) -> TinyVAE:
    """The VAE of a checkpoint.

    Raises:
        ValueError: It is not a `TinyVAE`, which is the only kind this trainer codes clips with.
    """
    vae = build_vae(config.vae)
    if not isinstance(vae, TinyVAE):
        raise ValueError(f"This trainer needs a checkpoint with a 'tiny' VAE, not {config.vae.get('kind')!r}.")
    vae.load_state_dict(weights)
    return vae.to(device).eval()


def train_world(config: WorldTrainConfig) -> Path:
    """Train, or go on training, a world model.

    Returns:
        The run folder; its `checkpoint/` is ready for `SanaWMEnv(checkpoint=...)`.
    """
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    start = load_checkpoint(resolve(config.init)) if config.init else None
    vae = load_vae(config.vae, config.device) if start is None else vae_of(start[0], start[2], config.device)
    cell = [vae.spatial_stride * side for side in config.model.patch_size]
    if config.data.height % cell[0] or config.data.width % cell[1]:
        raise ValueError(
            f"Frames of {config.data.height}x{config.data.width} px cannot be cut into tokens of "
            f"{cell[0]}x{cell[1]} px; change data.height and data.width to multiples of those."
        )
    if not 2 <= config.latents <= config.data.clip_latents + 1:
        raise ValueError(
            f"latents {config.latents} must lie in 2..{config.data.clip_latents + 1}, the rendered clip's length; "
            "raise data.clip_latents for longer crops."
        )
    model = SanaWMTransformer(config.model)
    initialise(model, config.seed)
    if start is not None:
        audit(model, start[1], f"checkpoint {config.init!r}")
        model.load_state_dict(start[1])
    model.to(config.device)
    optimizer, ema = MuonAdamW(model, config.lr_muon, config.lr_adam), EMA(model, config.ema)
    config.out.mkdir(parents=True, exist_ok=True)
    progress = load_state(config.out, model, optimizer, ema) or {
        "step": 0,
        "clips": 0,
        "minutes": 0.0,
        "next_seed": config.data.first_seed,
    }
    (config.out / "train.json").write_text(json.dumps(asdict(config), indent=1, default=str))
    pool = LatentPool(
        config.data,
        vae,
        config.model.patch_size,
        seed=config.seed + progress["step"],
        compile=config.compile_renderer,
    )
    pool.next_seed = progress["next_seed"]
    pool.fill(16 * config.batch)
    _Loop(config, vae, model, optimizer, ema, pool, progress).run()
    return config.out


class _Loop:
    """The state of one training call."""

    def __init__(
        self,
        config: WorldTrainConfig,
        vae: TinyVAE,
        model: SanaWMTransformer,
        optimizer: MuonAdamW,
        ema: EMA,
        pool: LatentPool,
        progress: dict[str, Any],
    ) -> None:
        self.config, self.vae, self.model = config, vae, model
        self.optimizer, self.ema, self.pool, self.progress = optimizer, ema, pool, progress
        self.generator = torch.Generator().manual_seed(config.seed + 7919 * (1 + progress["step"]))
        self.started = time.monotonic()
        self.minutes_before = progress["minutes"]

    def run(self) -> None:
        config, progress = self.config, self.progress
        bar = tqdm(
            total=round(config.minutes, 1),
            unit="min",
            bar_format="{l_bar}{bar}| {n:.1f}/{total} min [{remaining} left{postfix}]",
        )
        average, saved = None, 0.0
        first_step = progress["step"]
        log = (config.out / "log.jsonl").open("a")
        with bar, log:
            while (minutes := (time.monotonic() - self.started) / 60) < config.minutes:
                loss, norm = self.step(minutes)
                average = loss if average is None else 0.98 * average + 0.02 * loss
                progress["step"] += 1
                progress["clips"] += config.batch
                rate = (progress["step"] - first_step) * config.batch / max(1e-9, minutes * 60)
                bar.n = minutes
                bar.set_postfix_str(
                    f"step {progress['step']}, loss {average:.4f}, {rate:.1f} clips/s",
                    refresh=progress["step"] % 10 == 0,
                )
                if progress["step"] % 50 == 0:
                    row = {
                        "step": progress["step"],
                        "minutes": self.minutes_before + minutes,
                        "loss": average,
                        "norm": norm,
                        "clips_per_s": rate,
                    }
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                if minutes - saved >= config.save_every:
                    saved = minutes
                    self.save(minutes)
            self.save((time.monotonic() - self.started) / 60)

    def step(self, minutes: float) -> tuple[float, float]:
        """One optimizer step; returns loss and gradient norm."""
        config = self.config
        batch = self.pool.sample(config.batch, config.latents)
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_gradients(self.model.parameters(), config.clip)
        warm = min(1.0, (1 + self.progress["step"]) / config.warmup)
        left = (config.minutes - minutes) / max(1e-9, config.decay_share * config.minutes)
        self.optimizer.scale_lr(warm * max(0.02, min(1.0, left)))
        value = loss.item()
        if not math.isfinite(value) or not math.isfinite(norm):
            return (value if math.isfinite(value) else 0.0), norm  # skip the update, keep the run
        self.optimizer.step()
        self.ema.update(self.model, self.progress["step"])
        return value, norm

    def loss(self, batch: Batch) -> torch.Tensor:
        config = self.config
        chunks = draw_chunks(config.latents, config.max_chunk, self.generator)
        per_chunk = draw_levels(config.noise, config.batch, chunks[-1], self.generator)
        levels = torch.zeros(config.batch, config.latents)
        levels[:, 1:] = per_chunk[:, torch.tensor(chunks[1:]) - 1]
        noise = torch.randn(batch.latents.shape, generator=self.generator).to(batch.latents.device)
        dream = bool(torch.rand((), generator=self.generator) < config.noise.own_context)
        inputs = {"raymap": batch.raymap, "plucker": batch.plucker, "frames": batch.frames}
        x, how = batch.latents, config.preconditioned
        with torch.autocast(config.device.split(":")[0], torch.bfloat16, enabled=config.bf16):
            context = own_context(self.model, x, noise, chunks, preconditioned=how, **inputs) if dream else None
            fresh = torch.randn(noise.shape, generator=self.generator).to(x.device) if dream else noise
            return flow_loss(
                self.model, x, levels.to(x.device), fresh, chunks, preconditioned=how, context=context, **inputs
            )

    def save(self, minutes: float) -> None:
        self.progress["minutes"] = self.minutes_before + minutes
        self.progress["next_seed"] = self.pool.next_seed
        save_state(self.config.out, self.model, self.optimizer, self.ema, self.progress)
        write_sheet(self.config, self.vae, self.ema, self.progress["step"])
