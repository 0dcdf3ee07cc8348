"""Cracks in surfaces that were thrown into another view, and their closing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["grown", "without_cracks"]

_THROUGH = 1.5
"""Between places that are nearer by this factor, a narrow line is not seen: it is a crack in one surface."""


def without_cracks(depth: Tensor, cracks: int = 1) -> Tensor:
    """Close the cracks of magnified surfaces, where nothing landed or what stands behind shines through.

    Args:
        depth: `(..., rows, columns)` of `landed`.
        cracks: Half the width of what is closed, places. If more than 1, nothing narrower than 3 places stays.

    Returns:
        Like `depth`.
    """
    if cracks == 1:
        near = grown(depth)
        closed = grown(near, choose=torch.minimum)
        return torch.where(depth < 0, near, torch.where(closed > _THROUGH * depth, closed, depth))
    closed = grown(grown(depth, cracks), cracks, torch.minimum)
    depth = torch.where((closed > _THROUGH * depth) | (depth < 0), closed, depth)
    # Where cracks are wider still, dots and lines are left of a surface, that hide what stands behind.
    behind = grown(grown(depth, choose=torch.minimum))
    return torch.where(depth > _THROUGH * behind, behind, depth)


def grown(values: Tensor, by: int = 1, choose: Callable[..., Tensor] = torch.maximum) -> Tensor:
    """Largest value of each place of `(..., h, w)` and those around it, `by` each way; with `torch.minimum` the least.

    `max_pool2d` takes three times as long.
    """
    for axis in (-1, -2) * by:
        count = values.shape[axis] - 1
        pairs = choose(values.narrow(axis, 0, count), values.narrow(axis, 1, count))
        values = values.clone()
        for begin in (0, 1):
            part = values.narrow(axis, begin, count)
            choose(part, pairs, out=part)
    return values
