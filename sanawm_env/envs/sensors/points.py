"""Points in the world from depth pictures: what has been seen of a world's surfaces."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["depth_points", "seen_points"]

Array = NDArray[np.float64]

JUMP = 0.15
"""Share by which depth must change on both sides of a pixel for it to hang between two surfaces."""
COLUMNS = 128
"""At most so many points are taken of a row of a picture: a body is larger than what lies between them."""


def depth_points(
    depth: NDArray[np.floating], intrinsics: NDArray[np.floating], c2w: Array, *, stride: int = 1, jump: float = JUMP
) -> Array:
    """Points on the surfaces that a depth picture shows.

    A network's depth, and any resized one, runs smoothly from a near surface to a far one. The pixels in between lie
    in empty air, where they would stop a robot that walks past an edge. They are told from surfaces by having
    something nearer on one side and something farther on the other, and are left out; so are surfaces seen at less
    than about ten degrees, which look the same. Edges of near things and the ground behind them stay.

    Args:
        depth: `(H, W)` z-depth, m; infinite, NaN or not positive where nothing is known.
        intrinsics: `(4,)` fx, fy, cx, cy in pixels of `depth`.
        c2w: `(4, 4)` camera-to-world pose, m.
        stride: Of `stride` by `stride` pixels the first one is taken.
        jump: Least relative change of depth on both sides; infinity leaves no pixel out.

    Returns:
        `(M, 3)` finite points in the world's axes (frame 0), m.
    """
    z = np.asarray(depth[::stride, ::stride], np.float64)
    known = np.isfinite(z) & (z > 0)
    far = np.where(known, z, np.inf)
    rows, columns = np.nonzero(known & ~_hangs(far, jump))
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
    z = z[rows, columns]
    seen = np.stack([(columns * stride + 0.5 - cx) / fx * z, (rows * stride + 0.5 - cy) / fy * z, z], -1)
    # Sums of products instead of a matmul, whose last bits depend on the number of points.
    return (seen[:, None, :] * c2w[:3, :3]).sum(-1) + c2w[:3, 3]


def seen_points(
    depth: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    c2w: Array,
    first_disparity: NDArray[np.floating] | None = None,
) -> Array:
    """All that is known of a world's surfaces: what its depth shows now, and what frame 0 showed.

    What frame 0 showed stays known when the camera has turned away, so that moves sideways and backwards along it
    can be judged.

    Args:
        depth: `(H, W)` z-depth of the present frame, m.
        intrinsics: `(4,)` fx, fy, cx, cy in pixels of the frame.
        c2w: `(4, 4)` its camera-to-world pose, m, relative to frame 0.
        first_disparity: `(h, w)` inverse z-depth of frame 0, 1/m, 0 for the sky (`WorldState.first_disparity`);
            None or empty for a world without.

    Returns:
        `(M, 3)` points, m.
    """
    # Depth that is known at half resolution has four equal pixels to a value, or a ramp between two.
    now = depth_points(depth, intrinsics, c2w, stride=max(2, math.ceil(depth.shape[1] / COLUMNS)))
    if first_disparity is None or not first_disparity.size:
        return now
    scale = first_disparity.shape[1] / depth.shape[1], first_disparity.shape[0] / depth.shape[0]
    with np.errstate(divide="ignore"):
        first = 1 / np.asarray(first_disparity, np.float64)
    before = depth_points(first, np.asarray(intrinsics, np.float64) * (scale * 2), np.eye(4))
    return np.concatenate([now, before])


def _hangs(z: Array, jump: float) -> NDArray[np.bool_]:
    """Whether each pixel of `(H, W)` lies between a nearer and a farther neighbour, along its row or its column."""
    hangs = np.zeros(z.shape, bool)
    if not np.isfinite(jump):
        return hangs
    near, far = z / (1 + jump), z * (1 + jump)
    for axis in (0, 1):
        count = z.shape[axis]
        at = np.arange(count)
        before, after = z.take((at - 1).clip(0), axis), z.take((at + 1).clip(None, count - 1), axis)
        hangs |= (np.minimum(before, after) < near) & (np.maximum(before, after) > far)
    return hangs
