"""Few-step Euler sampler over one chunk (spec section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .model.cache import ModelCache
from .model.transformer import SanaWMTransformer

RELEASE_SIGMAS = (1.0, 0.960, 0.889, 0.727, 0.0)
"""Noise levels of the distilled release; four model calls."""


def velocity(model: SanaWMTransformer, x: Tensor, sigma: Tensor, **conditions: Any) -> tuple[Tensor, ModelCache | None]:
    """Velocity `noise - data` at per-frame noise levels.

    Args:
        model: The transformer.
        x: `(B, C, T, H, W)` latents at noise level `sigma`.
        sigma: `(B, T)` in [0, 1].
        **conditions: Passed to `SanaWMTransformer.forward`.

    Returns:
        Velocity like `x`, and the next cache if the call commits.
    """
    return model(x, sigma * 1000.0, **conditions)


def denoise_chunk(
    model: SanaWMTransformer,
    noise: Tensor,
    cache: ModelCache,
    sigmas: Sequence[float],
    *,
    clean: Tensor | None = None,
    **conditions: Any,
) -> tuple[Tensor, ModelCache]:
    """Denoise one chunk and commit it to the cache.

    Plain Euler over `sigmas`, no fresh noise between steps; then one call at noise level 0 writes the cache.

    Args:
        model: The transformer.
        noise: `(B, C, T, H, W)` starting latents; frames marked `clean` hold data.
        cache: State of the rollout.
        sigmas: Descending noise levels, ending at 0.
        clean: `(B, T)` bool, frames that are given (the first frame of a rollout); None means no frame is.
        **conditions: Text, raymap and Plücker of the chunk.

    Returns:
        Clean latents and the next cache.
    """
    x = noise
    batch, _, time = x.shape[:3]
    levels = torch.tensor(list(sigmas), dtype=torch.float32, device=x.device)
    moving = torch.ones(batch, time, device=x.device) if clean is None else (~clean).float()
    for now, following in zip(levels[:-1], levels[1:], strict=True):
        v, _ = velocity(model, x, now * moving, cache=cache, **conditions)
        x = x - ((now - following) * moving)[:, None, :, None, None] * v
    _, cache_after = velocity(model, x, torch.zeros_like(moving), cache=cache, commit=True, **conditions)
    assert cache_after is not None
    return x, cache_after
