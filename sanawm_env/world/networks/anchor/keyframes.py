"""What a world has made up stays: a few of its own frames, posed and with depth, beside frame 0 in the anchor.

Frame 0 answers only for what it shows. Where the camera turns away the network invents, and once the short memory of
its attention has passed on, nothing remembers what it invented. So a frame that shows much that none of the kept ones
explains is kept as well. All of them are warped into each chunk: frame 0 first, and else the nearest surface. There is
room for K; when it is full, the one that would be missed least makes way: whose picture the others explain best.

Related: GEN3C (arXiv:2503.03751) keeps a cache of unprojected frames, WorldMem (2504.12369) and VMem (2506.18903)
retrieve frames by what they see. Here nothing is searched and nothing grows.

Only comparisons, lookups and sums of whole numbers decide, so that a memory has the same bits at every run; and shapes
do not depend on data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sanawm_env.world.networks.anchor.warp import (
    coarse_disparity,
    colours_from,
    depths_of,
    joined,
    nearest_of,
    relative_poses,
)

__all__ = ["NEW", "Keyframes", "explained_disparity", "keyframe_views", "remember"]

NEW = 0.35
"""Share of a frame that nothing kept explains, from which on it is kept."""
NEARER = 1.1
"""A made-up surface hides one of frame 0 only if its inverse depth is this many times as large: depths are guesses."""
_COARSE = 4
"""Depth maps are this much coarser where only shares of pictures are compared."""
_FITS = 0.15
"""Relative difference of inverse depth up to which one frame explains a pixel of another."""


class Keyframes(NamedTuple):
    """What the anchor keeps of B slots, K places each; unused places hold zeros."""

    frame: Tensor
    """`(B, K, H, W, 3)` uint8."""
    disparity: Tensor
    """`(B, K, H/2, W/2)` float32 inverse z-depth, 1/m, 0 for the sky."""
    c2w: Tensor
    """`(B, K, 4, 4)` float64 poses relative to frame 0, metres."""
    used: Tensor
    """`(B, K)` bool."""

    @property
    def places(self) -> int:
        """K."""
        return self.used.shape[1]


def keyframe_views(image: Tensor, disparity: Tensor, keys: Keyframes, c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """Draw frame 0 and the keyframes from other poses; like `views.anchor_views`, which draws frame 0 alone.

    Args:
        image: `(B, H, W, 3)` uint8 frame 0.
        disparity: `(B, H/2, W/2)` its inverse z-depth, 1/m.
        keys: The keyframes.
        c2w: `(B, F, 4, 4)` poses of the views relative to frame 0, metres.
        intrinsics: `(B, 4)` fx, fy, cx, cy of all frames, pixels.

    Returns:
        `(B, 4, F, H, W)` float32: colours in [-1, 1], and 1 where any frame shows the place, else 0.
    """
    best, which = _seen(disparity, keys, c2w, intrinsics)
    pictures = torch.cat((image[:, None], keys.frame), 1)
    origins = torch.cat((_identity(keys), keys.c2w), 1)
    return joined(colours_from(pictures, origins, best, which, c2w, intrinsics))


def explained_disparity(disparity: Tensor, keys: Keyframes, c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """The z-buffer of frame 0 and the keyframes from other poses; like `warp.anchor_disparity`, of frame 0 alone.

    Args:
        disparity: `(B, H/2, W/2)` of frame 0.
        keys: The keyframes.
        c2w: `(B, F, 4, 4)`.
        intrinsics: `(B, 4)`.

    Returns:
        `(B, F, H/2, W/2)` inverse z-depth, 1/m; -1 where none of them shows anything.
    """
    return _seen(disparity, keys, c2w, intrinsics)[0]


def remember(
    disparity0: Tensor,
    keys: Keyframes,
    frame: Tensor,
    disparity: Tensor,
    known: Tensor,
    c2w: Tensor,
    intrinsics: Tensor,
) -> Keyframes:
    """Keep the present frame if much of it is new.

    Args:
        disparity0: `(B, H/2, W/2)` of frame 0.
        keys: What is kept so far.
        frame: `(B, H, W, 3)` uint8 that the world shows now.
        disparity: `(B, H/2, W/2)` its inverse z-depth.
        known: `(B, H/2, W/2)` of `explained_disparity` from where it stands; negative where nothing is explained.
        c2w: `(B, 4, 4)` where it stands, relative to frame 0.
        intrinsics: `(B, 4)`.

    Returns:
        The keyframes after it, in memory of their own.
    """
    share = (known < 0).flatten(1).float().mean(1)
    place = _least_missed(disparity0, keys, disparity, c2w, intrinsics)
    here = (torch.arange(keys.places, device=place.device) == place[:, None]) & (share >= NEW)[:, None]

    def put(kept: Tensor, new: Tensor) -> Tensor:
        return torch.where(here.view(*here.shape, *(1,) * (kept.ndim - 2)), new[:, None], kept)

    return Keyframes(
        put(keys.frame, frame), put(keys.disparity, disparity), put(keys.c2w, c2w.to(keys.c2w.dtype)), keys.used | here
    )


def _least_missed(disparity0: Tensor, keys: Keyframes, newest: Tensor, c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """`(B,)` the place to give up: an unused one, or that whose picture all others explain best; the first of equals.

    The newest frame counts among the others: what it shows as well need not be kept twice.
    """
    coarse = [_coarser(values) for values in (disparity0[:, None], keys.disparity, newest[:, None])]
    all_depths = torch.cat(coarse, 1)  # (B, K + 2, h, w)
    poses = torch.cat((_identity(keys), keys.c2w, c2w.to(keys.c2w.dtype)[:, None]), 1)
    there = torch.cat((torch.ones_like(keys.used[:, :1]), keys.used, torch.ones_like(keys.used[:, :1])), 1)
    camera = intrinsics.float() / _COARSE
    explained = []
    for k in range(keys.places):
        seen = torch.zeros_like(coarse[1][:, k], dtype=torch.bool)
        for other in range(keys.places + 2):
            if other == k + 1:
                continue
            view = relative_poses(poses[:, other], keys.c2w[:, k : k + 1])
            found = coarse_disparity(all_depths[:, other], view, camera)[:, 0]
            fits = (found >= 0) & ((found - coarse[1][:, k]).abs() <= _FITS * coarse[1][:, k] + 1e-3)
            seen |= fits & there[:, other, None, None]
        explained.append(seen.flatten(1).float().mean(1))
    # Unused places come first of all.
    return torch.where(keys.used, torch.stack(explained, 1), 2.0).argmax(1)


def _seen(disparity: Tensor, keys: Keyframes, c2w: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse depth `(B, F, H/2, W/2)` of what is seen in the views, and which frame shows it."""
    kept = torch.where(keys.used[..., None, None], keys.disparity, -1.0)
    return nearest_of(depths_of(disparity, kept, keys.c2w, c2w, intrinsics), NEARER)


def _identity(keys: Keyframes) -> Tensor:
    return torch.eye(4, dtype=keys.c2w.dtype, device=keys.c2w.device).expand(len(keys.c2w), 1, 4, 4)


def _coarser(disparity: Tensor) -> Tensor:
    """Every `_COARSE`-th pixel `(B, n, h, w)`, of the middle of its block."""
    return disparity[..., _COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE].contiguous()
