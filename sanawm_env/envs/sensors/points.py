"""From depth to points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["points_of"]


def points_of(
    depth: NDArray[np.float32], intrinsics: NDArray[np.floating], c2w: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`(M, 3)` points in the world's axes, of the finite pixels only.

    Args:
        depth: `(H, W)` z-depth, metres.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels.
        c2w: `(4, 4)` pose of the camera.
    """
    rows, columns = np.nonzero(np.isfinite(depth))
    z = depth[rows, columns].astype(np.float64)
    fx, fy, cx, cy = intrinsics
    local = np.stack([(columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z], axis=1)
    return local @ c2w[:3, :3].T + c2w[:3, 3]
