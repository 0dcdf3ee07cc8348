"""The given image, seen from where the camera is now: frame 0 and its depth, warped along the path.

A world that keeps nothing but a recurrent state forgets the one thing it was certain of, the image that it
started from. The anchor is that image with the depth the network reads from it (`model.depth`). Each chunk it
is drawn from the chunk's own poses, as a hint of what is where; the network decides what to make of it and
invents what the image does not show.

Only comparisons of floats and lookups are used, no sums in an order that threads could change, so that the
hint has the same bits at every run; and shapes do not depend on data, so that a step stays recordable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["anchor_disparity", "pixel_rays", "warp_anchor"]

_BEHIND = 1e-3
"""Points this close to the camera plane, relative to their distance before, are not drawn."""


def warp_anchor(image: Tensor, disparity: Tensor, c2w: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Draw frame 0 from other poses.

    Depth goes forward and colour comes back: every pixel of frame 0 is thrown into the new view, where the
    nearest one at each place wins; the winner's depth then tells where in frame 0 the colour is, which is read
    between its pixels. So edges are exact and surfaces stay smooth. Depth moves at half resolution, which
    leaves fewer cracks, colour is read at the whole.

    Args:
        image: `(B, H, W, 3)` uint8 frame 0; H and W even.
        disparity: `(B, H/2, W/2)` inverse z-depth of frame 0, 1/m; 0 is the sky.
        c2w: `(B, F, 4, 4)` poses of the views relative to frame 0, metres.
        intrinsics: `(B, 4)` fx, fy, cx, cy of frame 0 and the views, pixels.

    Returns:
        Colours `(B, 3, F, H, W)` in [-1, 1], 0 where frame 0 shows nothing; and where it does, `(B, 1, F, H, W)`,
        0 or 1.
    """
    _, height, width, _ = image.shape
    rotation, centre = c2w[..., :3, :3].float(), c2w[..., :3, 3].float()  # (B, F, 3, 3), (B, F, 3)
    camera = intrinsics.float()
    rays = pixel_rays(height, width, camera)  # (B, 3, H*W)
    inverse = _double(disparity.float()).flatten(1)[:, None]  # (B, 1, H*W)
    depth = _double(_landed(rays, inverse, rotation, centre, camera, height // 2, width // 2)).flatten(2)

    # Which place of frame 0 is seen at each pixel?
    x, y, z = _turn(rotation, rays[:, None])
    near = depth.clamp_min(0)
    x, y, z = (a + b[..., None] * near for a, b in zip((x, y, z), centre.unbind(-1), strict=True))
    fx, fy, cx, cy = camera[:, :, None, None].unbind(1)
    column, row = x / z.clamp_min(_BEHIND) * fx + cx, y / z.clamp_min(_BEHIND) * fy + cy
    seen = (depth >= 0) & (z > _BEHIND) & (column > 0) & (column < width) & (row > 0) & (row < height)
    pixels = image.permute(0, 3, 1, 2).float().div(127.5).sub(1)
    grid = torch.stack((column / width, row / height), -1) * 2 - 1
    colour = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    visible = seen[:, None].to(colour.dtype)
    return (colour * visible).unflatten(-1, (height, width)), visible.unflatten(-1, (height, width))


def anchor_disparity(disparity: Tensor, c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """The z-buffer of frame 0 from other poses, without its colours.

    Args:
        disparity: `(B, H/2, W/2)` inverse z-depth of frame 0, 1/m; 0 is the sky.
        c2w: `(B, F, 4, 4)` poses of the views relative to frame 0, metres.
        intrinsics: `(B, 4)` fx, fy, cx, cy of frame 0 and the views, pixels of `(H, W)`.

    Returns:
        `(B, F, H/2, W/2)` inverse z-depth seen from each pose, 1/m, float32; -1 where frame 0 shows nothing.
    """
    rows, columns = disparity.shape[1:]
    camera = intrinsics.float()
    rays = pixel_rays(2 * rows, 2 * columns, camera)
    inverse = _double(disparity.float()).flatten(1)[:, None]
    return _landed(rays, inverse, c2w[..., :3, :3].float(), c2w[..., :3, 3].float(), camera, rows, columns)


def _landed(
    rays: Tensor, inverse: Tensor, rotation: Tensor, centre: Tensor, camera: Tensor, rows: int, columns: int
) -> Tensor:
    """Inverse depth `(B, F, rows, columns)` of what frame 0 puts into each place of the views, -1 where nothing."""
    moved = rays[:, None] - centre[..., None] * inverse[:, None]  # (B, F, 3, N), scaled by the disparity
    x, y, z = _turn(rotation.transpose(-1, -2), moved)
    near = inverse / z.clamp_min(_BEHIND)
    fx, fy, cx, cy = camera[:, :, None, None].unbind(1)
    column = ((x / z.clamp_min(_BEHIND) * fx + cx) / 2).floor()
    row = ((y / z.clamp_min(_BEHIND) * fy + cy) / 2).floor()
    lands = (z > _BEHIND) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    # One more place takes all that lands outside.
    place = torch.where(lands, row * columns + column, rows * columns).long()
    nowhere = near.new_full((*near.shape[:2], rows * columns + 1), -1.0)
    depth = nowhere.scatter_reduce(-1, place, near, "amax")[..., :-1].unflatten(-1, (rows, columns))
    # Magnified surfaces have cracks one pixel wide.
    return torch.where(depth < 0, F.max_pool2d(depth, 3, 1, 1), depth)


def _double(values: Tensor) -> Tensor:
    """Every value of `(..., h, w)` on two by two places."""
    return values.repeat_interleave(2, -1).repeat_interleave(2, -2)


def pixel_rays(height: int, width: int, camera: Tensor) -> Tensor:
    """`(B, 3, H*W)` rays of unit depth through the pixel centres."""
    rows, columns = (torch.arange(n, dtype=torch.float32, device=camera.device) for n in (height, width))
    v, u = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    fx, fy, cx, cy = camera[:, :, None].unbind(1)
    x, y = (u.flatten() - cx) / fx, (v.flatten() - cy) / fy
    return torch.stack((x, y, torch.ones_like(x)), 1)


def _turn(rotation: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
    """Products of `(B, F, 3, 3)` and `(B, F, 3, N)`, row by row; elementwise, for the reason in `camera.rays`."""
    return tuple((rotation[..., i, :, None] * vectors).sum(-2) for i in range(3))
