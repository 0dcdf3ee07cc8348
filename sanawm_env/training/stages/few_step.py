"""`sanawm train distill`: from a many-step teacher to a few-step student."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file

from sanawm_env.files import save_tensors
from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.clips.codec import vae_of
from sanawm_env.training.clips.data import DataConfig, LatentPool
from sanawm_env.training.clips.walks import Segment, WalkConfig, Walks
from sanawm_env.training.host import HostSettings
from sanawm_env.training.loop import clock, learning_rate, train_for
from sanawm_env.training.losses.streaming import begin
from sanawm_env.training.optim import EMA, MuonAdamW, clip_gradients
from sanawm_env.training.parallel import SEED_SPACING, average, join, leave
from sanawm_env.training.sheets import write_sheet
from sanawm_env.training.stages.distill import DistributionMatching, Net, ode_loss
from sanawm_env.training.store import load_state, save_state, write_settings
from sanawm_env.world.checkpoints.local import audit, load_checkpoint, resolve
from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.schedules import RELEASE_SIGMAS, check_sigmas


@dataclass(frozen=True)
class DistillConfig(HostSettings):
    """`sanawm train distill`."""

    method: Literal["ode", "dmd"] = "ode"
    """`ode`: regress the ends of the teacher's trajectories. `dmd`: distribution matching on own rollouts."""
    teacher: str = "tiny"
    """Checkpoint (name or folder) of the many-step model; its VAE is used as well."""
    init: str = ""
    """Checkpoint that the student starts from; the teacher if not given."""
    out: Path = Path("runs/distill")
    """Run folder: training state, exported checkpoint (EMA weights), sample sheets, log."""
    sigmas: tuple[float, ...] = RELEASE_SIGMAS
    """The student's noise levels; `1 0` makes a one-step model, `1 0.889 0` a two-step one."""
    teacher_steps: int = 16
    """Model calls of the teacher per chunk (`ode`)."""
    critic_steps: int = 3
    """The student learns in one of so many steps, the critic in all (`dmd`)."""
    shift: float = 9.95
    """Timestep shift of the levels at which teacher and critic are compared (`dmd`)."""
    truth: float = 0.25
    """Weight of the squared error to the true frames (`dmd`)."""
    minutes: float = 15.0
    """Wall-clock budget of this call; the learning rate falls to zero over its last part."""
    decay_share: float = 0.3
    """Share of the budget over which the learning rate falls."""
    warmup: int = 20
    """Steps of linear warm-up (first start only)."""
    batch: int = 8
    """Walks side by side, per process."""
    lr_muon: float = 0.002
    """The student's learning rate of matrices; the critic's is twice that."""
    lr_adam: float = 2e-4
    """Learning rate of everything else."""
    clip: float = 1.0
    """Global gradient-norm limit."""
    ema: float = 0.99
    """Decay of the weight average."""
    bf16: bool = True
    """Autocast matrix products to bfloat16."""
    name: str = "tiny"
    """Name of the exported checkpoint."""
    save_every: float = 10.0
    """Minutes between saves and sample sheets."""
    data: DataConfig = field(default_factory=lambda: DataConfig(clip_latents=64, pool=768, reuse=4))
    """Training clips."""
    walks: WalkConfig = field(default_factory=WalkConfig)
    """Walks through them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", check_sigmas(self.sigmas))
        if self.critic_steps < 1 or self.teacher_steps < 1:
            raise ValueError("critic_steps and teacher_steps must be at least 1.")


def train_distill(config: DistillConfig) -> Path:
    """Distil, or go on distilling, a world.

    Returns:
        The run folder; its `checkpoint/` is ready for `SanaWMEnv(checkpoint=...)`.
    """
    config.prepare()
    rank, ranks = join()
    world, weights, vae_weights, _ = load_checkpoint(resolve(config.teacher))
    vae = vae_of(world, vae_weights, config.device)
    teacher = _model(world.model, weights, config.device, config.teacher).requires_grad_(False)
    started = load_checkpoint(resolve(config.init)) if config.init else None
    if started is not None and started[0].preconditioned != world.preconditioned:
        raise ValueError(f"{config.init!r} and {config.teacher!r} read their networks differently (preconditioned).")
    student = _model(world.model, weights if started is None else started[1], config.device, config.init or "teacher")
    optimizer, ema = MuonAdamW(student, config.lr_muon, config.lr_adam), EMA(student, config.ema)
    config.out.mkdir(parents=True, exist_ok=True)
    progress = load_state(config.out, student, optimizer, ema) or {
        "step": 0, "clips": 0, "minutes": 0.0, "next_seed": config.data.first_seed,
    }  # fmt: skip
    if rank == 0:
        write_settings(config.out, config, processes=ranks)
    offset = SEED_SPACING * rank
    pool = LatentPool(
        config.data, vae, world.model.patch_size, seed=config.seed + progress["step"] + offset,
        compile=config.compile_renderer, depth=teacher.anchor.depth if world.model.anchor else None,
        scenes=SceneSeeds(progress["next_seed"], rank, ranks),
    )  # fmt: skip
    pool.fill(64)
    walks = Walks(config.walks, pool, config.batch, seed=config.seed + progress["step"] + offset)
    generator = torch.Generator().manual_seed(config.seed + 7919 * (1 + progress["step"]) + rank)
    nets = Net(student, world.preconditioned), Net(teacher, world.preconditioned)
    stage = (_Ode if config.method == "ode" else _Dmd)(config, world.chunk_frames, *nets, generator)
    before, minutes_now = progress["minutes"], clock()

    def step(minutes: float) -> tuple[dict[str, float], float]:
        factor = learning_rate(progress["step"], config.warmup, minutes, config.minutes, config.decay_share)
        optimizer.scale_lr(factor)
        values, learned = stage.backward(walks.next(), progress["step"], factor)
        *means, after = average(student, *values.values(), minutes_now())
        if learned:
            norm = clip_gradients(student.parameters(), config.clip)
            if math.isfinite(norm):
                optimizer.step()
                ema.update(student, progress["step"])
        optimizer.zero_grad(set_to_none=True)
        return dict(zip(values, means, strict=True)), after

    def save(minutes: float) -> None:
        progress["minutes"], progress["next_seed"] = before + minutes, pool.scenes.next_seed
        save_state(config.out, student, optimizer, ema, progress)
        stage.save(config.out)
        settings = world.replace(sigmas=config.sigmas, name=config.name)
        write_sheet(config.out, settings, vae, ema, progress["step"], config.device)

    train_for(
        config.minutes, step, save,
        out=config.out, progress=progress, clips_per_step=config.batch, save_every=config.save_every,
    )  # fmt: skip
    leave()
    return config.out


def _model(settings: Any, weights: dict[str, torch.Tensor], device: str, name: str) -> SanaWMTransformer:
    model = SanaWMTransformer(settings)
    audit(model, weights, f"checkpoint {name!r}")
    model.load_state_dict(weights)
    return model.to(device)


class _Ode:
    """Stage `ode`: memories of student and teacher, and one backward pass."""

    def __init__(
        self, config: DistillConfig, chunk: int, student: Net, teacher: Net, generator: torch.Generator
    ) -> None:
        self.config, self.chunk, self.generator = config, chunk, generator
        self.nets = (student, teacher)
        self.memories: tuple[ModelCache | None, ModelCache | None] = (None, None)

    def backward(self, segment: Segment, step: int, factor: float) -> tuple[dict[str, float], bool]:
        """Losses of a segment, their gradients added to the student's; always learns."""
        c = self.config
        with torch.autocast(c.device.split(":")[0], torch.bfloat16, enabled=c.bf16):
            student = begin(self.nets[0].model, segment, self.memories[0])
            with torch.no_grad():
                teacher = begin(self.nets[1].model, segment, self.memories[1])
            loss, after = ode_loss(
                *self.nets, segment, (student, teacher), self.chunk, c.sigmas, c.teacher_steps, self.generator
            )
        loss.backward()
        self.memories = (after[0].map(torch.Tensor.detach), after[1])
        return {"loss": loss.item()}, True

    def save(self, out: Path) -> None:
        """Nothing beside the student."""


