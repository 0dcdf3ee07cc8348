"""Nearest intersection of pinhole rays with a scene, as straight-line tensor arithmetic.

Every solid is a unit shape in its own scaled and turned frame. A pixel's ray is `(x, y, 1)` in the camera,
so its direction in a solid's frame is `a * x + (b * y + c)` per axis, with coefficients that depend only
on frame and solid: turning a solid costs nothing per ray, and the ray parameter is the z-depth itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS, NUM_SOLIDS, Scene

MIN_DEPTH = 1e-3
"""Solids nearer than this (m) are not seen."""


def coefficients(scene: Scene, c2w: Tensor) -> Tensor:
    """Rays in the frame of every solid, and of the shell as the last one.

    Args:
        scene: `B` scenes.
        c2w: (B, F, 4, 4) camera-to-world poses.

    Returns:
        (B, F, S+1, 3, 4): per solid and local axis the factors of x, y and 1 in the direction, and the origin.
    """
    center = torch.cat([scene.center, scene.shell_center[:, None]], 1)
    scale = 1 / torch.cat([scene.half, scene.shell_half[:, None]], 1)
    cos = torch.cat([scene.turn[..., 0], torch.ones_like(center[:, :1, 0])], 1)
    sin = torch.cat([scene.turn[..., 1], torch.zeros_like(center[:, :1, 0])], 1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    to_local = torch.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], -1).unflatten(-1, (3, 3))
    to_local = to_local * scale[..., None]  # (B, S+1, 3, 3)
    # Written as sums of products: a batched matmul may round differently with another batch size.
    left = to_local[:, None, :, :, :, None]
    turn = (left * c2w[:, :, None, None, :3, :3]).sum(-2)
    rel = c2w[:, :, None, :3, 3] - center[:, None]
    origin = (to_local[:, None] * rel[..., None, :]).sum(-1)
    # The tiny offset keeps rays that are exactly parallel to a face from dividing zero by zero.
    offset = torch.tensor([0.0, 0.0, 1e-8], device=turn.device)
    return torch.cat([turn + offset, origin[..., None]], -1)


def trace(coef: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the nearest surface along each ray.

    Args:
        coef: (F, S+1, 3, 4) from `coefficients`, of one scene.
        x: (1, 1, W) horizontal ray slopes of the pixel centres.
        y: (1, H, 1) vertical ray slopes.

    Returns:
        z-depth (F, H, W) in metres and the material row (F, H, W) as float.
    """

    def ray(solid: int, axis: int) -> tuple[Tensor, Tensor]:
        a, b, c, o = (coef[:, solid, axis, i, None, None] for i in range(4))
        return a * x + (b * y + c), o

    def slab(solid: int, axis: int) -> tuple[Tensor, Tensor]:
        direction, origin = ray(solid, axis)
        inverse = 1 / direction
        middle, reach = -origin * inverse, inverse.abs()
        return middle - reach, middle + reach

    # The shell is seen from inside: the nearest of its three exits, and the side on which it lies.
    exits = []
    for axis in range(3):
        direction, origin = ray(NUM_SOLIDS, axis)
        inverse = 1 / direction
        exits.append((-origin * inverse + inverse.abs(), direction))
    (tx, dx), (ty, dy), (tz, dz) = exits
    best = torch.minimum(torch.minimum(tx, ty), tz)
    row_x, row_z = torch.where(dx > 0, 3.0, 2.0), torch.where(dz > 0, 5.0, 4.0)
    row = torch.where(tx < tz, row_x, row_z)
    row = torch.where(ty <= best, torch.where(dy > 0, 0.0, 1.0), row) + float(NUM_SOLIDS)

    for solid in range(NUM_SOLIDS):
        if solid < NUM_BOXES:
            (nx, fx), (ny, fy), (nz, fz) = (slab(solid, axis) for axis in range(3))
            near = torch.maximum(torch.maximum(nx, ny), nz)
            far = torch.minimum(torch.minimum(fx, fy), fz)
        else:
            axes = (0, 2) if solid < NUM_BOXES + NUM_CYLINDERS else (0, 1, 2)
            rays = [ray(solid, axis) for axis in axes]
            qa = sum((d * d for d, _ in rays), torch.zeros_like(best))
            qb = sum((d * o for d, o in rays), torch.zeros_like(best))
            qc = sum((o * o for _, o in rays), torch.zeros_like(coef[:, 0, 0, 0, None, None])) - 1
            # A miss has a negative discriminant; the huge root makes near > far there.
            disc = qb * qb - qa * qc
            inverse = 1 / qa
            root = torch.where(disc > 0, disc.clamp_min(0).sqrt(), -1.0) * inverse
            near, far = -qb * inverse - root, -qb * inverse + root
            if len(axes) == 2:
                ny, fy = slab(solid, 1)
                near, far = torch.maximum(near, ny), torch.minimum(far, fy)
        hit = (near < torch.minimum(far, best)) & (near > MIN_DEPTH)
        best = torch.where(hit, near, best)
        row = torch.where(hit, float(solid), row)
    return best, row
