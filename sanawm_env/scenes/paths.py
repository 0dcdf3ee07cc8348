"""Camera paths of our own bench: excursions from the first frame and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

__all__ = ["Difficulty", "draw_path"]

Array = NDArray[np.float64]
Difficulty = Literal["simple", "hard"]

CLEARANCE = 0.35
"""The camera keeps this far (m) from everything."""
SPEED: dict[Difficulty, tuple[float, float]] = {"simple": (0.02, math.radians(0.6)), "hard": (0.045, math.radians(1.2))}
"""Fastest metres and radians per frame at 16 frames/s."""
EXCURSION: dict[Difficulty, float] = {"simple": 15.0, "hard": 30.0}
"""Seconds from the first pose out and back to it."""
_TRIES = 40
_LEVEL = math.radians(12.0)
"""Steepest pitch, up or down."""


def draw_path(
    rng: np.random.Generator,
    start: Array,
    clearance: Callable[[Array], Array],
    difficulty: Difficulty,
    frames: int,
    fps: float,
) -> Array:
    """A smooth path through free space that keeps coming back to where it began.

    It is made of excursions of 15 s (simple: one axis leads, the others give a tenth) or 30 s (hard: through
    several places, turning all the while). Each goes out along a curve and back along it, at a speed that
    swells and dies away.

    Args:
        rng: Draws everything.
        start: `(4, 4)` first pose, camera-to-world in the scene's world, +y down, without roll.
        clearance: `(N, 3)` positions to `(N,)` metres from the nearest surface.
        difficulty: Kind of path.
        frames: Length.
        fps: Frames per second.

    Returns:
        `(frames, 4, 4)` poses; the first is `start`.
    """
    count = max(1, round(frames / fps / EXCURSION[difficulty]))
    bounds = np.linspace(0, frames - 1, count + 1).round().astype(int)
    offset = np.zeros((frames, 5))
    for begin, end in pairwise(bounds.tolist()):
        # 0 at both ends, 1 in the middle, at rest at all three.
        out = (1 - np.cos(2 * np.pi * np.arange(end - begin + 1) / max(end - begin, 1))) / 2
        offset[begin : end + 1] = _excursion(rng, start, clearance, difficulty, len(out), 16 / fps)(out)
    return _poses(start, offset)


def _excursion(
    rng: np.random.Generator,
    start: Array,
    clearance: Callable[[Array], Array],
    difficulty: Difficulty,
    frames: int,
    rate: float,
) -> Callable[[Array], Array]:
    """A curve from 0 to 1: forward, right, down (m) and yaw, pitch (rad) relative to the first pose."""
    # The share swells and dies as a raised cosine, so the fastest frame covers pi / frames of the curve.
    reach = np.array(SPEED[difficulty]) * rate * max(frames - 1, 1) / np.pi
    shares = np.linspace(0, 1, 65)
    size = 1.0
    for _ in range(_TRIES):
        curve = _curve(rng, difficulty, reach * size)
        if clearance(_poses(start, curve(shares))[:, :3, 3]).min() >= CLEARANCE:
            return curve
        size = max(0.3, 0.95 * size)
    # Nowhere to go: turn on the spot, which is always free.
    turn = np.array([0, 0, 0, rng.choice([-1, 1]) * min(reach[1] * 0.8, math.radians(60)), 0])
    return lambda share: np.asarray(share)[:, None] * turn


def _curve(rng: np.random.Generator, difficulty: Difficulty, reach: Array) -> Callable[[Array], Array]:
    far, turn = reach
    if difficulty == "simple":
        sign = rng.choice([-1.0, 1.0], 5)
        whole = np.array([far, far, 0.0, turn, 0.0])
        lead = rng.choice([0, 1, 3], p=[0.4, 0.2, 0.4])
        share = np.full(5, 0.1)
        share[lead] = 1.0
        if lead != 3:
            share[3] = 0.05
        # With the other axes along, the length stays within reach.
        end = whole * share * sign * rng.uniform(0.55, 0.95) / np.hypot(1, 0.1)
        return lambda at: np.asarray(at)[:, None] * end
    knots = int(rng.integers(3, 6))
    heading = np.cumsum(rng.uniform(-1.2, 1.2, knots))
    legs = rng.uniform(0.4, 1.0, knots)
    places = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * legs[:, None], 0)
    yaw = np.cumsum(rng.choice([-1.0, 1.0]) * rng.uniform(-0.4, 1.0, knots))
    pitch = rng.uniform(-1, 1, knots) * _LEVEL
    lift = rng.uniform(-0.15, 0.15, knots)
    points = np.vstack([np.zeros(5), np.column_stack([places, lift, yaw, pitch])])
    curve = PchipInterpolator(np.linspace(0, 1, knots + 1), points)
    slope = np.abs(curve(np.linspace(0, 1, 129), 1))
    # Stretch length and turn so that the steepest part of the curve just keeps to the speed limits.
    wish = rng.uniform(0.6, 1.0)
    along = wish * far / max(float(np.linalg.norm(slope[:, :3], axis=1).max()), 1e-9)
    round_ = min(wish * turn * 0.8 / max(float(slope[:, 3].max()), 1e-9), math.radians(200) / max(np.ptp(yaw), 1e-9))
    flat = min(1.0, 0.5 * turn / max(float(slope[:, 4].max()), 1e-9))
    scale = np.array([along, along, min(along, 1.0), round_, flat])
    return lambda at: np.asarray(curve(at)) * scale


def _poses(start: Array, offset: Array) -> Array:
    """`(N, 5)` forward, right, down, yaw, pitch relative to a level heading, to `(N, 4, 4)`."""
    forward = start[:3, 2]
    yaw0, pitch0 = math.atan2(forward[0], forward[2]), math.asin(float(np.clip(-forward[1], -1, 1)))
    level = _about(1, np.array([yaw0]))
    turn = _about(1, yaw0 + offset[:, 3]) * _about(0, pitch0 + offset[:, 4])
    poses = np.tile(np.eye(4), (len(offset), 1, 1))
    poses[:, :3, :3] = turn.as_matrix()
    poses[:, :3, 3] = start[:3, 3] + level.apply(offset[:, [1, 2, 0]])
    return poses


def _about(axis: int, angle: Array) -> Rotation:
    """Rotations about a coordinate axis, `(N,)` radians."""
    vector = np.zeros((len(angle), 3))
    vector[:, axis] = angle
    return Rotation.from_rotvec(vector)