class _Dmd:
    """Stage `dmd`: three memories, the critic and its optimizer."""

    def __init__(
        self, config: DistillConfig, chunk: int, student: Net, teacher: Net, generator: torch.Generator
    ) -> None:
        self.config, self.chunk = config, chunk
        self.critic = copy.deepcopy(teacher.model).requires_grad_(True)
        if (config.out / "critic.safetensors").exists():
            self.critic.load_state_dict(load_file(config.out / "critic.safetensors"))
        self.optimizer = MuonAdamW(self.critic, 2 * config.lr_muon, 2 * config.lr_adam)
        self.models = (student.model, teacher.model, self.critic)
        critic = Net(self.critic, teacher.preconditioned)
        self.match = DistributionMatching(
            student, teacher, critic, config.sigmas, generator, shift=config.shift, truth=config.truth
        )
        self.memories: tuple[ModelCache | None, ...] = (None, None, None)

    def backward(self, segment: Segment, step: int, factor: float) -> tuple[dict[str, float], bool]:
        """Update the critic; add the student's gradients when it is the student's turn."""
        c = self.config
        learn = step % c.critic_steps == c.critic_steps - 1
        with torch.autocast(c.device.split(":")[0], torch.bfloat16, enabled=c.bf16):
            with torch.no_grad():
                one, two, three = (begin(m, segment, old) for m, old in zip(self.models, self.memories, strict=True))
            match, self.memories = self.match(segment, (one, two, three), self.chunk, learn=learn)
        match.critic.backward()
        average(self.critic)
        clip_gradients(self.critic.parameters(), c.clip)
        self.optimizer.scale_lr(factor)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if match.student is not None:
            match.student.backward()
        return {"loss": match.critic.item(), "distance": match.distance}, learn

    def save(self, out: Path) -> None:
        """Keep the critic for the next call."""
        save_tensors(out / "critic.safetensors", self.critic.state_dict())
