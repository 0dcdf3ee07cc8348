"""Training of the world model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.clips.codec import load_depth, load_vae, vae_of
from sanawm_env.training.clips.data import Batch, DataConfig, LatentPool
from sanawm_env.training.clips.posed import PosedConfig
from sanawm_env.training.clips.walks import WalkConfig, Walks
from sanawm_env.training.host import HostSettings
from sanawm_env.training.loop import clock, learning_rate, train_for
from sanawm_env.training.losses.flow import NoiseConfig, draw_chunks, draw_levels, flow_loss, own_context
from sanawm_env.training.losses.streaming import StreamConfig, begin, segment_loss
from sanawm_env.training.optim import EMA, MuonAdamW, clip_gradients
from sanawm_env.training.parallel import SEED_SPACING, average, join, leave
from sanawm_env.training.sheets import write_sheet
from sanawm_env.training.stages.depth import DepthTrainConfig, teach_depth
from sanawm_env.training.stages.finer import finer_tokens
from sanawm_env.training.store import initialise, load_state, save_state, write_settings
from sanawm_env.world.checkpoints.local import audit, load_checkpoint, resolve
from sanawm_env.world.config import TINY_MODEL, WorldConfig
from sanawm_env.world.networks.anchor.views import check_anchor_vae
from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import TinyVAE


@dataclass(frozen=True)
class WorldTrainConfig(HostSettings):
    """`sanawm train world`."""

    out: Path = Path("runs/world")
    """Run folder: training state, exported checkpoint (EMA weights), sample sheets, log."""
    vae: Path = Path("runs/vae")
    """Folder of a trained VAE (`vae.json`, `vae.safetensors`)."""
    init: str = ""
    """Checkpoint (name or folder) whose weights and VAE a new run starts from, for instance `tiny`."""
    depth: Path = Path("runs/depth")
    """Folder of a trained depth network (`depth.safetensors`), for `model.anchor` where `init` has no anchor yet."""
    depth_share: float = 0.0
    """Share of `minutes` in which the anchor's depth network learns first, from the depth of `data`'s clips and of
    scenes: no transformer makes up for an image that is warped by a wrong depth. With 1 the transformer stays as it is,
    unless the clips have no depth."""
    depth_lr: float = 0.005
    """Learning rate of its matrices meanwhile; that of everything else is a tenth."""
    finer: bool = False
    """`init` has larger patches or another VAE than this run: rewrite its embedder and head (`training.finer`), and
    take the VAE from `vae`."""
    method: Literal["clips", "walks"] = "clips"
    """`clips`: diffusion forcing on short clips, all chunks in one call (`training.flow`). `walks`: chunk by chunk
    along minute-long walks, from the memory of what the model made itself (`training.streaming`)."""
    clip_share: float = 0.0
    """With `walks`: share of steps that train on clips instead, twice `batch` of them. Walks alone are mostly late in a
    rollout, and a network that sees little else forgets how sharp the first second can be."""
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
    sigmas: tuple[float, ...] = (1.0, 0.9, 0.0)
    """Sampler schedule of sheets and of the exported checkpoint."""
    name: str = "tiny"
    """Name of the exported checkpoint."""
    save_every: float = 10.0
    """Minutes between saves and sample sheets."""
    model: SanaWMConfig = field(default_factory=lambda: TINY_MODEL)
    """The transformer."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training clips."""
    posed: PosedConfig = field(default_factory=PosedConfig)
    """Clips of your own among them, at least `1 + 4 * data.clip_latents` frames long."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise levels."""
    walks: WalkConfig = field(default_factory=WalkConfig)
    """Walks of `--method walks`."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    """Memory of `--method walks`."""

    def __post_init__(self) -> None:
        if not 0 <= self.depth_share <= 1:
            raise ValueError(f"depth_share must lie in [0, 1]; got {self.depth_share}.")
        if self.depth_share and not self.model.anchor:
            raise ValueError("depth_share teaches the depth network of an anchor; set model.anchor, or leave it at 0.")
        if self.model.reflections:
            raise ValueError(
                "reflections are not trained on: leave model.reflections at 0, and set it in the config.json."
            )


def train_world(config: WorldTrainConfig) -> Path:
    """Train, or go on training, a world model.

    Returns:
        The run folder; its `checkpoint/` is ready for `SanaWMEnv(checkpoint=...)`.
    """
    config.prepare()
    rank, ranks = join()
    start = load_checkpoint(resolve(config.init)) if config.init else None
    if start is None or config.finer:
        vae = load_vae(config.vae, config.device)
    else:
        vae = vae_of(start[0], start[2], config.device)
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
    frames = 1 + config.data.clip_latents * vae.temporal_stride
    posed = config.posed.open(config.data.height, config.data.width, frames, seed=config.seed + SEED_SPACING * rank)
    model = SanaWMTransformer(config.model)
    initialise(model, config.seed)
    if start is not None:
        weights = start[1]
        if config.finer:
            old_vae = vae_of(start[0], start[2], config.device)
            weights = finer_tokens(weights, start[0].model, config.model, old_vae, vae)
        if config.model.anchor and not start[0].model.anchor:
            # A fresh anchor changes nothing until it is trained.
            weights = weights | {k: v for k, v in model.state_dict().items() if k.startswith("anchor.")}
        audit(model, weights, f"checkpoint {config.init!r}")
        model.load_state_dict(weights)
    if config.model.anchor:
        check_anchor_vae(vae)
        if start is None or not start[0].model.anchor:
            model.anchor.depth.load_state_dict(load_depth(config.depth))
    model.to(config.device)
    optimizer, ema = MuonAdamW(model, config.lr_muon, config.lr_adam), EMA(model, config.ema)
    config.out.mkdir(parents=True, exist_ok=True)
    restored = load_state(config.out, model, optimizer, ema)
    progress = restored or {
        "step": 0,
        "clips": 0,
        "minutes": 0.0,
        "next_seed": config.data.first_seed,
    }
    if rank == 0:
        write_settings(config.out, config, processes=ranks)
    pool = LatentPool(
        config.data,
        vae,
        config.model.patch_size,
        seed=config.seed + progress["step"] + SEED_SPACING * rank,
        compile=config.compile_renderer,
        depth=model.anchor.depth if config.model.anchor else None,
        scenes=SceneSeeds(progress["next_seed"], rank, ranks),
        posed=posed,
    )
    if config.depth_share and restored is None:
        config = replace(config, minutes=config.minutes - teach_depth(model.anchor.depth, _depth_config(config)))
        ema = EMA(model, config.ema)
    if config.method == "walks":
        pool.fill(128)
    elif config.minutes > 0:
        pool.fill(16 * config.batch)
    run = _Run(config, model, optimizer, ema, pool, progress, rank)

    def save(minutes: float) -> None:
        progress["minutes"], progress["next_seed"] = run.minutes_before + minutes, pool.scenes.next_seed
        save_state(config.out, model, optimizer, ema, progress)
        write_sheet(config.out, world_config(config, vae), vae, ema, progress["step"], config.device)

    train_for(
        config.minutes,
        run.step,
        save,
        out=config.out,
        progress=progress,
        clips_per_step=config.batch,
        save_every=config.save_every,
    )
    leave()
    return config.out


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


def _depth_config(config: WorldTrainConfig) -> DepthTrainConfig:
    """How the anchor's depth network is taught ahead of a run."""
    return DepthTrainConfig(
        seed=config.seed, device=config.device, compile_renderer=config.compile_renderer, out=config.out / "depth",
        minutes=config.minutes * config.depth_share, decay_share=0.8, lr_muon=config.depth_lr,
        lr_adam=config.depth_lr / 10, height=config.data.height, width=config.data.width, posed=config.posed,
    )  # fmt: skip


