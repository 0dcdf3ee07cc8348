"""What a clip's tracks say before any mapping: does the camera move, does it only turn, how long is its lens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera.opencv import cv2
from sanawm_env.data.annotation.structure.tracks import Tracks, shared

__all__ = ["bearings", "guess_focal", "largest_shift", "parallax", "turn_only", "zoom"]

Array = NDArray[np.float64]

FOCALS = 0.5 / np.tan(np.deg2rad(np.arange(32.0, 112.0, 2.0)) / 2)
"""Focal lengths that are tried, in widths of the picture: fields of view of 32 to 110 degrees."""
_MIN_SHARED = 30
_PAIRS = 60
"""Pairs of keyframes that are looked at, at most."""
_ZOOMS = np.exp(np.linspace(-0.7, 0.7, 15)).tolist()
_ZOOM_PAIRS = 8
_HUBER = 1.0
"""Pixels from which a point counts less."""


def bearings(points: Array, intrinsics: Array) -> Array:
    """Unit rays `(n, 3)` of pixels `(n, 2)`; intrinsics `(4,)` fx, fy, cx, cy."""
    rays = np.column_stack([(points - intrinsics[2:]) / intrinsics[:2], np.ones(len(points))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def largest_shift(tracks: Tracks, keys: Sequence[int]) -> float:
    """The most that the points moved, median over them, between any two keyframes; share of the picture's width."""
    found = [0.0]
    for i, j in combinations(keys, 2):
        a, b = shared(tracks, i, j)
        if len(a) >= 8:
            found.append(float(np.median(np.linalg.norm(tracks.points[i][a] - tracks.points[j][b], axis=1))))
    return max(found) / tracks.size[1]


def parallax(tracks: Tracks, keys: Sequence[int], intrinsics: Array) -> float:
    """How far points are from where a camera that only turned would see them.

    For each keyframe and the farthest one that shares enough corners with it, the rotation that fits best, and the
    upper quartile of what it leaves; the largest of them.

    Args:
        tracks: Of the clip.
        keys: Keyframes.
        intrinsics: `(4,)`, pixels of the work picture.

    Returns:
        Pixels of the work picture.
    """
    return max((_left_by_turning(tracks, i, j, intrinsics) for i, j in _wide_pairs(tracks, keys)), default=0.0)


def zoom(tracks: Tracks, keys: Sequence[int], intrinsics: Array) -> tuple[float, float]:
    """Whether a longer or shorter lens and a turn explain what moves: pixels that they leave, and the largest factor.

    A camera that zooms, and one that moves towards a flat wall, take the same pictures.

    Args:
        tracks: Of the clip.
        keys: Keyframes.
        intrinsics: `(4,)`, pixels of the work picture.
    """
    pairs = _wide_pairs(tracks, keys)
    left, factor = 0.0, 1.0
    for place in np.unique(np.linspace(0, len(pairs) - 1, _ZOOM_PAIRS).astype(int)) if pairs else []:
        i, j = pairs[place]
        tried = {ratio: _left_by_turning(tracks, i, j, intrinsics, ratio) for ratio in _ZOOMS}
        best = min(tried, key=lambda ratio: tried[ratio])
        for step in (0.02, 0.007, 0.0025):
            near = {r: _left_by_turning(tracks, i, j, intrinsics, r) for r in (best / (1 + step), best * (1 + step))}
            tried |= near
            best = min(tried, key=lambda ratio: tried[ratio])
        left = max(left, tried[best])
        factor = max(factor, best, 1 / best, key=lambda ratio: abs(np.log(ratio)))
    return left, factor


def turn_only(tracks: Tracks, intrinsics: Array) -> Array:
    """Poses `(F, 4, 4)` of a camera that only turns, from directions that are kept for each corner; NaN where lost."""
    poses = np.tile(np.eye(4), (len(tracks), 1, 1))
    known: dict[int, Array] = {}
    for frame in range(len(tracks)):
        rays = bearings(tracks.points[frame], intrinsics)
        numbers = tracks.ids[frame].tolist()
        rows = [row for row, number in enumerate(numbers) if number in known]
        if frame:
            if len(rows) < 8:
                poses[frame:] = np.nan
                break
            world = np.array([known[numbers[row]] for row in rows])
            poses[frame, :3, :3] = _rotation(rays[rows], world, intrinsics[0])
        for row in set(range(len(numbers))) - set(rows):
            known[numbers[row]] = poses[frame, :3, :3] @ rays[row]
    return poses


def guess_focal(tracks: Tracks, keys: Sequence[int]) -> float:
    """The focal length that makes most pairs of keyframes pairs of one calibrated camera, pixels.

    Each pair's fundamental matrix must become an essential one, whose two singular values are equal.
    """
    height, width = tracks.size
    centre = np.array([width / 2, height / 2])
    cost = np.zeros(len(FOCALS))
    for i, j in _wide_pairs(tracks, keys):
        a, b = shared(tracks, i, j)
        p, q = tracks.points[i][a], tracks.points[j][b]
        matrix, inliers = cv2.findFundamentalMat(p, q, cv2.FM_RANSAC, 0.7, 0.999, 1000)
        if matrix is not None and matrix.shape == (3, 3) and inliers.mean() > 0.6:
            for index, focal in enumerate(FOCALS * width):
                lens = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
                values = np.linalg.svd(lens.T @ matrix @ lens, compute_uv=False)
                cost[index] += min(1 - values[1] / values[0], 0.2)
    return float(FOCALS[int(cost.argmin())] * width) if cost.any() else 0.85 * width


def _wide_pairs(tracks: Tracks, keys: Sequence[int]) -> list[tuple[int, int]]:
    """For each keyframe the farthest later one with enough corners in common, and one half way."""
    pairs = set()
    for place, i in enumerate(keys):
        later = [j for j in keys[place + 1 :] if len(shared(tracks, i, j)[0]) >= _MIN_SHARED]
        if later:
            pairs |= {(i, later[-1]), (i, later[len(later) // 2])}
    ordered = sorted(pairs)
    return [ordered[k] for k in np.unique(np.linspace(0, len(ordered) - 1, _PAIRS).astype(int))] if ordered else []


def _left_by_turning(tracks: Tracks, i: int, j: int, intrinsics: Array, longer: float = 1.0) -> float:
    """Upper quartile of what a turn leaves, pixels; `longer` is the focal length of frame j, of that of frame i."""
    a, b = shared(tracks, i, j)
    lens = intrinsics * [longer, longer, 1, 1]
    here, there = bearings(tracks.points[i][a], intrinsics), bearings(tracks.points[j][b], lens)
    turned = here @ _rotation(here, there, intrinsics[0]).T
    ahead = turned[:, 2] > 0.05
    if not ahead.any():
        return float("inf")
    seen = turned[ahead, :2] / turned[ahead, 2:] * lens[:2] + lens[2:]
    return float(np.percentile(np.linalg.norm(seen - tracks.points[j][b][ahead], axis=1), 75))


def _rotation(a: Array, b: Array, focal: float) -> Array:
    """The rotation `(3, 3)` that takes rays `a` to `b`, outliers counting less."""
    weights = np.ones(len(a))
    turn = Rotation.identity()
    for _ in range(6):
        turn, _ = Rotation.align_vectors(b, a, weights)
        off = np.linalg.norm(turn.apply(a) - b, axis=1) * focal
        weights = 1 / np.maximum(off / _HUBER, 1) ** 2
    return np.asarray(turn.as_matrix())
