"""Rotary positions of LTX-2, "split" layout (docs/model.md, "Refiner").

Phases reach 16,000 radians, so that their rounding is part of the model: the ladder is float64 rounded to float32, and
everything after it float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sanawm_env.world.networks.refiner.config import RefinerConfig

__all__ = ["Rotation", "frame_rotation", "rotate", "text_rotation"]


class Rotation(NamedTuple):
    """Cosine and sine of every phase."""

    cos: Tensor
    """`(B or 1, heads, N, head_dim / 2)` float32."""
    sin: Tensor
    """The same."""


def frame_rotation(
    config: RefinerConfig,
    frames: Sequence[Sequence[int]],
    rows: int,
    columns: int,
    fps: float,
    device: torch.device | str = "cpu",
) -> Rotation:
    """Rotation of the tokens of some latent frames, in frame, row, column order.

    Args:
        config: The network's.
        frames: Absolute indices, a list per slot; one list serves all slots.
        rows: Of latents.
        columns: Of latents.
        fps: Pixel frames per second.
        device: Where.
    """
    stride, tall, wide = config.scales
    index = torch.tensor(frames, dtype=torch.float32, device=device)
    # The middle of the pixel frames that a latent stands for, the first of which is one frame alone.
    lead = config.causal_offset - stride
    begin, end = (index * stride + lead).clamp(min=0), ((index + 1) * stride + lead).clamp(min=0)
    times = (begin + end) / 2 / fps
    heights = torch.arange(rows, dtype=torch.float32, device=device) * tall + tall / 2
    widths = torch.arange(columns, dtype=torch.float32, device=device) * wide + wide / 2
    shape = (*times.shape, rows, columns)
    places = torch.stack(
        (
            times[:, :, None, None].expand(shape),
            heights[None, None, :, None].expand(shape),
            widths[None, None, None, :].expand(shape),
        ),
        dim=-1,
    ).flatten(1, 3)
    fractions = places / torch.tensor(config.extent, dtype=torch.float32, device=device)
    return _table(fractions, config.width, config.heads, config.rope_theta)


def text_rotation(
    tokens: int, length: int, width: int, heads: int, theta: float, device: torch.device | str = "cpu"
) -> Rotation:
    """Rotation of text tokens 0, 1, ... in a range of `length`."""
    places = torch.arange(tokens, dtype=torch.float32, device=device) / length
    return _table(places[None, :, None], width, heads, theta)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotate `(B, N, width)` head by head: channel i of a head's first half with channel i of its second."""
    heads = by.cos.shape[1]
    first, second = x.float().unflatten(-1, (heads, -1)).transpose(1, 2).chunk(2, dim=-1)
    turned = torch.cat((first * by.cos - second * by.sin, second * by.cos + first * by.sin), dim=-1)
    return turned.transpose(1, 2).flatten(2).to(x.dtype)


def _table(fractions: Tensor, width: int, heads: int, theta: float) -> Rotation:
    """Rotation at `(B, N, axes)` fractions of the range: frequencies first, then axes, padded at the front."""
    axes = fractions.shape[-1]
    steps = torch.linspace(0, 1, width // (2 * axes), dtype=torch.float64, device=fractions.device)
    ladder = (theta**steps * math.pi / 2).float()
    phases = ((2 * fractions - 1)[..., None, :] * ladder[:, None]).flatten(2)
    missing = width // 2 - phases.shape[-1]

    def by_head(values: Tensor, pad: float) -> Tensor:
        whole = torch.nn.functional.pad(values, (missing, 0), value=pad)
        return whole.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()

    return Rotation(by_head(phases.cos(), 1.0), by_head(phases.sin(), 0.0))
