"""Nearest intersection of pinhole rays with a scene, as straight-line tensor arithmetic.

Every solid is a unit shape in its own scaled and turned frame. A pixel's ray is `(x, y, 1)` in the camera,
so its direction in a solid's frame is `a * x + (b * y + c)` per axis, with coefficients that depend only
on frame and solid: turning a solid costs nothing per ray, and the ray parameter is the z-depth itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS, NUM_SOLIDS, Scene

MIN_DEPTH = 1e-3
"""Solids nearer than this (m) are not seen."""
MISS = 1e9
"""Depth that stands for no hit, m."""


@dataclass(frozen=True)
class Rays:
    """Per-frame coefficients of rays in the frames of shell and solids, of `B` scenes."""

    shell: Tensor
    """(B, F, 3, 4) per local axis the factors of x, y and 1 in the direction, and the origin."""
    boxes: Tensor
    """(B, N, F, 3, 4) the same for each box."""
    cylinders: Tensor
    """(B, N, F, 14) quadric of the mantle (10, see `_quadric`), then the row of the upright axis (4)."""
    ellipsoids: Tensor
    """(B, N, F, 10) quadric."""


def prepare(scene: Scene, c2w: Tensor) -> Rays:
    """Turns poses (B, F, 4, 4) into the coefficients that `trace` reads."""
    center = torch.cat([scene.center, scene.shell_center[:, None]], 1)
    scale = 1 / torch.cat([scene.half, scene.shell_half[:, None]], 1)
    cos = torch.cat([scene.turn[..., 0], torch.ones_like(center[:, :1, 0])], 1)
    sin = torch.cat([scene.turn[..., 1], torch.zeros_like(center[:, :1, 0])], 1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    to_local = torch.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], -1).unflatten(-1, (3, 3))
    to_local = (to_local * scale[..., None])[:, :, None]  # (B, S+1, 1, 3, 3)
    # Sums of products instead of a matmul, which may round differently with another batch size.
    turn = (to_local[..., None] * c2w[:, None, :, None, :3, :3]).sum(-2)
    rel = c2w[:, None, :, :3, 3] - center[:, :, None]
    origin = (to_local * rel[..., None, :]).sum(-1)
    # The tiny offset keeps rays that are exactly parallel to a face from dividing zero by zero.
    turn = turn + torch.tensor([0.0, 0.0, 1e-8], dtype=turn.dtype, device=turn.device)
    rows = torch.cat([turn, origin[..., None]], -1)  # (B, S+1, F, 3, 4)
    tubes, balls = NUM_BOXES, NUM_BOXES + NUM_CYLINDERS
    upright = rows[:, tubes:balls]
    mantle = _quadric(upright[..., (0, 2), :])
    return Rays(
        shell=rows[:, NUM_SOLIDS].contiguous(), boxes=rows[:, :tubes].contiguous(),
        cylinders=torch.cat([mantle, upright[..., 1, :]], -1),
        ellipsoids=_quadric(rows[:, balls:NUM_SOLIDS]),
    )  # fmt: skip


def _quadric(rows: Tensor) -> Tensor:
    """Coefficients of |direction|^2 (6), direction . origin (3) and |origin|^2 - 1: (..., A, 4) to (..., 10)."""
    p, q, r, o = rows.unbind(-1)
    squares = [p * p, 2 * p * q, 2 * p * r, q * q, 2 * q * r, r * r, p * o, q * o, r * o, o * o]
    total = torch.stack([s.sum(-1) for s in squares], -1)
    return torch.cat([total[..., :9], total[..., 9:] - 1], -1)


def trace(
    shell: Tensor, boxes: Tensor, cylinders: Tensor, ellipsoids: Tensor, number: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Finds the nearest surface along each ray of one scene.

    Solids of one kind are a leading axis that is reduced by a minimum, which the compiler turns into one loop
    with everything in registers. The nearest solid's number rides along in the lowest bits of the depth: for
    positive floats the order of the bit patterns is the order of the numbers.

    Args:
        shell: (F, 3, 4), as the next three from `prepare`.
        boxes: (N, F, 3, 4).
        cylinders: (N, F, 14).
        ellipsoids: (N, F, 10).
        number: (number of all solids,) int32, the material row of each.
        x: (1, 1, W) horizontal ray slopes of the pixel centres.
        y: (1, H, 1) vertical ray slopes.

    Returns:
        z-depth (F, H, W) in metres and the material row (F, H, W), int32.
    """
    # The shell is seen from inside: the nearest of its three exits, and the side on which it lies.
    (tx, dx), (ty, dy), (tz, dz) = (_exit(shell[:, axis], x, y) for axis in range(3))
    depth = torch.minimum(torch.minimum(tx, ty), tz)
    row = torch.where(tx < tz, torch.where(dx > 0, 3, 2), torch.where(dz > 0, 5, 4))
    row = torch.where(ty <= depth, torch.where(dy > 0, 0, 1), row) + NUM_SOLIDS
    first = 0
    for part, hit in ((boxes, _box), (cylinders, _cylinder), (ellipsoids, _round)):
        if not len(part):
            continue
        near, far = hit(part, x, y)
        near = torch.where((near < far) & (near > MIN_DEPTH), near, MISS)
        key = (near.view(torch.int32) & ~63) | number[first : first + len(part), None, None, None]
        found, closest = near.amin(0), key.amin(0) & 63
        row = torch.where(found < depth, closest, row)
        depth = torch.minimum(found, depth)
        first += len(part)
    return depth, row.to(torch.int32)


def _spread(coef: Tensor) -> tuple[Tensor, ...]:
    return tuple(c[..., None, None] for c in coef.unbind(-1))


def _exit(axis: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays leave -1 <= position <= 1 on one axis, and their direction along it."""
    a, b, c, origin = _spread(axis)
    direction = a * x + (b * y + c)
    # Exactly zero happens, to one pixel in millions; infinity less infinity would be its depth.
    inverse = 1 / torch.where(direction == 0, 1e-12, direction)
    return inverse.abs() - origin * inverse, direction


def _slab(axis: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave -1 <= position <= 1 on one axis."""
    a, b, c, origin = _spread(axis)
    inverse = 1 / (a * x + (b * y + c))
    middle, reach = -origin * inverse, inverse.abs()
    return middle - reach, middle + reach


def _box(coef: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    (nx, fx), (ny, fy), (nz, fz) = (_slab(coef[..., axis, :], x, y) for axis in range(3))
    return torch.maximum(torch.maximum(nx, ny), nz), torch.minimum(torch.minimum(fx, fy), fz)


def _round(coef: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a quadric. A miss is NaN, which no comparison with other depths passes."""
    xx, xy, x1, yy, y1, one, bx, by, b1, c = _spread(coef)
    a = x * (x * xx + (y * xy + x1)) + (y * (y * yy + y1) + one)
    b = x * bx + (y * by + b1)
    root = (b * b - a * c).sqrt()
    return (-b - root) / a, (root - b) / a


def _cylinder(coef: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    (near, far), (top, bottom) = _round(coef[..., :10], x, y), _slab(coef[..., 10:], x, y)
    return torch.maximum(near, top), torch.minimum(far, bottom)
