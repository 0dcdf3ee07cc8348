"""Few-step Euler sampler over one chunk (docs/model.md, "Samplers")."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.networks.transformer import SanaWMTransformer

RELEASE_SIGMAS = (1.0, 0.960, 0.889, 0.727, 0.0)
"""Noise levels of the distilled release; four model calls."""


def velocity(
    model: SanaWMTransformer, x: Tensor, sigma: Tensor, *, preconditioned: bool = False, **conditions: Any
) -> tuple[Tensor, ModelCache | None]:
    """Velocity `noise - data` at per-frame noise levels.

    The release's network outputs the velocity itself. With `preconditioned`, the part of the velocity that is
    a linear function of `x` is added outside the network (Karras et al. 2022, section 5, for the flow
    `x = (1-s) data + s noise` and unit-variance data): at s = 1 the network then outputs minus the data
    instead of copying 1000-dimensional noise through a narrow residual stream.

    Args:
        model: The transformer.
        x: `(B, C, T, H, W)` latents at noise level `sigma`.
        sigma: `(B, T)` in [0, 1].
        preconditioned: How the network was trained.
        **conditions: Passed to `SanaWMTransformer.forward`.

    Returns:
        Velocity like `x`, and the next cache if the call commits.
    """
    # The sampler integrates in the precision of `x`; the model computes in that of its weights.
    out, cache = model(x.to(model.dtype), sigma * 1000.0, **conditions)
    out = out.to(x.dtype)
    if preconditioned:
        s = sigma[:, None, :, None, None]
        power = s**2 + (1 - s) ** 2
        out = x * ((2 * s - 1) / power) + out * power**-0.5
    return out, cache


def euler_sigmas(steps: int = 60, shift: float = 9.8) -> tuple[float, ...]:
    """Noise levels of the release's scheduler: `steps` of them and a final 0.

    The evenly spaced levels run from 1 down to the *shifted* 1/1000, and are then shifted (again): s*u / (1 + (s-1)*u).

    Raises:
        ValueError: Steps below 1, or a shift that is not positive.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"steps must be at least 1 and the flow shift positive; got {steps} and {shift}.")

    def shifted(u: Any) -> Any:
        return shift * u / (1 + (shift - 1) * u)

    levels = shifted(np.linspace(1.0, np.float32(shifted(np.float32(0.001))), steps))
    return (*(float(level) for level in levels.astype(np.float32)), 0.0)


def denoise_chunk(
    model: SanaWMTransformer,
    noise: Tensor,
    cache: ModelCache,
    sigmas: Sequence[float],
    *,
    clean: Tensor | None = None,
    preconditioned: bool = False,
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
        preconditioned: See `velocity`.
        **conditions: Text, raymap and Plücker of the chunk.

    Returns:
        Clean latents and the next cache.
    """
    x = noise
    batch, _, time = x.shape[:3]
    # Plain numbers, so that nothing is copied from the host: the whole loop can be captured in a CUDA graph.
    # Rounded to float32 first, the type in which the latents move.
    levels = np.asarray(sigmas, dtype=np.float32)
    moving = torch.ones(batch, time, device=x.device) if clean is None else (~clean).float()
    for now, following in pairwise(levels):
        v, _ = velocity(model, x, moving * float(now), preconditioned=preconditioned, cache=cache, **conditions)
        x = x - (moving * float(now - following))[:, None, :, None, None] * v
    return x, commit_chunk(model, x, cache, **conditions)


def commit_chunk(model: SanaWMTransformer, latents: Tensor, cache: ModelCache, **conditions: Any) -> ModelCache:
    """Write finished latents `(B, C, T, H, W)` into the cache: one call at noise level 0."""
    clean = latents.new_zeros(latents.shape[0], latents.shape[2])
    _, after = model(latents.to(model.dtype), clean, cache=cache, commit=True, **conditions)
    assert after is not None
    return after
