"""Poses of the frames between keyframes: each is placed by the mapped points that it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform, Rotation, Slerp

from sanawm_env.camera.opencv import cv2
from sanawm_env.data.annotation.structure.mapping import Model
from sanawm_env.data.annotation.structure.tracks import Tracks

__all__ = ["all_poses", "interpolate"]

Array = NDArray[np.float64]

_MIN_POINTS = 12
_FITS = 2.0
"""Pixels within which a point fits."""
_MAX_ERROR = 1.5


def all_poses(model: Model, tracks: Tracks, keys: Sequence[int]) -> tuple[Array, NDArray[np.bool_]]:
    """Place all frames.

    Args:
        model: Of the keyframes.
        tracks: Of the clip.
        keys: Keyframes.

    Returns:
        `(F, 4, 4)` poses in the model's frame, and `(F,)` whether a pose was measured; the others lie between their
        neighbours, and those before the first and after the last placed keyframe are its.
    """
    placed = np.array([keys[k] for k in np.nonzero(model.placed)[0].tolist()])
    poses = interpolate(placed, model.c2w[model.placed], len(tracks))
    measured = np.zeros(len(tracks), bool)
    measured[placed] = True
    with_corner = model.corner >= 0
    row = dict(zip(model.corner[with_corner].tolist(), np.nonzero(with_corner)[0].tolist(), strict=True))
    lens = np.array(
        [[model.intrinsics[0], 0, model.intrinsics[2]], [0, model.intrinsics[1], model.intrinsics[3]], [0, 0, 1]]
    )
    for frame in np.nonzero(~measured)[0]:
        here = [
            (row[n], at) for n, at in zip(tracks.ids[frame].tolist(), tracks.points[frame], strict=True) if n in row
        ]
        if len(here) < _MIN_POINTS:
            continue
        pose = _place(model.points[[r for r, _ in here]], np.array([at for _, at in here]), lens, poses[frame])
        if pose is not None:
            poses[frame], measured[frame] = pose, True
    missing = np.nonzero(~measured)[0]
    if len(missing) and measured.any():
        poses[missing] = interpolate(np.nonzero(measured)[0], poses[measured], len(tracks))[missing]
    return poses, measured


def interpolate(frames: NDArray[Any], poses: Array, count: int) -> Array:
    """Poses `(count, 4, 4)` through given ones: lines and shortest turns between, held at both ends."""
    at = np.clip(np.arange(count), frames[0], frames[-1])
    full = np.tile(np.eye(4), (count, 1, 1))
    if len(frames) == 1:
        full[:] = poses[0]
        return full
    full[:, :3, :3] = Slerp(frames, Rotation.from_matrix(poses[:, :3, :3]))(at).as_matrix()
    for axis in range(3):
        full[:, axis, 3] = np.interp(at, frames, poses[:, axis, 3])
    return full


def _place(points: Array, seen: Array, lens: Array, guess: Array) -> Array | None:
    """The pose from which points are seen where they are; None if too few fit."""
    w2c = np.linalg.inv(guess)
    turn: Any = cv2.Rodrigues(w2c[:3, :3])[0]
    shift: Any = w2c[:3, 3:].copy()
    fits = np.ones(len(points), bool)
    for limit in (8.0, 4.0, _FITS, _FITS):
        off = cv2.projectPoints(points, turn, shift, lens, None)[0][:, 0] - seen
        fits = np.linalg.norm(off, axis=1) < limit
        if fits.sum() < _MIN_POINTS:
            solved: Any = cv2.solvePnPRansac(points, seen, lens, None, reprojectionError=_FITS, iterationsCount=200)
            if not solved[0] or solved[3] is None or len(solved[3]) < _MIN_POINTS:
                return None
            turn, shift, fits = solved[1], solved[2], np.isin(np.arange(len(points)), solved[3])
        turn, shift = cv2.solvePnPRefineLM(points[fits], seen[fits], lens, None, turn, shift)
    off = np.linalg.norm(cv2.projectPoints(points, turn, shift, lens, None)[0][:, 0] - seen, axis=1)
    if np.median(off[fits]) > _MAX_ERROR or fits.mean() < 0.4:
        return None
    pose = RigidTransform.from_components(shift[:, 0], Rotation.from_rotvec(turn[:, 0])).inv().as_matrix()
    return np.asarray(pose)
