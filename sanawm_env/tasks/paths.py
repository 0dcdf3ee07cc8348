"""Ways through a world that tasks draw: goals to find, paths to follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform, Rotation

from sanawm_env.camera.pose import geodesic
from sanawm_env.tasks.metrics import motion_between
from sanawm_env.tasks.task import TaskContext

__all__ = ["thin", "travel", "wander"]

Array = NDArray[np.float64]


def wander(
    start: Array, context: TaskContext, rng: np.random.Generator, metres: tuple[float, float], turn_deg: float
) -> Array:
    """A level, smooth way of random length and curvature, at two thirds of the greatest speed.

    Args:
        start: `(4, 4)` pose.
        context: Gives limits and frames per step.
        rng: Two numbers are drawn, whatever the limits are.
        metres: Least and greatest length.
        turn_deg: Greatest change of heading from beginning to end, either way.

    Returns:
        `(N * frames_per_step, 4, 4)` poses after `start`.
    """
    length = rng.uniform(*metres)
    turn = np.radians(rng.uniform(-turn_deg, turn_deg))
    steps = max(1, int(np.ceil(length / (context.max_translation * 2 / 3))))
    steps = max(steps, int(np.ceil(abs(turn) / context.max_rotation)))
    frames = steps * context.frames_per_step
    # One pose per frame, each half a turn, forward, half a turn: the chords of an arc of the wanted length.
    half = Rotation.from_rotvec([0.0, turn / frames / 2, 0.0])
    delta = RigidTransform.from_components([0, 0, 0], half) * RigidTransform.from_components(
        [0, 0, length / frames], half
    )
    pose, way = RigidTransform.from_matrix(start), []
    for _ in range(frames):
        pose = pose * delta
        way.append(pose.as_matrix())
    return np.stack(way)


def travel(start: Array, goal: Array, context: TaskContext) -> Array:
    """The geodesic from pose to pose, in as many steps as the limits ask for.

    Returns:
        `(N * frames_per_step, 4, 4)` poses after `start`; the last is `goal`.
    """
    motion = np.abs(motion_between(start, goal))
    share = max(motion[:3].max() / context.max_translation, motion[3:].max() / context.max_rotation)
    steps = max(1, int(np.ceil(share)))
    delta = RigidTransform.from_matrix(start).inv() * RigidTransform.from_matrix(goal)
    return geodesic(start, delta, steps * context.frames_per_step)


def thin(start: Array, way: Array, spacing: float) -> Array:
    """Every pose of a way at which another `spacing` metres are done, and its last.

    Args:
        start: `(4, 4)` pose before the way.
        way: `(N, 4, 4)`.
        spacing: Metres.

    Returns:
        `(M, 4, 4)`, M >= 1; the last two are at least half a spacing apart.
    """
    points = np.concatenate([start[None, :3, 3], way[:, :3, 3]])
    done = np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))
    marks = np.arange(spacing, done[-1] - spacing / 2, spacing)
    chosen = np.unique(np.append(np.searchsorted(done, marks), len(way) - 1))
    return way[chosen]
