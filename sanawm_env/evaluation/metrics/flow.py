"""Optical flow as a judge of camera motion: which way does the picture move?

The estimator is OpenCV's dense inverse search (DIS). On this project's scenes, also blurred and noised as an
undertrained model draws them, it found the right direction more often than Farneback's method, which reports
no motion at all on large plain surfaces.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.metrics.commands import Motion

__all__ = ["GAP", "MIN_SCORE", "has_direction", "motion_score"]

GAP = 4
"""Frames between the two images of a flow field: at typical speeds the picture then moves some pixels."""
MIN_SCORE = 0.02
"""Pixels per frame below which the picture counts as standing still, which is no direction."""
_BORDER = 4
"""Pixels at the image border that are left out: their content enters or leaves the view."""
_MIN_SIDE = 32

Plane = NDArray[np.float32]


def motion_score(frames: ArrayLike, motion: Motion, principal: tuple[float, float], gap: int = GAP) -> float:
    """How fast, and which way, a video moves along one camera axis.

    The component of the flow that the motion should produce (x for yaw, y for pitch, away from the principal
    point for forward) is pooled over all image pairs `gap` frames apart, and its weighted median taken. A
    pixel weighs as much as the picture changes along that component there, because flow across plain areas
    and along edges cannot be seen.

    Args:
        frames: `(F, H, W, 3)` uint8 RGB, at least two frames.
        motion: The axis to judge.
        principal: cx, cy in pixels.
        gap: Frames between the two images of a pair; a shorter video uses its first and last frame.

    Returns:
        Pixels per frame: positive where the camera turns right (content moves left), looks up (content moves
        down) or moves forward (content expands); 0 for a picture without any texture.

    Raises:
        ValueError: Frames of another kind, fewer than two, or smaller than 32 pixels on a side.
    """
    video = np.asarray(frames)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) < 2:
        raise ValueError(f"motion_score needs (F >= 2, H, W, 3) uint8 frames; got {video.shape} {video.dtype}.")
    if min(video.shape[1:3]) < _MIN_SIDE:
        raise ValueError(f"frames of {video.shape[1:3]} pixels are too small for optical flow; need {_MIN_SIDE}.")
    if gap < 1:
        raise ValueError(f"gap must be at least 1 frame; got {gap}.")
    gap = min(gap, len(video) - 1)
    across, down = _direction(motion, video.shape[1], video.shape[2], principal)
    used = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video[::gap]]
    inner = (slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
    speeds, weights = [], []
    for before, after in pairwise(used):
        flow: Any = _flow(before, after)
        speeds.append((flow[..., 0] * across + flow[..., 1] * down)[inner])
        weights.append(_texture(before, across, down)[inner])
    return _weighted_median(np.stack(speeds), np.stack(weights)) / gap


def has_direction(score: float, sign: int) -> bool:
    """Whether a `motion_score` has the commanded sign and is more than standing still."""
    return score * sign > MIN_SCORE


def _direction(motion: Motion, height: int, width: int, principal: tuple[float, float]) -> tuple[Plane, Plane]:
    """Unit vector, per pixel, along which content moves for a positive motion."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    if motion == "yaw":
        return np.full_like(x, -1), np.zeros_like(y)
    if motion == "pitch":
        return np.zeros_like(x), np.ones_like(y)
    if motion == "forward":
        x, y = x - principal[0], y - principal[1]
        radius = np.maximum(np.hypot(x, y), 1e-3)
        return x / radius, y / radius
    raise ValueError(f"motion must be yaw, pitch or forward; got {motion!r}.")


def _flow(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Plane:
    """`(H, W, 2)` pixels to the right and down."""
    estimator: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    found: Plane = estimator.calc(before, after, None)
    return found


def _texture(image: NDArray[np.uint8], across: Plane, down: Plane) -> Plane:
    """How much the picture changes along a direction, spread over the neighbourhood that flow is matched in."""
    slope = cv2.Sobel(image, cv2.CV_32F, 1, 0) * across + cv2.Sobel(image, cv2.CV_32F, 0, 1) * down
    return np.asarray(cv2.GaussianBlur(np.abs(slope), (0, 0), 2), dtype=np.float32)


def _weighted_median(values: Plane, weights: Plane) -> float:
    order = np.argsort(values, axis=None)
    total = np.cumsum(weights.ravel()[order], dtype=np.float64)
    if not total[-1] > 0:
        return 0.0
    return float(values.ravel()[order[np.searchsorted(total, total[-1] / 2)]])
