"""What tasks measure: distances and relative poses, the decay of pictures, their likeness, and Habitat's metrics.

SPL: Anderson et al. 2018, "On Evaluation of Embodied Navigation Agents"; soft SPL: Datta et al. 2020, "Integrating
Egocentric Localization"; formulas as in Habitat-Lab 0.3, `habitat/tasks/nav/nav.py`.

Poses are rigid here (`camera.pose.validate_c2w` sees to it), so that scipy need not make them so: its check costs
twenty times what it checks. Leading axes go through one, and sums run in one order, so that a slot gets the same bits
alone and beside others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera.resize import shrunk

__all__ = [
    "CEILING_DB",
    "angle_between",
    "appearance",
    "appearances",
    "decay",
    "lengths",
    "motion_between",
    "path_length",
    "psnr",
    "seen_from",
    "similarity",
    "soft_spl",
    "spl",
]

Array = NDArray[np.float64]

CEILING_DB = 100.0
"""PSNR given to equal images, so that means stay finite."""
_COLOUR_SCALE = 64.0
"""Levels of 255 by which the mean colour has moved when nothing of it is left."""

# -- poses ------------------------------------------------------------------------------------------------------


def lengths(vectors: Array) -> Array:
    """Lengths of vectors `(..., 3)`."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def path_length(start: Array, c2w: Array) -> Array:
    """Metres travelled from positions `start` `(..., 3)` along poses `(..., F, 4, 4)`; shape `(...)`."""
    points = np.concatenate([start[..., None, :], c2w[..., :3, 3]], axis=-2)
    return np.asarray(lengths(points[..., 1:, :] - points[..., :-1, :]).sum(-1))


def motion_between(a: Array, b: Array) -> Array:
    """`(..., 6)` poses `b` in the frames of cameras `a`: translation in metres, rotation vector in radians.

    Args:
        a: `(..., 4, 4)`.
        b: `(..., 4, 4)`; leading axes broadcast.
    """
    back = np.swapaxes(a[..., :3, :3], -1, -2)
    turn = back @ b[..., :3, :3]
    shift = (back @ (b[..., :3, 3:] - a[..., :3, 3:]))[..., 0]
    rotvec = Rotation.from_matrix(turn.reshape(-1, 3, 3), assume_valid=True).as_rotvec()
    return np.concatenate([shift, rotvec.reshape(shift.shape)], axis=-1)


def angle_between(a: Array, b: Array) -> float:
    """Angle in degrees, 0 to 180, between the rotations of two poses `(4, 4)`."""
    turn = a[:3, :3].T @ b[:3, :3]
    return float(np.degrees(Rotation.from_matrix(turn, assume_valid=True).magnitude()))


def seen_from(c2w: Array, points: ArrayLike) -> Array:
    """World points `(..., 3)` in the frame of a camera `(4, 4)`, metres."""
    return (np.asarray(points, dtype=np.float64) - c2w[:3, 3]) @ c2w[:3, :3]


# -- pictures ---------------------------------------------------------------------------------------------------


def appearance(frame: NDArray[np.uint8]) -> Array:
    """`(5,)` mean red, green and blue, contrast (standard deviation, levels), and saturation (0..1) of a frame.

    A cheap look at every step's last frame, for the drift guard; the careful measures are in
    `sanawm_env.evaluation.metrics.drift` and take many times as long.

    Args:
        frame: `(H, W, 3)` uint8 RGB. Looked at in a quarter of its size: decay is coarse.
    """
    return appearances([frame])[0]


