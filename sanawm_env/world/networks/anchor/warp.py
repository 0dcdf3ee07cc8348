"""The given image, seen from where the camera is now: frame 0 and its depth, warped along the path.

A world that keeps nothing but a recurrent state forgets the one thing it was certain of, the image that it
started from. The anchor is that image with the depth the network reads from it (`anchor.depth`). Each chunk it
is drawn from the chunk's own poses, as a hint of what is where; the network decides what to make of it and
invents what the image does not show.

Only comparisons of floats and lookups are used, no sums in an order that threads could change, so that the
hint has the same bits at every run; and shapes do not depend on data, so that a step stays recordable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sanawm_env.world.networks.anchor.cracks import without_cracks

__all__ = [
    "anchor_disparity",
    "coarse_disparity",
    "colours_from",
    "depths_of",
    "joined",
    "nearest_of",
    "pixel_rays",
    "relative_poses",
    "turned",
    "warp_anchor",
]

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
    depth = _double(anchor_disparity(disparity, c2w, intrinsics)).flatten(2)

    # Which place of frame 0 is seen at each pixel?
    x, y, z = turned(rotation, rays[:, None])
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
    return without_cracks(landed(rays, inverse, c2w, camera, rows, columns))


def coarse_disparity(disparity: Tensor, c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """As `anchor_disparity`, of another picture: each place is thrown once, a quarter of the work.

    Args:
        disparity: `(B, H/2, W/2)`; places below 0 are not drawn.
        c2w: `(B, F, 4, 4)` poses of the views relative to the picture.
        intrinsics: `(B, 4)` pixels of `(H, W)`.

    Returns:
        `(B, F, H/2, W/2)`; negative where nothing is shown.
    """
    return without_cracks(_thrown_once(disparity, c2w, intrinsics))


def depths_of(
    disparity: Tensor,
    others: Tensor,
    origins: Tensor,
    c2w: Tensor,
    intrinsics: Tensor,
    *,
    cracks: int = 1,
    close: float = 0.0,
) -> Tensor:
    """What frame 0 and other pictures put into the views.

    Args:
        disparity: `(B, H/2, W/2)` of frame 0.
        others: `(B, K, H/2, W/2)` of the other pictures; places below 0 are not drawn.
        origins: `(B, K, 4, 4)` float64 their poses.
        c2w: `(B, F, 4, 4)` poses of the views.
        intrinsics: `(B, 4)` of all, pixels of `(H, W)`.
        cracks: Of the other pictures, see `without_cracks`.
        close: Likewise, see `landed`.

    Returns:
        `(B, 1 + K, F, H/2, W/2)` inverse z-depth, 1/m, frame 0's first; -1 where nothing.
    """
    first = anchor_disparity(disparity, c2w, intrinsics)[:, None]
    thrown = [
        _thrown_once(others[:, k], relative_poses(origins[:, k], c2w), intrinsics, close)
        for k in range(others.shape[1])
    ]
    if not thrown:
        return first
    drawn = without_cracks(torch.stack(thrown, 1), cracks)
    return torch.cat((first, torch.where(drawn >= 0, drawn, -1.0)), 1)


def nearest_of(depths: Tensor, nearer: float) -> tuple[Tensor, Tensor]:
    """The surface that is seen, and which picture shows it.

    Args:
        depths: Of `depths_of`.
        nearer: Another picture's surface hides one of frame 0 only if its inverse depth is more than this many times
            as large; infinite lets frame 0 alone count wherever it shows anything.

    Returns:
        `(B, F, H/2, W/2)` inverse z-depth, and the picture's number, int64.
    """
    first, rest = depths[:, 0], depths[:, 1:]
    if not rest.shape[1]:
        return first, torch.zeros_like(first, dtype=torch.long)
    nearest, which = rest.max(1)
    # Of the sky infinitely many times is no number, and nothing exceeds that.
    other = nearest > torch.where(first >= 0, first * nearer, first)
    return torch.where(other, nearest, first), torch.where(other, which + 1, 0)


def colours_from(
    pictures: Tensor,
    origins: Tensor,
    depth: Tensor,
    which: Tensor,
    c2w: Tensor,
    intrinsics: Tensor,
    *,
    beyond: bool = False,
) -> Tensor:
    """Fetch the colours of views whose depth is known, each pixel out of one of several pictures.

    Args:
        pictures: `(B, P, H, W, 3)` uint8; one alone may stand at all P poses.
        origins: `(B, P, 4, 4)` float64 their poses, of which the upper left may also reflect.
        depth: `(B, F, H/2, W/2)` inverse z-depth of the views, 1/m; negative where nothing is known.
        which: `(B, F, H/2, W/2)` int64, the picture that shows it.
        c2w: `(B, F, 4, 4)` poses of the views.
        intrinsics: `(B, 4)` of all, pixels of `(H, W)`.
        beyond: Does what lies beside its picture have the colour of its edge, or none?

    Returns:
        `(B, 4, F, 2, 2, H/2, W/2)`, to be `joined`: the four pixels of each place, of one depth, in planes
        apart. Colours in [-1, 1], 0 where no picture shows the place; and 1 where one does, else 0.
    """
    count, height, width = pictures.shape[1:4]
    fx, fy, cx, cy = intrinsics.float()[:, :, None, None].unbind(1)  # (B, 1, 1)
    # From each view to each picture, and of that the one that a place needs: (B, F, h, w) of every entry.
    moves = torch.stack([relative_poses(origins[:, p], c2w) for p in range(origins.shape[1])], 2)[..., :3, :].float()
    views = torch.arange(moves.shape[0] * moves.shape[1], device=which.device).view(*moves.shape[:2], 1, 1)
    turn = F.embedding(which + views * moves.shape[2], moves.flatten(3).flatten(0, 2)).unflatten(4, (3, 4))
    inverse = depth.clamp_min(0)
    rows, columns = (torch.arange(n, dtype=torch.float32, device=depth.device) + 0.5 for n in (height, width))
    across = ((columns.view(-1, 2).T - cx) / fx)[:, None, :, None]  # (B, 1, 2, 1, w)
    down = ((rows.view(-1, 2).T - cy) / fy)[:, None, :, :, None]  # (B, 1, 2, h, 1)
    x, y, z = (
        (turn[:, :, None, :, :, i, 0] * across + (turn[..., i, 2] + turn[..., i, 3] * inverse)[:, :, None])[:, :, None]
        + (turn[:, :, None, :, :, i, 1] * down)[:, :, :, None]
        for i in range(3)
    )  # (B, F, 2, 2, h, w)
    fx, fy, cx, cy = (value[..., None, None, None, None] for value in (fx[:, 0], fy[:, 0], cx[:, 0], cy[:, 0]))
    ahead = z.clamp_min(_BEHIND)
    column, row = (x / ahead).mul_(fx).add_(cx), (y / ahead).mul_(fy).add_(cy)
    seen = (depth >= 0)[:, :, None, None] & (z > _BEHIND)
    if not beyond:
        seen = seen & (column > 0) & (column < width) & (row > 0) & (row < height)
    # The pictures lie below each other; half a pixel from its edge each is by itself.
    pixels = pictures.permute(0, 4, 1, 2, 3).flatten(2, 3).float().div(127.5).sub(1)
    row = row.clamp(0.5, height - 0.5)
    if count > 1:
        row = row + height * which[:, :, None, None]
    grid = torch.stack((column / width, row / (height * count)), -1) * 2 - 1
    colour = F.grid_sample(pixels, grid.flatten(1, 4), mode="bilinear", padding_mode="border", align_corners=False)
    visible = seen[:, None].to(colour.dtype)
    return torch.cat((colour.view(len(colour), 3, *seen.shape[1:]) * visible, visible), 1)


def joined(planes: Tensor) -> Tensor:
    """`(..., 2, 2, h, w)`, a plane for each pixel of a place, to `(..., 2h, 2w)`."""
    *batch, _, _, rows, columns = planes.shape
    return planes.movedim(-4, -2).movedim(-4, -1).reshape(*batch, 2 * rows, 2 * columns)


def relative_poses(origin: Tensor, c2w: Tensor) -> Tensor:
    """`(B, F, 4, 4)` float64 poses as `origin` `(B, 4, 4)` sees them; elementwise, as in `camera.rays`."""
    turn = origin[:, :3, :3].double().transpose(-1, -2)[:, None, :, :, None]  # (B, 1, 3, 3, 1)
    moved = c2w[:, :, :3].double().clone()
    moved[..., 3] -= origin[:, None, :3, 3].double()
    found = c2w.double().clone()
    found[:, :, :3] = (turn * moved[:, :, None]).sum(-2)
    return found


def landed(
    rays: Tensor,
    inverse: Tensor,
    c2w: Tensor,
    camera: Tensor,
    rows: int,
    columns: int,
    size: int = 2,
    close: float = 0.0,
) -> Tensor:
    """Inverse depth of what a picture puts into each place of the views, -1 where nothing.

    Args:
        rays: `(B, 3, N)` of the picture's pixels, unit depth.
        inverse: `(B, 1, N)` their inverse depth.
        c2w: `(B, F, 4, 4)` poses of the views relative to the picture's.
        camera: `(B, 4)` intrinsics of the views, in pixels of which `size` go on each side of a place.
        rows: Places of the views.
        columns: Likewise.
        size: See `camera`.
        close: Points this close to the camera plane, relative to their distance before, are not drawn.

    Returns:
        `(B, F, rows, columns)`.
    """
    rotation, centre = c2w[..., :3, :3].float(), c2w[..., :3, 3].float()
    moved = rays[:, None] - centre[..., None] * inverse[:, None]  # (B, F, 3, N), scaled by the disparity
    x, y, z = turned(rotation.transpose(-1, -2), moved)
    near = inverse / z.clamp_min(_BEHIND)
    fx, fy, cx, cy = camera[:, :, None, None].unbind(1)
    column = ((x / z.clamp_min(_BEHIND) * fx + cx) / size).floor()
    row = ((y / z.clamp_min(_BEHIND) * fy + cy) / size).floor()
    lands = (z > max(close, _BEHIND)) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    # One more place takes all that lands outside.
    place = torch.where(lands, row * columns + column, rows * columns).long()
    nowhere = near.new_full((*near.shape[:2], rows * columns + 1), -1.0)
    return nowhere.scatter_reduce(-1, place, near, "amax")[..., :-1].unflatten(-1, (rows, columns))


def _thrown_once(disparity: Tensor, c2w: Tensor, intrinsics: Tensor, close: float = 0.0) -> Tensor:
    """See `coarse_disparity` and `landed`."""
    rows, columns = disparity.shape[1:]
    camera = intrinsics.float() / 2
    rays = pixel_rays(rows, columns, camera)
    return landed(rays, disparity.flatten(1)[:, None], c2w, camera, rows, columns, 1, close)


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


def turned(rotation: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
    """Products of `(B, F, 3, 3)` and `(B, F, 3, N)`, row by row; elementwise, for the reason in `camera.rays`."""
    x, y, z = vectors.unbind(-2)
    a, b, c = rotation[..., None].unbind(-2)  # (B, F, 3, 1) columns
    return tuple((a[:, :, i] * x).add_(b[:, :, i] * y).add_(c[:, :, i] * z) for i in range(3))
