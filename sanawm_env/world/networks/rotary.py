"""Rotary position embedding over (time, row, column) and its reduced form for the camera branch.

A head of width D has D/2 pairs of adjacent channels, split over time, rows and columns; every axis has its
own frequency ladder (spec section 1.4). Angles are computed from the position itself, in float64, so there
is no table and no longest rollout.
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
    its own (spec section 1.4).

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
