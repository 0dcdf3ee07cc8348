"""Camera poses as rigid transforms, and the normalised action that moves one.

A pose is a camera-to-world matrix (OpenCV axes: +x right, +y down, +z forward; metres). An action is a pose
delta in the current camera frame, ``[tx, ty, tz, rx, ry, rz]`` in [-1, 1]: translation in units of
``max_translation`` metres, rotation vector in units of ``max_rotation`` radians. The pair is the delta
*transform* itself, translation vector and rotation vector, and not its exponential coordinates: a full
``tz`` ends exactly ``max_translation`` ahead whatever the rotation is.

Everything here is numpy float64; `scipy.spatial.transform.RigidTransform` does the group maths.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import RigidTransform, Rotation

__all__ = [
    "action_to_delta",
    "delta_to_action",
    "geodesic",
    "load_poses",
    "pose_deltas",
    "poses_to_actions",
    "rollout_actions",
    "validate_c2w",
]

Array = NDArray[np.float64]


def validate_c2w(c2w: ArrayLike, tolerance: float = 1e-3) -> Array:
    """Check that an array holds camera-to-world matrices.

    Args:
        c2w: ``(F, 4, 4)`` or ``(4, 4)``, metres.
        tolerance: Largest accepted deviation of ``R^T R`` from the identity and of the bottom row.

    Returns:
        The same poses as a new float64 array.

    Raises:
        ValueError: naming the first bad frame and the fix.
    """
    poses = np.array(c2w, dtype=np.float64)
    if poses.ndim not in (2, 3) or poses.shape[-2:] != (4, 4) or poses.size == 0:
        raise ValueError(
            f"poses must have shape (F, 4, 4) or (4, 4); got {poses.shape}. "
            "Append the row [0, 0, 0, 1] to 3x4 matrices."
        )
    for index, pose in enumerate(poses.reshape(-1, 4, 4)):
        problem = _pose_problem(pose, tolerance)
        if problem:
            raise ValueError(f"pose of frame {index} {problem}")
    return poses


def _pose_problem(pose: Array, tolerance: float) -> str | None:
    """Say what is wrong with one ``(4, 4)`` pose and how to fix it; None when it is a rigid transform."""
    last = np.array([0.0, 0.0, 0.0, 1.0])
    rotation = pose[:3, :3]
    if not np.isfinite(pose).all():
        return "has NaN or infinite entries; drop or interpolate that frame."
    if np.abs(pose[3] - last).max() > tolerance:
        if np.abs(pose[:, 3] - last).max() <= tolerance:
            return "has its translation in the bottom row; transpose the matrices."
        return f"has bottom row {pose[3].tolist()}; it must be [0, 0, 0, 1]."
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > tolerance:
        return (
            "has a 3x3 block that is not orthonormal; divide any scale out of it, or project it with "
            "scipy's Rotation.from_matrix(block).as_matrix()."
        )
    if np.linalg.det(rotation) < 0:
        return "is a reflection (determinant -1); flip one axis so that x is right, y down and z forward."
    return None


def load_poses(path: str | Path) -> Array:
    """Read and check camera poses from a ``.npy`` file.

    Args:
        path: File that holds a ``(F, 4, 4)`` array of camera-to-world matrices, metres.

    Returns:
        ``(F, 4, 4)`` float64.

    Raises:
        ValueError: if the file is not a plain numeric ``.npy`` array or a pose is not rigid.
        FileNotFoundError: if there is no such file.
    """
    poses = load_npy(path)
    if poses.ndim != 3:
        raise ValueError(f"{path}: poses must have shape (F, 4, 4); got {poses.shape}.")
    try:
        return validate_c2w(poses)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_npy(path: str | Path) -> Array:
    """Read a numeric ``.npy`` array as float64; nothing is ever unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return np.asarray(loaded, dtype=np.float64)
    except (ValueError, TypeError, EOFError):
        raise ValueError(f"{path} is not a numeric .npy array; write it with numpy.save.") from None


