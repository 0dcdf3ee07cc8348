"""What the generators of textured clips have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Take", "pinhole"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Take:
    """One clip of known truth."""

    rgb: NDArray[np.uint8]
    """(F, H, W, 3)."""
    depth: NDArray[np.float32]
    """(F, H, W) z-depth, m; infinite for the sky."""
    c2w: Array
    """(F, 4, 4) camera-to-world in the source's world, OpenCV axes, m."""
    intrinsics: Array
    """(4,) fx, fy, cx, cy, px."""


def pinhole(height: int, width: int, fov: float) -> Array:
    """Intrinsics (4,) px of square pixels from the horizontal field of view, degrees."""
    focal = width / 2 / math.tan(math.radians(fov) / 2)
    return np.array([focal, focal, width / 2, height / 2])