def appearances(frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Array:
    """`(N, 5)` the `appearance` of N frames of one size, each with the bits that it has alone."""
    small = np.stack([shrunk(frame, 4) for frame in frames])
    colours = np.ascontiguousarray(small.reshape(len(small), -1, 3).swapaxes(1, 2))
    # Whole numbers up to the last division: exact in any order, and a blank picture has a contrast of exactly 0.
    count = colours.shape[2]
    sums = colours.sum(2, dtype=np.int64)
    squares = np.square(colours, dtype=np.uint16).sum(2, dtype=np.int64)
    contrast = np.sqrt(count * squares - sums * sums).mean(1) / count
    high, low = colours.max(1), colours.min(1)
    saturation = (high - low) / np.maximum(high, 1)
    return np.concatenate([sums / count, contrast[:, None], saturation.mean(1)[:, None]], axis=1)


def decay(first: Array, now: Array) -> float:
    """How much of the first frame's appearance is gone, in [0, 1].

    The largest of four: contrast lost, contrast gained (three times the first counts as all) and saturation gained (as
    a share of what it could gain), for worlds break into bright coloured blocks, and mean colour moved (64 levels count
    as all). It also rises when the camera looks at something else, a plain wall for instance; therefore limits belong
    near 1.

    Args:
        first: `appearance` of the episode's first frame.
        now: `appearance` of the present one.
    """
    red, green, blue, contrast, saturation = first.tolist()
    red_now, green_now, blue_now, contrast_now, saturation_now = now.tolist()
    share = contrast_now / contrast if contrast > 0 else 1.0
    moved = (abs(red_now - red) + abs(green_now - green) + abs(blue_now - blue)) / 3 / _COLOUR_SCALE
    gained = (saturation_now - saturation) / (1 - saturation) if saturation < 1 else 0.0
    return float(min(max(1 - share, (share - 1) / 2, gained, moved, 0.0), 1.0))


def similarity(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """One minus the mean absolute difference of two pictures in an eighth of their size, in [0, 1]."""
    small = [shrunk(each, 8).astype(np.float64) for each in (a, b)]
    return 1 - float(np.abs(small[0] - small[1]).mean()) / 255


def psnr(frames: ArrayLike, truth: ArrayLike) -> Array:
    """Peak signal-to-noise ratio of each image.

    Args:
        frames: `(..., H, W, 3)` uint8.
        truth: Likewise; leading axes broadcast.

    Returns:
        `(...)` dB, at most `CEILING_DB`.

    Raises:
        ValueError: Not uint8, or images of different sizes.
    """
    ours, theirs = np.asarray(frames), np.asarray(truth)
    if ours.dtype != np.uint8 or theirs.dtype != np.uint8:
        raise ValueError(f"psnr compares uint8 images; got {ours.dtype} and {theirs.dtype}.")
    if ours.ndim < 3 or ours.shape[-3:] != theirs.shape[-3:]:
        raise ValueError(f"psnr needs images (..., H, W, C) of one size; got {ours.shape} and {theirs.shape}.")
    error = np.square(ours.astype(np.float32) - theirs.astype(np.float32)).mean((-3, -2, -1), dtype=np.float64)
    floor = 255.0**2 * 10 ** (-CEILING_DB / 10)
    return np.asarray(10 * np.log10(255.0**2 / np.maximum(error, floor)))


# -- Habitat's metrics ------------------------------------------------------------------------------------------


def spl(success: bool, shortest: float, travelled: float) -> float:
    """Success weighted by path length, in [0, 1].

    Args:
        success: Whether the goal is reached.
        shortest: Metres of the shortest path from the start.
        travelled: Metres gone so far.
    """
    return float(success) * _efficiency(shortest, travelled)


def soft_spl(distance: float, shortest: float, travelled: float) -> float:
    """SPL with the share of the way that is done in place of success, in [0, 1].

    Args:
        distance: Metres left.
        shortest: Metres of the shortest path from the start.
        travelled: Metres gone so far.
    """
    progress = max(0.0, 1.0 - distance / shortest) if shortest > 0 else float(distance <= 0)
    return progress * _efficiency(shortest, travelled)


def _efficiency(shortest: float, travelled: float) -> float:
    longest = max(shortest, travelled)
    return shortest / longest if longest > 0 else 1.0
