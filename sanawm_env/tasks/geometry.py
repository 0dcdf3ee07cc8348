"""Distances and relative poses, as tasks measure them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

__all__ = ["angle_between", "motion_between", "path_length", "seen_from"]

Array = NDArray[np.float64]


def path_length(start: Array, c2w: Array) -> float:
    """Metres travelled from position `start` `(3,)` along poses `(F, 4, 4)`."""
    points = np.concatenate([start[None], c2w[:, :3, 3]])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def angle_between(a: Array, b: Array) -> float:
    """Angle in degrees, 0 to 180, between the rotations of two poses `(4, 4)`."""
    return float(np.degrees((Rotation.from_matrix(a[:3, :3]).inv() * Rotation.from_matrix(b[:3, :3])).magnitude()))


def motion_between(a: Array, b: Array) -> Array:
    """`(6,)` pose `b` in the frame of camera `a`: translation in metres, rotation vector in radians."""
    turn = Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).as_rotvec()
    return np.concatenate([a[:3, :3].T @ (b[:3, 3] - a[:3, 3]), turn])


def seen_from(c2w: Array, points: ArrayLike) -> Array:
    """World points `(..., 3)` in the frame of a camera `(4, 4)`, metres."""
    return (np.asarray(points, dtype=np.float64) - c2w[:3, 3]) @ c2w[:3, :3]
