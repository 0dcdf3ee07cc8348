"""`scripted:wall_follow`: a robot's base keeps a wall at its side, by its laser scan alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from sanawm_env.policies.base import Env, Info

from sanawm_env.envs.wrappers import DifferentialDrive

__all__ = ["WallFollow", "follow_wall"]

AHEAD = 0.35
"""Radians to each side of straight ahead that count as in the way."""


def follow_wall(
    ranges: NDArray[np.floating],
    angles: NDArray[np.floating],
    *,
    distance: float = 0.8,
    left: bool = True,
    speed: float = 0.4,
    turn: float = 0.3,
) -> tuple[float, float]:
    """The velocity of a base that follows a wall.

    It bends towards the wall where that is farther away than wanted and off it where it is nearer; what stands
    ahead slows it down and turns it away from the wall's side, on the spot at last.

    Args:
        ranges: `(R,)` m as in REP 117: rays that cannot tell (NaN) are left out, -inf is a touch.
        angles: `(R,)` of the rays, rad, positive to the left.
        distance: Wanted metres beside the wall.
        left: Which side the wall is on.
        speed: Fastest v, m/s.
        turn: Fastest w, rad/s.

    Returns:
        v in m/s and w in rad/s, positive to the left.
    """
    seen = ~np.isnan(ranges)
    reach, aside = np.where(ranges < 0, 0.0, ranges)[seen], (angles if left else -angles)[seen]
    before, beside = np.abs(aside) <= AHEAD, aside > AHEAD
    # What cannot be seen is no free way.
    ahead = float(reach[before].min()) if before.any() else 0.0
    wall = float((reach[beside] * np.sin(aside[beside])).min(initial=np.inf))
    free = float(np.clip((ahead - distance) / distance, 0.0, 1.0))
    towards = float(np.clip(wall / distance - 1, -1.0, 1.0))
    w = turn * (free * towards - (1 - free))
    return speed * free, w if left else -w


class WallFollow:
    """`follow_wall` as a policy: for an environment with the sensor `scan` under a `DifferentialDrive`."""

    def __init__(self, distance: float = 0.8, left: bool = True, speed: float = 0.4) -> None:
        """Check the settings.

        Args:
            distance: Wanted metres beside the wall.
            left: Which side the wall is on.
            speed: Fastest v, m/s; no faster than the base can.

        Raises:
            ValueError: One that is not positive.
        """
        if not (distance > 0 and speed > 0):
            raise ValueError(f"distance and speed must be positive; got {distance} and {speed}.")
        self._distance, self._left, self._wish = distance, left, speed
        self._limits: NDArray[np.float64] | None = None
        self._stops = False

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        space: Any = env.action_space
        if not _has_base(env) or space.shape not in ((2,), (3,)):
            raise ValueError(
                f"scripted:wall_follow gives velocities (v, w) of a base, but the environment takes {space}; wrap it "
                "in sanawm_env.envs.wrappers.DifferentialDrive."
            )
        if "scan" not in info:
            raise ValueError("scripted:wall_follow needs the laser scan; make the environment with sensors=('scan',).")
        self._limits, self._stops = space.high[:2].astype(np.float64), space.shape == (3,)

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        assert self._limits is not None, "call begin first"
        speed, turn = min(self._wish, self._limits[0]), self._limits[1]
        ranges, angles = np.where(info["scan_seen"], info["scan"], np.nan), info["scan_angles"]
        v, w = follow_wall(ranges, angles, distance=self._distance, left=self._left, speed=speed, turn=turn)
        return np.array([v, w, -1.0][: 2 + self._stops], np.float32)


def _has_base(env: Env) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, DifferentialDrive):
            return True
        env = env.env
    return False
