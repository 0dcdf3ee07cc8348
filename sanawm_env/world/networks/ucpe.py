"""UCPE: camera geometry inside attention (spec section 2.6).

The first half of a head is read as 4-vectors and moved between the token's own ray frame and the world by a
4x4 matrix per token; the second half is turned by rotary embedding. A query and a key then meet through the
relative rigid motion between their two rays.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sanawm_env.world.networks.rotary import Rotation, rotate


class RayFrames(NamedTuple):
    """Per-token ray matrices `(B, T, S, 4, 4)` and the rotation of the other half of the head."""

    ray_from_world: Tensor
    """P."""
    world_from_ray: Tensor
    """P^-1."""
    rotation: Rotation


def _transform(x: Tensor, matrix: Tensor, rotation: Rotation, *, inverse_rotation: bool = False) -> Tensor:
    """Apply `matrix` to 4-groups of the first half of `x` `(B, T, S, heads, D)` and rotate the second."""
    half = x.shape[-1] // 2
    # One small GEMM per token: the groups of all heads share the token's matrix.
    groups = x[..., :half].reshape(*x.shape[:3], -1, 4)
    moved = (groups @ matrix.transpose(-1, -2)).reshape(*x.shape[:4], half)
    turned = rotate(x[..., half:], rotation, inverse=inverse_rotation)
    return torch.cat((moved, turned), dim=-1)


def to_world_query(query: Tensor, rays: RayFrames) -> Tensor:
    """Queries meet world-frame keys through P^T."""
    return _transform(query, rays.ray_from_world.transpose(-1, -2), rays.rotation)


def to_world(x: Tensor, rays: RayFrames) -> Tensor:
    """Keys and values enter the world frame through P^-1."""
    return _transform(x, rays.world_from_ray, rays.rotation)


def from_world(x: Tensor, rays: RayFrames) -> Tensor:
    """Attention output returns to the token's ray frame through P."""
    return _transform(x, rays.ray_from_world, rays.rotation, inverse_rotation=True)


def downscale_to_rms(reference: Tensor, x: Tensor) -> Tensor:
    """Shrink `x` per token and head to the RMS of `reference`; never enlarge (diffusers, G0)."""
    eps = 1e-6
    before = reference.square().mean(-1, keepdim=True).add(eps).sqrt()
    after = x.square().mean(-1, keepdim=True).add(eps).sqrt().clamp_min(eps)
    return x * (before / after).clamp(max=1.0)


def beta_discount(key_before: Tensor, key_after: Tensor) -> Tensor:
    """How much the transform inflated the keys: `max(1, mean over the frame of |after|^2/|before|^2)`.

    Args:
        key_before: `(B, T, S, heads, D)` keys in the ray frame.
        key_after: The same keys in the world frame.

    Returns:
        `(B, T, 1, heads)`, the divisor of beta.
    """
    floor = 1e-12
    ratio = key_after.square().sum(-1).clamp_min(floor) / key_before.square().sum(-1).clamp_min(floor)
    return torch.clamp(ratio.mean(2, keepdim=True), min=1.0)
