"""A planar laser scan out of depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scan", "laser_scan"]


@dataclass(frozen=True)
class Scan:
    """Settings of the sensor `scan`."""

    rays: int = 90
    """Number of ranges."""
    fov_deg: float | None = None
    """Degrees from the first to the last ray; None is the camera's."""
    range_min: float = 0.1
    """Metres."""
    range_max: float = 10.0
    """Metres."""
    below: float = 0.0
    """Metres of the scanned plane below the camera."""
    thickness: float = 0.2
    """Metres of the slab about that plane whose points count."""


def laser_scan(
    depth: NDArray[np.float32], intrinsics: NDArray[np.floating], c2w: NDArray[np.float64], scan: Scan
) -> tuple[NDArray[np.float32], float, float]:
    """Ranges `(rays,)` as in REP-117, the angle of the first and the angle between two, radians.

    Args:
        depth: `(H, W)` z-depth, metres.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels.
        c2w: `(4, 4)` pose of the camera.
        scan: Settings.
    """
    fx, _, cx, cy = map(float, intrinsics)
    height, width = depth.shape
    fov = 2 * math.atan(width / (2 * fx)) if scan.fov_deg is None else math.radians(scan.fov_deg)
    angles = np.linspace(-fov / 2, fov / 2, scan.rays)
    columns = np.floor(cx - fx * np.tan(angles)).astype(int)
    seen = (columns >= 0) & (columns < width)
    row = min(max(int(cy), 0), height - 1)
    ranges = np.full(scan.rays, np.nan, np.float32)
    ranges[seen] = depth[row, columns[seen]] / np.cos(angles[seen])
    ranges[seen & (ranges > scan.range_max)] = np.inf
    ranges[seen & (ranges < scan.range_min)] = -np.inf
    return ranges, -fov / 2, fov / max(1, scan.rays - 1)
