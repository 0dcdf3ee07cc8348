"""Fine-tuning a released world: low-rank updates (LoRA) of its transformer on clips of your own, one GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sanawm_env.training.clips.release_latents import ReleaseClips, posed, procedural, store_clips
from sanawm_env.training.host import HostSettings
from sanawm_env.training.loop import clock, learning_rate, train_for
from sanawm_env.training.losses.flow import flow_loss
from sanawm_env.training.losses.release import ReleaseNoise, chunk_indices, frame_levels
from sanawm_env.training.optim import clip_gradients
from sanawm_env.training.stages.lora_memory import memory_plan
from sanawm_env.training.store import load_progress, save_with_progress, write_settings
from sanawm_env.world.accel.device import as_device, as_dtype, look_at
from sanawm_env.world.checkpoints.adapters import LoraSettings, add_lora, save_adapter
from sanawm_env.world.checkpoints.local import Modules, load_modules, located, resolve
from sanawm_env.world.checkpoints.prompts import Prompts, Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["LoraTrainConfig", "train_lora"]


@dataclass(frozen=True)
class LoraTrainConfig(HostSettings):
    """`sanawm train lora`."""

    out: Path = Path("runs/lora")
    """Run folder: coded clips, training state, log, and `adapter/`, which `WorldModel.load(adapter=...)` takes."""
    base: str = "Efficient-Large-Model/SANA-WM_streaming"
    """The release to fine-tune: folder, or repository of the Hub."""
    name: str = "lora"
    """Name of the adapter; states and recipes tell it."""
    data: Path | None = None
    """Dataset of posed clips; None renders procedural scenes."""
    clips: int = 256
    """Clips, coded once before training."""
    latents: int = 13
    """Latent frames per clip, frame 0 included: 1 + 8 * (latents - 1) pixel frames."""
    prompt: str = ""
    """What the clips show, in the words of a caption."""
    text_encoder: str = ""
    """Folder of the text encoder; empty looks beside the release, then on the Hub."""
    layout: Literal["streaming", "chunk_causal"] = "streaming"
    """What later chunks see of earlier ones in softmax blocks: the streaming release's window, or all of them."""
    sampler_levels: bool | None = None
    """Train at the noise levels of the sampler alone; None does so for releases with at most 8 steps, which were
    distilled to them."""
    minutes: float = 60.0
    """Wall-clock budget of this call; the learning rate falls to zero over its last part."""
    decay_share: float = 0.2
    """Share of the budget over which the learning rate falls."""
    warmup: int = 50
    """Steps of linear warm-up (first start only)."""
    batch: int = 1
    """Clips per step."""
    lr: float = 1e-4
    """Learning rate of AdamW, which has betas 0.9 and 0.999 and no weight decay."""
    clip: float = 0.5
    """Global gradient-norm limit."""
    recompute: bool = True
    """Gradient checkpointing: blocks are computed twice, and a step needs a fraction of the memory."""
    dtype: str = "bfloat16"
    """Of the frozen weights; products are bfloat16 where they are."""
    save_every: float = 10.0
    """Minutes between saves."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """The updates."""
    noise: ReleaseNoise = field(default_factory=ReleaseNoise)
    """Noise levels."""

    def __post_init__(self) -> None:
        if self.clips < 1 or self.batch < 1:
            raise ValueError(f"clips and batch must be at least 1; got {self.clips} and {self.batch}.")


def train_lora(config: LoraTrainConfig) -> Path:
    """Fine-tune, or go on fine-tuning, a release.

    Returns:
        The run folder; its `adapter/` is ready for `WorldModel.load(base, adapter=...)`.

    Raises:
        ValueError: A base that is no release, clips of other settings in the run folder, or another run's state.
        MemoryError: The plan does not fit on the device.
        FileNotFoundError, ImportError: See `WorldModel.load`, `Prompts` and `adapters`.
    """
    config.prepare()
    device = as_device(config.device)
    loaded = load_modules(resolve(config.base), device, as_dtype(config.dtype))
    model = loaded.config.model
    if model.first_chunk != "plus_one":
        raise ValueError(
            f"{loaded.config.name} is no release; train built-in worlds whole: sanawm train world --init NAME."
        )
    chunks = chunk_indices(config.latents, model.chunk_frames)
    world = WorldModel(loaded.config, loaded.transformer, loaded.vae, loaded.checkpoint)
    world.source = located(config.base)
    check_memory(config, world, device)
    config.out.mkdir(parents=True, exist_ok=True)
    write_settings(config.out, config, base_hash=loaded.checkpoint)
    texts = read_texts(config, world)
    code_clips(config, world)
    data = ReleaseClips(
        config.out / "clips",
        (world.config.height, world.config.width),
        world.token_grid,
        world.vae.temporal_stride,
        seed=config.seed,
    )
    world.vae = None  # its memory is the training's from here on
    run = _Run(config, loaded._replace(vae=nn.Module()), data, texts, chunks)

    def save(minutes: float) -> None:
        run.progress["minutes"] = run.minutes_before + minutes
        run.save()

    train_for(
        config.minutes,
        run.step,
        save,
        out=config.out,
        progress=run.progress,
        clips_per_step=config.batch,
        save_every=config.save_every,
    )
    return config.out


def check_memory(config: LoraTrainConfig, world: WorldModel, device: torch.device) -> None:
    """Print the memory plan.

    Raises:
        MemoryError: It does not fit.
    """
    text = world.config.model.text_length
    plan = memory_plan(world.config.model, config.lora, world.latent_size, config.latents, config.batch, text)
    memory = look_at(str(device)).memory
    label = f"{device}" if memory is None else f"{device}, {memory / 1e9:.0f} GB"
    print(f"memory of a training step on {label}:\n{plan}", flush=True)
    if device.type == "cuda" and memory is not None and plan.total > 0.9 * memory:
        raise MemoryError(
            f"training needs about {plan.total / 1e9:.0f} GB, {device} has {memory / 1e9:.0f}; use fewer --latents or "
            "a smaller --batch."
        )


def read_texts(config: LoraTrainConfig, world: WorldModel) -> tuple[Text, Text] | None:
    """Embeddings of the prompt and of the empty prompt; None for a world without text."""
    prompts = Prompts(world, config.text_encoder or None)
    prompt, empty = prompts.read(config.prompt), prompts.read("")
    return None if prompt is None or empty is None else (prompt, empty)


def code_clips(config: LoraTrainConfig, world: WorldModel) -> None:
    """Fill the run folder's clips."""
    height, width = world.config.height, world.config.width
    frames = 1 + (config.latents - 1) * world.vae.temporal_stride
    about = {
        "base": world.checkpoint,
        "data": None if config.data is None else str(config.data),
        "frames": frames,
        "size": [height, width],
        "seed": config.seed,
    }
    if config.data is not None:
        source = posed(config.data, frames, height, width, config.seed)
    else:
        source = procedural(frames, height, width, config.seed, config.device, config.compile_renderer)
    store_clips(config.out / "clips", config.clips, source, world.vae, about, world.dtype)


