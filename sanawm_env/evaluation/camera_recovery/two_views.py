"""Depths of frame 0 from a second view, for videos whose depth nobody knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.camera_recovery.tracks import follow

__all__ = ["start_depths"]

Array = NDArray[np.float64]

SEARCH_FRAMES = 160
"""Frames that are searched for a second view."""
MIN_PARALLAX, GOOD_PARALLAX = np.deg2rad(2.0), np.deg2rad(6.0)
"""Median angle between the rays of a point in both views: the least, and enough to stop the search."""
_MIN_POINTS = 20
_FIT_PIXELS = 1.0
_MIN_ALIVE = 0.3
_STEP = 4


def start_depths(images: list[NDArray[np.uint8]], points: Array, matrix: Array) -> tuple[Array, Array]:
    """Triangulates corners of frame 0 with the later frame that shows the most parallax.

    Args:
        images: `(H, W, 3)` uint8 frames.
        points: `(N, 2)` corners of frame 0, OpenCV pixels.
        matrix: `(3, 3)` intrinsics, OpenCV pixels.

    Returns:
        `(M, 2)` the corners that have a depth, and `(M,)` inverse depths with median 1. If the camera never
        moves far enough, all corners at inverse depth 1: rotations are then right, translations near zero.
    """
    at, alive = points, np.arange(len(points))
    best, widest = (points, np.ones(len(points))), MIN_PARALLAX
    for frame in range(1, min(len(images), SEARCH_FRAMES + 1)):
        found, kept = follow(images[frame - 1], images[frame], at)
        at, alive = found[kept], alive[kept]
        if len(alive) < max(_MIN_POINTS, _MIN_ALIVE * len(points)):
            break
        if frame % _STEP == 0:
            good, inverse, parallax = _triangulate(points[alive], at, matrix)
            if good.sum() >= _MIN_POINTS and parallax >= widest:
                best, widest = (points[alive[good]], inverse / np.median(inverse)), parallax
            if widest >= GOOD_PARALLAX:
                break
    return best


def _triangulate(first: Array, second: Array, matrix: Array) -> tuple[NDArray[np.bool_], Array, float]:
    """Which `(N, 2)` points have a depth, those inverse depths, and their median parallax, rad."""
    nothing = np.zeros(len(first), dtype=bool), np.zeros(0), 0.0
    try:
        essential, inlier = cv2.findEssentialMat(
            first, second, matrix, method=cv2.RANSAC, prob=0.999, threshold=_FIT_PIXELS
        )
        if essential is None or essential.shape != (3, 3):
            return nothing
        _, turn, move, inlier = cv2.recoverPose(essential, first, second, matrix, mask=inlier)
    except cv2.error:  # points in a degenerate position
        return nothing
    to_rays = np.linalg.inv(matrix).T
    turned = np.column_stack([first, np.ones(len(first))]) @ to_rays @ turn.T
    ray = np.column_stack([second, np.ones(len(second))]) @ to_rays
    parallax = np.arctan2(np.linalg.norm(np.cross(turned, ray), axis=1), (turned * ray).sum(1))
    # With inverse depth r the point is at ray_of_first / r, so turned + r * move is parallel to ray.
    lever = np.cross(move[:, 0], ray)
    inverse = -(np.cross(turned, ray) * lever).sum(1) / np.maximum((lever**2).sum(1), 1e-12)
    good = (np.asarray(inlier).ravel() > 0) & (inverse > 1e-4)
    return (good, inverse[good], float(np.median(parallax[good]))) if good.any() else nothing
