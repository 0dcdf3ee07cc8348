"""The given image continued by its own reflection, on both sides, all the way round.

Frame 0 answers for what it shows, and a network trained by regression paints what nobody has seen as the mean of all
that could be there: a blur. A world with `SanaWMConfig.reflections` says something definite instead: the image with
its depth is mirrored at the upright plane through its right edge, the mirrored one at its own far edge, and so on;
likewise to the left. It is what `torch.nn.functional.pad` calls reflection, done in space. Every surface goes on where
the picture ends, has depth, and is there again when the camera comes back. It is made up, and not likely to be true.

Nothing is stored: what is reflected is frame 0. Where frame 0 itself shows a place, it alone counts. Where none of them
shows a surface (behind a near thing, above, below, or for a camera that went through a reflected wall), there is what
they hold in that direction, as if it were as far away as the sky. That is colour alone: there the depth is not known.
Close beside what frame 0 shows such a gap is left to the network, which continues it more truly.

What is made up so is shown as it stands, past the decoder (`views.show_made_up`). The decoder has its own view of frame
0 to correct, here it would only blur: of gradients it takes a fifth.

As in `warp`, only comparisons of floats and lookups decide, and shapes do not depend on data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sanawm_env.camera.rays import matmul
from sanawm_env.world.networks.anchor.cracks import grown
from sanawm_env.world.networks.anchor.warp import (
    colours_from,
    depths_of,
    joined,
    nearest_of,
    pixel_rays,
    relative_poses,
    turned,
)

__all__ = ["reflected_disparity", "reflected_views", "reflections_of"]

_CRACKS = 3
"""Half the width, in places, of cracks that are closed in a reflection: it may be seen from nearer than frame 0 was."""
_CLOSE = 1 / 7
"""What is nearer than this, relative to its distance in the reflection, is not shown: its cracks would be wider."""
_BESIDE = 10
"""Places (of 2 pixels) around what frame 0 shows in which gaps are left to the network."""
_SEAM = 1e-3
"""Share of a picture by which two of them overlap at the edge that they have in common."""


def reflected_views(image: Tensor, disparity: Tensor, c2w: Tensor, intrinsics: Tensor, count: int) -> Tensor:
    """Draw frame 0 and its reflections from other poses; like `views.anchor_views`, which draws frame 0 alone.

    Args:
        image: `(B, H, W, 3)` uint8 frame 0.
        disparity: `(B, H/2, W/2)` its inverse z-depth, 1/m.
        c2w: `(B, F, 4, 4)` poses of the views relative to frame 0, metres.
        intrinsics: `(B, 4)` fx, fy, cx, cy of frame 0 and the views, pixels.
        count: Reflections, half of them on each side.

    Returns:
        `(B, 5, F, H, W)` float32: colours in [-1, 1]; 1 where there is one, 0 in what is left to the network; and by
        how much it is made up: 0 in what frame 0 shows and what is left to the network, 1 elsewhere, and between these
        over a few pixels, so that no seam is seen.
    """
    origins, until = reflections_of(intrinsics, image.shape[2], count)
    best, which = _seen(disparity, c2w, intrinsics, origins, until, _CLOSE)
    gap = best < 0
    distant = _distant(best.shape[2:], c2w, intrinsics, origins, until)
    shown, source = torch.where(gap & (distant >= 0), 0.0, best), torch.where(gap, distant.clamp_min(0), which)
    # Above and below the pictures their first and last rows go on; of the pixels of one place some lie beyond an edge.
    planes = colours_from(image[:, None], origins, shown, source, c2w, intrinsics, beyond=True)
    own = (which == 0) & ~gap
    left = gap & (grown(own.float(), _BESIDE) > 0)
    planes.masked_fill_(left[:, None, :, None, None], 0.0)
    made_up = planes[:, 3].amin((2, 3)) * ~own
    inner = grown(made_up, choose=torch.minimum)
    soft = F.avg_pool2d(inner, 3, stride=1, padding=1, count_include_pad=False)
    return joined(torch.cat((planes, soft[:, None, :, None, None].expand_as(planes[:, :1])), 1))


def reflected_disparity(disparity: Tensor, c2w: Tensor, intrinsics: Tensor, count: int) -> Tensor:
    """The z-buffer of frame 0 and its reflections from other poses; like `warp.anchor_disparity`, of frame 0 alone.

    Returns:
        `(B, F, H/2, W/2)` inverse z-depth, 1/m; -1 where none of them shows anything.
    """
    return _seen(disparity, c2w, intrinsics, *reflections_of(intrinsics, 2 * disparity.shape[2], count))[0]


def reflections_of(intrinsics: Tensor, width: int, count: int) -> tuple[Tensor, Tensor]:
    """Where frame 0 and its reflections stand.

    Args:
        intrinsics: `(B, 4)` pixels.
        width: Columns of the image.
        count: Reflections, at least one.

    Returns:
        `(B, 1 + count, 4, 4)` float64 from their cameras to frame 0's, frame 0's own first, then in turn one to the
        right and one to the left; every second one of a side is a reflection indeed, with determinant -1. And
        `(B, count)` the share of its columns that each shows before the half turn at which those of the other side
        begin, counted from the column that it has in common with the one before it.
    """
    camera = intrinsics.double()
    edges = (width - camera[:, 2]) / camera[:, 0], camera[:, 2] / camera[:, 0]  # tangents: to the right, to the left
    mirrors = [_mirror(edge, side) for edge, side in zip(edges, (1.0, -1.0), strict=True)]
    angles = [torch.atan(edge) for edge in edges]
    identity = torch.eye(4, dtype=torch.float64, device=camera.device).expand(len(camera), 4, 4)
    newest, begins = [identity, identity], list(angles)  # of each side: the last one's pose, the next one's first angle
    origins, until = [identity], []
    for k in range(count):
        side, near = k % 2, _near(k)
        newest[side] = matmul(newest[side], mirrors[near])
        origins.append(newest[side])
        # Columns are spaced by tangents: how far from the near edge is the direction that looks straight back?
        left = (math.pi - begins[side]).clamp_min(0)
        reach = edges[near] - torch.tan((angles[near] - left).clamp_min(-angles[1 - near]))
        until.append((reach / (edges[0] + edges[1])).clamp(0, 1) * (left > 0))
        begins[side] = begins[side] + angles[0] + angles[1]
    return torch.stack(origins, 1), torch.stack(until, 1)


def _mirror(edge: Tensor, side: float) -> Tensor:
    """`(B, 4, 4)` the reflection at the vertical plane through the camera and an edge of its picture.

    Args:
        edge: `(B,)` tangent of the angle between the axis and the edge.
        side: 1 for the right edge, -1 for the left.
    """
    # Of roots and quotients alone: sines differ between processors and between batch sizes.
    norm = (1 + edge * edge).sqrt()
    cosine, sine = 1 / norm, side * edge / norm
    normal = torch.stack((cosine, torch.zeros_like(cosine), -sine), 1)
    pose = torch.eye(4, dtype=edge.dtype, device=edge.device).repeat(len(edge), 1, 1)
    pose[:, :3, :3] -= 2 * normal[:, :, None] * normal[:, None, :]
    return pose


def _near(k: int) -> int:
    """Which edge of its picture the reflection has in common with the one before it: 0 the right one, 1 the left one.

    Of a side's first one it is the edge of frame 0 on this side, of its second the other, and so on.
    """
    return (k + k // 2) % 2


def _seen(
    disparity: Tensor, c2w: Tensor, intrinsics: Tensor, origins: Tensor, until: Tensor, close: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Inverse depth `(B, F, H/2, W/2)` of what is seen in the views, and which of `origins` shows it.

    For `close` see `warp.landed`.
    """
    columns = disparity.shape[2]
    at = (torch.arange(columns, device=disparity.device) + 0.5) / columns
    from_edge = torch.stack([(1 - at, at)[_near(k)] for k in range(until.shape[1])])
    shown = from_edge <= until[..., None].float()
    kept = torch.where(shown[:, :, None], disparity.float()[:, None], -1.0)  # what lies past the half turn is not drawn
    depths = depths_of(disparity, kept, origins[:, 1:], c2w, intrinsics, cracks=_CRACKS, close=close)
    return nearest_of(depths, math.inf)


def _distant(size: Sequence[int], c2w: Tensor, intrinsics: Tensor, origins: Tensor, until: Tensor) -> Tensor:
    """Which of `origins` has each direction in it, were all as far away as the sky: `(B, F, h, w)` int64, -1 for none.

    Up and down is not asked.
    """
    rows, columns = size
    camera = intrinsics.float() / 2
    rays = pixel_rays(rows, columns, camera)[:, None]  # (B, 1, 3, N)
    found = torch.full((*c2w.shape[:2], rows * columns), -1, device=c2w.device)
    for k in range(origins.shape[1]):
        turn = relative_poses(origins[:, k], c2w)[:, :, :3, :3].float()
        x, _, z = turned(turn, rays)
        share = (x / z.clamp_min(1e-6) * camera[:, None, :1] + camera[:, None, 2:3]) / columns
        inside = (z > 1e-6) & (share >= -_SEAM) & (share <= 1 + _SEAM)
        if k:
            inside &= (1 - share, share)[_near(k - 1)] <= until[:, None, k - 1 : k].float() + _SEAM
        found = torch.where(inside & (found < 0), k, found)
    return found.unflatten(-1, (rows, columns))