class _Run:
    """The state of one training call."""

    def __init__(
        self,
        config: WorldTrainConfig,
        model: SanaWMTransformer,
        optimizer: MuonAdamW,
        ema: EMA,
        pool: LatentPool,
        progress: dict[str, Any],
        rank: int,
    ) -> None:
        self.config, self.model, self.optimizer = config, model, optimizer
        self.ema, self.pool, self.progress = ema, pool, progress
        self.generator = torch.Generator().manual_seed(config.seed + 7919 * (1 + progress["step"]) + rank)
        self.minutes_before, self.minutes_now = progress["minutes"], clock()
        self.walks: Walks | None = None
        if config.method == "walks":
            seed = config.seed + progress["step"] + SEED_SPACING * rank
            self.walks = Walks(config.walks, pool, config.batch, seed=seed)
            self.own = torch.zeros(config.batch, dtype=torch.bool)
            self.memory: ModelCache | None = None

    def step(self, minutes: float) -> tuple[dict[str, float], float]:
        """One optimizer step; see `loop.Step`."""
        config = self.config
        # The same in every process: these two kinds of steps take different time, and the others would wait.
        dice = torch.rand((), generator=torch.Generator().manual_seed(config.seed + 31 * self.progress["step"]))
        if self.walks is None:
            loss = self.loss(self.pool.sample(config.batch, config.latents))
        elif float(dice) < config.clip_share:
            loss = self.loss(self.pool.sample(2 * config.batch, config.latents))
        else:
            loss = self.walk(self.walks)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value, after = average(self.model, loss.item(), self.minutes_now())
        norm = clip_gradients(self.model.parameters(), config.clip)
        step = self.progress["step"]
        self.optimizer.scale_lr(learning_rate(step, config.warmup, minutes, config.minutes, config.decay_share))
        if not math.isfinite(value) or not math.isfinite(norm):
            return {"loss": value if math.isfinite(value) else 0.0}, after  # skip the update, keep the run
        self.optimizer.step()
        self.ema.update(self.model, step)
        return {"loss": value, "norm": norm}, after

    def loss(self, batch: Batch) -> torch.Tensor:
        config = self.config
        chunks = draw_chunks(config.latents, config.max_chunk, self.generator)
        count = len(batch.latents)
        per_chunk = draw_levels(config.noise, count, chunks[-1], self.generator)
        levels = torch.zeros(count, config.latents)
        levels[:, 1:] = per_chunk[:, torch.tensor(chunks[1:]) - 1]
        noise = torch.randn(batch.latents.shape, generator=self.generator).to(batch.latents.device)
        own = bool(torch.rand((), generator=self.generator) < config.noise.own_context)
        inputs = batch.inputs()
        x, how = batch.latents, config.preconditioned
        with torch.autocast(config.device.split(":")[0], torch.bfloat16, enabled=config.bf16):
            context = own_context(self.model, x, noise, chunks, preconditioned=how, **inputs) if own else None
            fresh = torch.randn(noise.shape, generator=self.generator).to(x.device) if own else noise
            return flow_loss(
                self.model, x, levels.to(x.device), fresh, chunks, preconditioned=how, context=context, **inputs
            )

    def walk(self, walks: Walks) -> torch.Tensor:
        """Loss of the next segment of every walk."""
        config = self.config
        segment = walks.next()
        chance = torch.rand(config.batch, generator=self.generator) < config.stream.own
        self.own = torch.where(segment.fresh, chance, self.own)
        # The same in every process: a segment of single frames takes much longer, and the others would wait.
        dice = torch.Generator().manual_seed(config.seed + self.progress["step"])
        single = bool(torch.rand((), generator=dice) < config.stream.one_by_one)
        with torch.autocast(config.device.split(":")[0], torch.bfloat16, enabled=config.bf16):
            memory = begin(self.model, segment, self.memory)
            loss, memory, _ = segment_loss(
                self.model,
                segment,
                memory,
                self.own,
                1 if single else config.max_chunk,
                config.stream,
                config.noise,
                self.generator,
                preconditioned=config.preconditioned,
            )
        self.memory = memory.map(lambda value: value.detach())
        return loss
