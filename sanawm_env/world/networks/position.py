"""Where a token is: rotary turns for its place in the video, and ray matrices for its place in the world.

**Rotary.** A head of width D has D/2 pairs of adjacent channels, split over time, rows and columns; every axis has its
own frequency ladder. Angles are computed from the position itself, in float64, so there is no table and no longest
rollout (docs/model.md, "Positions").

**UCPE.** In the camera branch the first half of a head is read as 4-vectors and moved between the token's own ray frame
and the world by a 4x4 matrix per token; the second half is turned by rotary embedding. A query and a key then meet
through the relative rigid motion between their two rays (docs/model.md, "Camera branch").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0


class Rotation(NamedTuple):
    """Cosines and sines of the angles, each `(B, T, H*W, 1, pairs)`; the 1 stands for the heads."""

    cos: Tensor
    sin: Tensor


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Complex pairs given to time, rows and columns."""
    space = head_dim // 6
    return head_dim // 2 - 2 * space, space, space


def _frequencies(pairs: int, device: torch.device) -> Tensor:
    return THETA ** -(torch.arange(pairs, dtype=torch.float64, device=device) / pairs)


def rotations(frames: Tensor, height: int, width: int, head_dim: int) -> tuple[Rotation, Rotation]:
    """Rotations of the main branch and of the camera branch.

    The camera branch rotates half a head and takes the *first* entries of each axis' ladder, not a ladder of
    its own (docs/model.md, "Positions").

    Args:
        frames: `(B, T)` absolute latent-frame indices.
        height: Rows of the token grid.
        width: Columns of the token grid.
        head_dim: Width D of a head.

    Returns:
        `(main, camera)`, with D/2 and D/4 pairs.
    """
    batch, time = frames.shape
    positions = (
        frames.to(torch.float64)[:, :, None, None],
        torch.arange(height, dtype=torch.float64, device=frames.device)[None, None, :, None],
        torch.arange(width, dtype=torch.float64, device=frames.device)[None, None, None, :],
    )
    main, camera = [], []
    for position, pairs, pairs_camera in zip(positions, axis_pairs(head_dim), axis_pairs(head_dim // 2), strict=True):
        angles = position[..., None] * _frequencies(pairs, frames.device)
        angles = angles.expand(batch, time, height, width, pairs)
        main.append(angles)
        camera.append(angles[..., :pairs_camera])

    def pack(parts: list[Tensor]) -> Rotation:
        angles = torch.cat(parts, dim=-1).reshape(batch, time, height * width, 1, -1)
        return Rotation(angles.cos().float(), angles.sin().float())

    return pack(main), pack(camera)


def rotate(x: Tensor, rotation: Rotation, *, inverse: bool = False) -> Tensor:
    """Turn adjacent channel pairs of fp32 `x` `(B, T, S, heads, 2*pairs)` as complex numbers."""
    turn = torch.complex(rotation.cos, -rotation.sin if inverse else rotation.sin)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)


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
