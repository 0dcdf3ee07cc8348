"""Beyond the first view: which pixels frame 0 never showed, a path that goes to look at them and comes back, scores.

A world that starts from one image knows what the image shows. All else it makes up, and what it makes up can only be
judged by its look (is it as sharp as a true picture?), and against itself (is it still there later?).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.metrics.revisit import loop_path
from sanawm_env.evaluation.metrics.similarity import luma, ssim_map

__all__ = [
    "LEG_S",
    "SKY",
    "TURN_DEG_S",
    "energy",
    "glances",
    "look_away",
    "masked_psnr",
    "masked_ssim",
    "peaks",
    "split_by_first",
]

TURN_DEG_S = 24.0
"""Turning speed, degrees per second: the fastest of the training paths."""
LEG_S = 5.0
"""Seconds from the first view to the far end: 114 degrees away, past the edge of every camera's first view."""
GLANCE_S = 1.5
"""Seconds after which the camera, 36 degrees away, still has a part of the first view before it."""
_AGREE = 0.05
"""Relative difference of depth up to which two views show the same surface."""
SKY = 1e6
"""Metres that stand for infinitely many."""
_EDGE = 3
"""Pixels around the border of the mask that count for neither side."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def look_away(c2w: ArrayLike, seconds: float, side: int, fps: float = 16.0) -> Array:
    """Turn away while walking along a path, come back the same way, and do it again and again.

    Positions are those of the path; the camera keeps the pitch that it begins with.

    Every `2 * LEG_S` seconds the camera is home, at frame 0's own pose, and in the middle between (`peaks`) it stands
    where it stood at every such moment, looking at a place that frame 0 does not show.

    Args:
        c2w: `(F, 4, 4)` a path through free space, at least `LEG_S` long, in a world whose y axis points down.
        seconds: Length.
        side: 1 turns right, -1 left.
        fps: Frames per second.

    Returns:
        `(round(seconds * fps) + 1, 4, 4)`.

    Raises:
        ValueError: The path is too short or not rigid, or `side` is neither 1 nor -1.
    """
    if side not in (1, -1):
        raise ValueError(f"side must be 1 (right) or -1 (left); got {side}.")
    poses = np.array(c2w, dtype=np.float64)[: round(LEG_S * fps) + 1]
    angles = side * np.deg2rad(TURN_DEG_S) / fps * np.arange(len(poses))
    # About the vertical: +y is down, so that a positive turn goes to the right.
    poses[:, :3, :3] = Rotation.from_euler("y", angles[:, None]).as_matrix() @ poses[0, :3, :3]
    loop = loop_path(poses, LEG_S, fps)
    wanted, lap = round(seconds * fps) + 1, len(loop) - 1
    return np.asarray(loop[np.arange(wanted) % lap])


def peaks(seconds: float, fps: float = 16.0) -> list[int]:
    """Frames of `look_away` at which the camera looks furthest away."""
    return _of_each_lap(LEG_S, seconds, fps)


def glances(seconds: float, fps: float = 16.0) -> list[int]:
    """Frames of `look_away`, `GLANCE_S` into each lap, that show both what frame 0 showed and what it did not."""
    return _of_each_lap(GLANCE_S, seconds, fps)


def split_by_first(depth: ArrayLike, c2w: ArrayLike, intrinsics: ArrayLike, depth0: ArrayLike) -> tuple[Mask, Mask]:
    """Which pixels show what frame 0 showed, and which do not, by true geometry.

    Args:
        depth: `(H, W)` true z-depth of the frame, metres; infinite for the sky.
        c2w: `(4, 4)` pose relative to frame 0.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels, the corner of the picture being (0, 0).
        depth0: `(H, W)` true z-depth of frame 0.

    Returns:
        Seen and unseen, `(H, W)` each; pixels close to the border between them are in neither.
    """
    seen = _projected_into_first(*(np.asarray(v, np.float64) for v in (depth, c2w, intrinsics, depth0)))
    kernel = np.ones((2 * _EDGE + 1,) * 2, np.uint8)
    inner = [cv2.erode(v.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) for v in (seen, ~seen)]
    return inner[0].astype(bool), inner[1].astype(bool)


def energy(frame: NDArray[np.uint8], where: Mask) -> float:
    """Mean gradient energy of the luma (Tenengrad, as `drift.Look.sharpness`) over some pixels; NaN over none."""
    plane = luma(frame)
    across, down = (cv2.Sobel(plane, cv2.CV_64F, *d, scale=1 / 8) for d in ((1, 0), (0, 1)))
    return float((across**2 + down**2)[where].mean()) if where.any() else float("nan")


def masked_psnr(frame: NDArray[np.uint8], truth: NDArray[np.uint8], where: Mask) -> float:
    """PSNR over some pixels in dB, at most 100; NaN over none."""
    if not where.any():
        return float("nan")
    error = np.square(frame[where].astype(np.float64) - truth[where]).mean()
    return float(min(100.0, 10 * np.log10(255.0**2 / max(error, 1e-10))))


def masked_ssim(frame: NDArray[np.uint8], truth: NDArray[np.uint8], where: Mask) -> float:
    """Structural similarity (`similarity.ssim_map`) over some pixels; NaN over none."""
    return float(ssim_map(frame, truth)[where].mean()) if where.any() else float("nan")


def _of_each_lap(after_s: float, seconds: float, fps: float) -> list[int]:
    """Frames that come so long after the beginning of a lap."""
    return list(range(round(after_s * fps), round(seconds * fps) + 1, 2 * round(LEG_S * fps)))


def _projected_into_first(depth: Array, c2w: Array, intrinsics: Array, depth0: Array) -> Mask:
    """Whether each pixel's surface is the one that frame 0 shows at the place where it falls."""
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics
    x, y = np.meshgrid((np.arange(width) + 0.5 - cx) / fx, (np.arange(height) + 0.5 - cy) / fy)
    far = np.minimum(depth, SKY)
    points = np.stack((x, y, np.ones_like(x)), -1) * far[..., None] @ c2w[:3, :3].T + c2w[:3, 3]
    z = points[..., 2]
    ahead = np.maximum(z, 1e-6)
    column = np.floor(points[..., 0] / ahead * fx + cx)
    row = np.floor(points[..., 1] / ahead * fy + cy)
    inside = (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = depth0[np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)]
    # The z-depth of a far point is another in every camera, also to infinity: nothing lies behind the sky.
    return np.asarray(inside & ((z <= there * (1 + _AGREE)) | (there >= SKY)))
