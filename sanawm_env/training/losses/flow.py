"""Flow matching with diffusion forcing over chunks (docs/model.md, "Training").

Data x0, noise e, level s in [0, 1]: x = (1-s) x0 + s e, and the model predicts v = e - x0. Every chunk of a
clip has its own level; frame 0 is the given image and always clean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import velocity


@dataclass(frozen=True)
class NoiseConfig:
    """How noise levels are drawn."""

    shift: float = 9.95
    """Timestep shift: s = shift*u / (1 + (shift-1)*u) (release 9.95)."""
    logit_normal: bool = True
    """u = sigmoid(normal) as the release; else uniform."""
    pure_noise: float = 0.3
    """Share of draws set to s = 1 exactly: what a few-step sampler meets first, and where the camera has to
    be obeyed with no help from the noisy input."""
    same: float = 0.2
    """Share of clips with one level for all chunks."""
    incremental: float = 0.3
    """Share with levels that do not fall over the chunks."""
    clean_prefix: float = 0.5
    """Share with a clean prefix of random length and one level for the rest, which is what streaming sees."""
    own_context: float = 0.0
    """Share of steps in which clean context is replaced by the model's own guess (`flow.own_context`)."""

    def __post_init__(self) -> None:
        total = self.same + self.incremental + self.clean_prefix
        if abs(total - 1) > 1e-6:
            raise ValueError(f"same + incremental + clean_prefix must be 1, got {total}.")


def draw_levels(config: NoiseConfig, count: int, chunks: int, generator: torch.Generator) -> Tensor:
    """Noise level of every generated chunk: `(count, chunks)` in [0, 1], 0 meaning given context."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    u = torch.randn(count, chunks, generator=generator).sigmoid() if config.logit_normal else uniform(count, chunks)
    level = config.shift * u / (1 + (config.shift - 1) * u)
    level = torch.where(uniform(count, chunks) < config.pure_noise, 1.0, level)
    one = level[:, :1].expand(-1, chunks)
    rising = level.sort(dim=1).values
    start = torch.floor(uniform(count, 1) * chunks)
    suffix = torch.where(torch.arange(chunks)[None] < start, 0.0, one)
    kind = uniform(count, 1)
    return torch.where(kind < config.same, one, torch.where(kind < config.same + config.incremental, rising, suffix))


def flow_loss(
    model: SanaWMTransformer,
    latents: Tensor,
    levels: Tensor,
    noise: Tensor,
    chunks: list[int],
    *,
    preconditioned: bool,
    context: Tensor | None = None,
    **conditions: Tensor,
) -> Tensor:
    """Mean squared velocity error over the frames that carry noise.

    Args:
        model: The transformer.
        latents: `(B, C, T, H, W)` clean clips; frame 0 is the given image.
        levels: `(B, T)` noise level per frame, 0 for context.
        noise: Like `latents`.
        chunks: Chunk index per frame.
        preconditioned: See `sampler.velocity`.
        context: What the model is shown on frames of level 0 in place of `latents`; see `own_context`.
        **conditions: Camera inputs of `SanaWMTransformer.forward`.
    """
    s = levels[:, None, :, None, None]
    noisy = (1 - s) * latents + s * noise
    if context is not None:
        noisy = torch.where(s == 0, context, noisy)
    predicted, _ = velocity(model, noisy, levels, preconditioned=preconditioned, chunks=chunks, **conditions)
    error = (predicted.float() - (noise - latents)).square().mean(dim=(1, 3, 4))
    weight = (levels > 0).float()
    return (error * weight).sum() / weight.sum().clamp_min(1)


@torch.no_grad()
def own_context(
    model: SanaWMTransformer,
    latents: Tensor,
    noise: Tensor,
    chunks: list[int],
    *,
    preconditioned: bool,
    **conditions: Tensor,
) -> Tensor:
    """The model's own one-step guess of a clip from its first frame, to stand in for clean context.

    In a rollout the context is what the model made, blur and errors included. Trained on clean context alone
    it takes its own errors for facts and drifts; shown its guesses, with the true frames still the target, it
    learns to correct them.

    Returns:
        `(B, C, T, H, W)`; frame 0 is the given image.
    """
    levels = torch.ones_like(latents[:, 0, :, 0, 0])
    levels[:, 0] = 0
    noisy = torch.where(levels[:, None, :, None, None] > 0, noise, latents)
    v, _ = velocity(model, noisy, levels, preconditioned=preconditioned, chunks=chunks, **conditions)
    return torch.cat((latents[:, :, :1], (noise - v.float())[:, :, 1:]), dim=2)


def draw_chunks(frames: int, longest: int, generator: torch.Generator) -> list[int]:
    """Chunk index per latent frame: frame 0 alone, then chunks of one random length up to `longest`."""
    length = int(torch.randint(1, longest + 1, (), generator=generator))
    return [0] + [1 + i // length for i in range(frames - 1)]