class _Run:
    """The state of one training call."""

    def __init__(
        self, config: LoraTrainConfig, loaded: Modules, data: ReleaseClips, texts: Any, chunks: list[int]
    ) -> None:
        self.config, self.loaded, self.data, self.texts, self.chunks = config, loaded, data, texts, chunks
        self.model: SanaWMTransformer = loaded.transformer
        rule: Any = {"streaming": "window", "chunk_causal": "full"}[config.layout]
        self.model.config = self.model.config.replace(chunk_causal_softmax=rule)
        self.model.recompute = config.recompute
        torch.manual_seed(config.seed)  # of the first factors
        self.trained = add_lora(self.model, config.lora)
        self.optimizer = torch.optim.AdamW(self.trained, config.lr, betas=(0.9, 0.999), weight_decay=0.0)
        few = len(loaded.config.sigmas) <= 9
        only = few if config.sampler_levels is None else config.sampler_levels
        self.sigmas = loaded.config.sigmas if only else None
        self.progress: dict[str, Any] = {"step": 0, "clips": 0, "minutes": 0.0}
        self.load()
        self.generator = torch.Generator().manual_seed(config.seed + 7919 * (1 + self.progress["step"]))
        self.minutes_before, self.minutes_now = self.progress["minutes"], clock()

    def step(self, minutes: float) -> tuple[dict[str, float], float]:
        """One optimizer step; see `loop.Step`."""
        config = self.config
        factor = learning_rate(self.progress["step"], config.warmup, minutes, config.minutes, config.decay_share)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor
        loss = self.loss()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm, value = clip_gradients(self.trained, config.clip), loss.item()
        if math.isfinite(value) and math.isfinite(norm):  # else skip the update, keep the run
            self.optimizer.step()
        return {"loss": value if math.isfinite(value) else 0.0, "norm": norm}, self.minutes_now()

    def loss(self) -> Tensor:
        """Flow-matching loss of the next clips."""
        config, device = self.config, self.config.device
        latents, given = self.data.sample(config.batch, device)
        levels = frame_levels(config.noise, self.chunks, config.batch, self.generator, self.sigmas).to(device)
        noise = torch.randn(latents.shape, generator=self.generator).to(device)
        if self.texts is not None:
            drop = (torch.rand(config.batch, generator=self.generator) < config.noise.caption_dropout).tolist()
            chosen = [self.texts[empty] for empty in drop]
            given["text"] = torch.cat([text for text, _ in chosen]).to(device)
            given["text_mask"] = torch.cat([mask for _, mask in chosen]).to(device)
        half = self.model.dtype == torch.bfloat16
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            return flow_loss(
                self.model, latents, levels, noise, self.chunks, preconditioned=self.loaded.config.preconditioned,
                **given,
            )  # fmt: skip

    def save(self) -> None:
        """The adapter, and what the optimizer remembers."""
        config, base = self.config, str(located(self.config.base))
        save_adapter(config.out / "adapter", self.model, name=config.name, base=base, base_hash=self.loaded.checkpoint)
        tensors = {}
        for name, value in self._named():
            tensors[f"model.{name}"] = value.detach()
            for key, kept in self.optimizer.state[value].items():
                tensors[f"{key}.{name}"] = kept
        save_with_progress(config.out / "state.safetensors", tensors, self.progress)

    def load(self) -> None:
        """Go on where `save` was called last.

        Raises:
            ValueError: The run has updates of other layers or another rank.
        """
        path = self.config.out / "state.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)
        for name, value in self._named():
            found = tensors.get(f"model.{name}")
            if found is None or found.shape != value.shape:
                raise ValueError(f"{path} holds another adapter; choose another --out.")
            value.data.copy_(found)
            kept = {key: tensors.get(f"{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if all(part is not None for part in kept.values()):
                self.optimizer.state[value] = {
                    key: part if key == "step" else part.to(value.device)  # type: ignore[union-attr]
                    for key, part in kept.items()
                }
        self.progress = load_progress(path)

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