def action_to_delta(action: ArrayLike, max_translation: float, max_rotation: float) -> RigidTransform:
    """Turn normalised actions into pose deltas in the camera frame.

    The range [-1, 1] is the action space's to enforce; values outside it scale on.

    Args:
        action: ``(..., 6)``, ``[tx, ty, tz, rx, ry, rz]``.
        max_translation: Metres of a full translation component.
        max_rotation: Radians of a full rotation component.

    Returns:
        Transform(s) ``camera_after -> camera_before`` with the leading shape of ``action``; compose it on the
        right, ``c2w_after = c2w_before * delta``.

    Raises:
        ValueError: on another shape, non-finite values, or limits that are not positive or reach a half turn.
    """
    _check_limits(max_translation, max_rotation)
    values = np.asarray(action, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != 6:
        raise ValueError(f"an action is [tx, ty, tz, rx, ry, rz], shape (..., 6); got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("action has NaN or infinite entries; check the policy that produced it.")
    rotation = Rotation.from_rotvec(values[..., 3:] * max_rotation)
    return RigidTransform.from_components(values[..., :3] * max_translation, rotation)


def delta_to_action(delta: RigidTransform, max_translation: float, max_rotation: float) -> Array:
    """Inverse of `action_to_delta`; a delta larger than the limits gives values outside [-1, 1].

    Args:
        delta: Pose delta(s) in the camera frame.
        max_translation: Metres of a full translation component.
        max_rotation: Radians of a full rotation component.

    Returns:
        ``(..., 6)`` normalised actions.
    """
    _check_limits(max_translation, max_rotation)
    translation, rotation = delta.as_components()
    parts = [translation / max_translation, rotation.as_rotvec() / max_rotation]
    return np.concatenate(parts, axis=-1)


def _check_limits(max_translation: float, max_rotation: float) -> None:
    if not (np.isfinite(max_translation) and max_translation > 0):
        raise ValueError(f"max_translation must be a positive length in metres; got {max_translation}.")
    # Three full components add up to sqrt(3) * max_rotation, and beyond a half turn a rotation vector
    # names the rotation the other way round, so the action could not be read back.
    if not 0 < max_rotation < np.pi / np.sqrt(3):
        raise ValueError(
            f"max_rotation must lie between 0 and pi / sqrt(3) = 1.81 rad per step; got {max_rotation}. "
            "Lower it, or convert from degrees with math.radians."
        )


def geodesic(start: ArrayLike, delta: RigidTransform, n: int) -> Array:
    """Frames of one step: from ``start`` to ``start * delta`` at constant body velocity.

    The path is ``start * exp(k/n * log(delta))`` for ``k = 1 .. n``. (scipy's exponential coordinates put the
    three rotation components first.) The start is not repeated; it is the last frame of the step before.

    Args:
        start: Pose(s) ``(..., 4, 4)`` before the step.
        delta: Pose delta(s) of the same leading shape.
        n: Frames in the step.

    Returns:
        ``(..., n, 4, 4)`` poses; the last one equals ``start * delta`` with no interpolation error.

    Raises:
        ValueError: if ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"a step has at least one frame; got n = {n}.")
    last = delta.as_matrix()[..., None, :, :]
    begin = np.broadcast_to(np.asarray(start, dtype=np.float64)[..., None, :, :], last.shape)
    shares = np.arange(1, n)[:, None] / n
    twists = delta.as_exp_coords()[..., None, :] * shares
    # scipy computes transforms on one axis and on several by different code, whose last bits differ. One
    # axis always, so that a slot gets the same poses alone and in a batch.
    between = RigidTransform.from_exp_coords(twists.reshape(-1, 6)).as_matrix()
    path = np.concatenate([between.reshape(*twists.shape[:-1], 4, 4), last], axis=-3)
    starts = RigidTransform.from_matrix(np.repeat(begin, n, axis=-3).reshape(-1, 4, 4))
    frames = starts * RigidTransform.from_matrix(path.reshape(-1, 4, 4))
    return frames.as_matrix().reshape(path.shape)


def rollout_actions(start: ArrayLike, actions: ArrayLike, n: int, max_translation: float, max_rotation: float) -> Array:
    """Poses of a whole action sequence.

    Args:
        start: Pose ``(4, 4)`` before the first action.
        actions: ``(N, 6)`` normalised actions.
        n: Frames of each step.
        max_translation: Metres of a full translation component.
        max_rotation: Radians of a full rotation component.

    Returns:
        ``(N * n + 1, 4, 4)`` poses, ``start`` first.
    """
    frames = [np.asarray(start, dtype=np.float64)[None]]
    for action in np.asarray(actions, dtype=np.float64):
        delta = action_to_delta(action, max_translation, max_rotation)
        frames.append(geodesic(frames[-1][-1], delta, n))
    return np.concatenate(frames)


def pose_deltas(c2w: ArrayLike, frames_per_step: int = 1) -> RigidTransform:
    """Pose deltas between the frames of a trajectory, each in the camera frame before it.

    Args:
        c2w: ``(F, 4, 4)`` camera-to-world matrices, ``F = N * frames_per_step + 1``.
        frames_per_step: Frames from one delta to the next.

    Returns:
        N transforms ``inverse(c2w[i]) * c2w[i + frames_per_step]``.

    Raises:
        ValueError: if the poses are not rigid or F does not fit ``frames_per_step``.
    """
    poses = validate_c2w(c2w)
    steps, rest = divmod(len(poses) - 1, frames_per_step) if frames_per_step > 0 else (0, 1)
    if poses.ndim != 3 or steps < 1 or rest:
        raise ValueError(
            f"need N * {frames_per_step} + 1 poses of shape (4, 4) with N >= 1; got shape {poses.shape}. "
            "Cut the tail off, or change frames_per_step."
        )
    ends = RigidTransform.from_matrix(poses[::frames_per_step])
    return ends[:-1].inv() * ends[1:]


def poses_to_actions(c2w: ArrayLike, max_translation: float, max_rotation: float, frames_per_step: int = 1) -> Array:
    """Actions that reproduce a trajectory at its step ends; the inverse of `rollout_actions`.

    Args:
        c2w: ``(F, 4, 4)`` camera-to-world matrices, ``F = N * frames_per_step + 1``.
        max_translation: Metres of a full translation component.
        max_rotation: Radians of a full rotation component.
        frames_per_step: Frames of each step.

    Returns:
        ``(N, 6)``; values outside [-1, 1] mean that the trajectory is faster than the limits.
    """
    return delta_to_action(pose_deltas(c2w, frames_per_step), max_translation, max_rotation)
