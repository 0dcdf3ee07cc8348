"""Training a world as it is used: chunk after chunk, from its memory, on what it made itself.

Each slot follows a walk (`training.walks`). For every chunk the network sees the true latents under noise and
the memory of all that went before, and is trained by flow matching; then the chunk is committed, and the
gradient of later chunks flows through that commit, so that the network learns what to remember. What is
committed is the truth in some slots and the network's own guess in the others ("self forcing", Huang et al.
2025, with the true frame as the target): there it meets its own errors, minutes long, and learns to correct them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.training.clips.walks import Segment
from sanawm_env.training.losses.flow import NoiseConfig, draw_levels
from sanawm_env.world.networks.cache import ModelCache, empty_cache
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import velocity


@dataclass(frozen=True)
class StreamConfig:
    """How a segment is trained."""

    own: float = 0.7
    """Share of walks whose memory holds the network's own guesses; the others remember the truth."""
    context_noise: float = 0.1
    """Largest noise level of committed latents; each walk draws its own, as augmentation."""
    one_by_one: float = 0.2
    """Share of segments cut into chunks of one latent frame; the others have the longest chunks."""


def begin(
    model: SanaWMTransformer, segment: Segment, memory: ModelCache | None, *, dtype: torch.dtype = torch.float32
) -> ModelCache:
    """Memory at the start of a segment: carried on without gradient, or begun afresh from the still."""
    count, _, _, rows, columns = segment.latents.shape
    device = segment.latents.device
    if memory is None:
        tokens = rows // model.config.patch_size[0] * (columns // model.config.patch_size[1])
        memory = empty_cache(model.config, count, tokens, device=device, dtype=dtype)
    carried = memory.map(lambda value: value.detach())
    index = segment.fresh.nonzero()[:, 0].to(device)
    if not len(index):
        return carried
    new = empty_cache(model.config, len(index), carried.blocks[0]["ffn_tail"].shape[2], device=device, dtype=dtype)
    camera = {name: value[index] for name, value in segment.still_camera.items()}
    still = segment.still[index]
    _, begun = model(still, still.new_zeros(len(index), 1), cache=new, commit=True, **camera)
    assert begun is not None
    begun = ModelCache(begun.blocks, begun.window_chunk, begun.frames + segment.shift.to(device)[index], begun.chunks)
    fresh = begun.flat()
    return ModelCache.from_flat({k: v.index_copy(0, index, fresh[k].to(v.dtype)) for k, v in carried.flat().items()})


def segment_loss(
    model: SanaWMTransformer,
    segment: Segment,
    memory: ModelCache,
    own: Tensor,
    chunk: int,
    config: StreamConfig,
    noise_config: NoiseConfig,
    generator: torch.Generator,
    *,
    preconditioned: bool,
) -> tuple[Tensor, ModelCache, Tensor]:
    """Mean squared velocity error over a segment, chunk by chunk.

    Args:
        model: The transformer.
        segment: What to train on.
        memory: Of `begin`.
        own: `(B,)` bool, slots that remember their own guesses.
        chunk: Latent frames per chunk.
        config: Settings.
        noise_config: How noise levels are drawn.
        generator: Of levels and noise.
        preconditioned: See `sampler.velocity`.

    Returns:
        The loss, the memory after the segment, and `(B,)` the loss of every slot.
    """
    count, _, frames = segment.latents.shape[:3]
    device = segment.latents.device
    dirt = (torch.rand(count, generator=generator) * config.context_noise).to(device)[:, None, None, None, None]
    total = torch.zeros(count, device=device)
    for first in range(0, frames, chunk):
        part = slice(first, min(first + chunk, frames))
        x = segment.latents[:, :, part]
        camera = {
            name: value[:, part] if name == "raymap" else value[:, :, part] for name, value in segment.camera.items()
        }
        level = draw_levels(noise_config, count, 1, generator).to(device)
        s = level.expand(-1, x.shape[2])
        noise = torch.randn(x.shape, generator=generator).to(device)
        wide = level[:, :, None, None, None]
        noisy = (1 - wide) * x + wide * noise
        v, _ = velocity(model, noisy, s, preconditioned=preconditioned, cache=memory, **camera)
        v = v.float()
        total = total + (v - (noise - x)).square().mean((1, 3, 4)).sum(1)
        guess = (noisy - wide * v).detach()
        context = torch.where(own.to(device)[:, None, None, None, None], guess, x)
        fog = torch.randn(x.shape, generator=generator).to(device)
        context = (1 - dirt) * context + dirt * fog
        _, following = model(context, s.new_zeros(s.shape), cache=memory, commit=True, **camera)
        assert following is not None
        memory = following
    per_slot = total / frames
    return per_slot.mean(), memory, per_slot.detach()
