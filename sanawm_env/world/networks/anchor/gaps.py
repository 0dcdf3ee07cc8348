"""What no picture shows, continued from beside it: behind a near thing, and above and below the pictures.

A gap is filled with what stands at its border, mirrored there, and folded back and forth where that ends: floor goes on
as floor, the wall behind a chair as wall. Of two opposite borders the farther one goes on, for it is the nearer one
that hides something; of rows and columns those along which a border is closer.

As in `warp`, only comparisons and lookups decide. Places are blocks of two by two pixels, as for depth.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sanawm_env.world.networks.anchor.cracks import grown

__all__ = ["fill_gaps"]

_DEEP = 10
"""Places (of 2 pixels) beside what frame 0 shows that are left to the network, which continues it more truly."""
_SAME = 1.25
"""Neighbours whose inverse depths differ by a larger factor belong to different things."""


class _Border(NamedTuple):
    """What lies on one or both sides of every place along the last axis, `(..., n)` each."""

    at: Tensor
    """int64 index of the closest known place; the place itself where it is known."""
    source: Tensor
    """int64 index of the place that is mirrored here."""
    turned: Tensor
    """bool: is it mirrored, or folded twice and so the right way round?"""
    depth: Tensor
    """Inverse depth at the border; infinite where there is none."""


def fill_gaps(planes: Tensor, depth: Tensor, own: Tensor) -> Tensor:
    """Continue into gaps what stands beside them.

    Args:
        planes: `(B, 4, F, 2, 2, h, w)` of `warp.colours_from`. Where a gap has colours already, they stay wherever what
            stands at the border would have to be folded more than once.
        depth: `(B, F, h, w)` inverse z-depth of what is known, 1/m; negative in gaps.
        own: `(B, F, h, w)` bool, what frame 0 itself shows. None of it is changed, and close beside it, and where
            neither row nor column holds anything, gaps stay.

    Returns:
        Like `planes`.
    """
    height, width = depth.shape[2:]
    given = planes[:, 3] > 0
    coloured = given[:, :, 0, 0] & given[:, :, 0, 1] & given[:, :, 1, 0] & given[:, :, 1, 1]
    known = coloured & (depth >= 0)
    # At the rim of a gap stand colours of both sides of an edge.
    known = known & (own | ~grown(~known))
    along, down = _borders(known, depth), _Border(*(values.mT for values in _borders(known.mT, depth.mT)))
    rows, columns = (torch.arange(n, device=own.device) for n in (height, width))
    ways = [
        torch.where(border.depth.isinf(), height + width, (places - border.at).abs())
        for border, places in ((along, columns), (down, rows[:, None]))
    ]
    across, way = ways[0] <= ways[1], torch.minimum(*ways)
    beside_own = torch.where(across, own.gather(-1, along.at), own.gather(-2, down.at))
    stays = beside_own & (way <= _DEEP)
    once = torch.where(across, along.turned, down.turned)
    filled = ~known & (way < height + width) & ~stays & (once | ~coloured)
    sideways, upright = filled & across, filled & ~across
    row, column = torch.where(upright, down.source, rows[:, None]), torch.where(sideways, along.source, columns)
    # Which of its source's four pixels does each pixel take?
    lower, right = (torch.stack((turned, ~turned), 2) for turned in (upright & down.turned, sideways & along.turned))
    plane = 2 * lower[:, :, :, None] + right[:, :, None].long()
    index = plane * (height * width) + (row * width + column)[:, :, None, None]
    found = planes.flatten(3).gather(3, index.flatten(2)[:, None].expand(-1, 4, -1, -1)).view_as(planes)
    change = filled[:, :, None, None] & ~(given & own[:, :, None, None])
    empty = ((depth < 0) & stays)[:, None, :, None, None]
    return torch.where(change[:, None], found, planes).masked_fill_(empty, 0.0)


def _borders(known: Tensor, depth: Tensor) -> _Border:
    """Of the borders before and after each place along the last axis, the one that stands farther away."""
    # Both ways at once: what comes after is what comes before, read backwards.
    found = _before(*(torch.stack((values, values.flip(-1))) for values in (known, depth)))
    at, source, turned, beyond = (values[1].flip(-1) for values in found)
    last = known.shape[-1] - 1
    before = _Border(*(values[0] for values in found))
    farther = before.depth <= beyond
    choices = zip(before, (last - at, last - source, turned, beyond), strict=True)
    return _Border(*(torch.where(farther, a, b) for a, b in choices))


def _before(known: Tensor, depth: Tensor) -> _Border:
    """The border at or before each place."""
    places = torch.arange(known.shape[-1], device=known.device)
    last = torch.where(known, places, -1).cummax(-1).values
    at = last.clamp_min(0)
    # What is mirrored reaches back from the border to where another thing begins.
    pair = depth[..., 1:], depth[..., :-1]
    goes_on = known[..., :-1] & (torch.maximum(*pair) <= _SAME * torch.minimum(*pair))
    begins = torch.cat((torch.zeros_like(known[..., :1]), goes_on), -1).logical_not()
    length = at - torch.where(begins, places, 0).cummax(-1).values.gather(-1, at) + 1
    # One step past the border shows the border itself; a known place is its own border, no step at all.
    step = (places - at - 1).remainder(2 * length)
    folded = torch.minimum(step, 2 * length - 1 - step)
    return _Border(at, at - folded, step < length, torch.where(last < 0, torch.inf, depth.gather(-1, at)))
