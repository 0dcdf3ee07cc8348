"""`scripted:follow`: go where the observation's relative goal says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.scripted.drive import Drive
from scipy.spatial.transform import Rotation

__all__ = ["Follow"]

Array = NDArray[np.float64]


class Follow:
    """A proportional controller in SE(3) on what the observation says of the goal, and on nothing else.

    How near is near enough it takes from the task's `success_distance` and `success_angle_deg`, if those are finer
    than its own.

    | Entry                          | Task        | What it does                                               |
    |--------------------------------|-------------|------------------------------------------------------------|
    | `waypoints` (K, 6)             | FollowPath  | heads for the pose of the first that is not yet reached    |
    | `goal` (3,)                    | PointNav    | goes there and turns towards it; STOP once within `reach`  |
    | `desired_goal` (3,) and pose   | PointNav, goal form with `obs_mode="pose"` | likewise                    |
    | `home` (6,), `out` (1,)        | LoopClosure | goes forward until `out`, then heads for the pose of home |

    By `DiscreteNavigation` it turns towards the goal's position and walks; heights are out of its reach then, and
    of orientations it takes up that of home alone.
    """

    def __init__(self, gain: float = 1.0, reach: float = 0.1, reach_degrees: float = 5.0) -> None:
        """Check the settings.

        Args:
            gain: Share of the remaining motion that one step covers, as far as the limits allow; in (0, 1].
            reach: Metres within which a goal counts as reached, or half of what the task asks for if that is less.
            reach_degrees: Degrees within which a waypoint's orientation does, likewise.

        Raises:
            ValueError: One that is out of range.
        """
        if not (0 < gain <= 1 and reach > 0 and reach_degrees > 0):
            raise ValueError(
                f"gain must lie in (0, 1], reach and reach_degrees be positive; got {gain}, {reach}, {reach_degrees}."
            )
        self._gain, self._reach, self._reach_turn = gain, reach, math.radians(reach_degrees)
        self._near, self._turn = self._reach, self._reach_turn
        self._drive: Drive | None = None

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        _entries(observation)
        self._drive = drive = Drive.of(env, "scripted:follow")
        task = getattr(env.unwrapped, "task", None)
        # Not on the edge of what counts: the environment measures with rounding of its own.
        self._near = min(self._reach, 0.5 * getattr(task, "success_distance", math.inf))
        self._turn = min(self._reach_turn, 0.5 * math.radians(getattr(task, "success_angle_deg", math.inf)))
        if drive.discrete:  # a walker cannot get nearer than half a step, whatever is asked of it
            self._near = max(self._near, 0.75 * drive.max_translation)

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        drive = self._drive
        assert drive is not None, "call begin first"
        entries = _entries(observation)
        if "waypoints" in entries:
            waypoints = np.asarray(entries["waypoints"], dtype=np.float64)
            ahead = (w for w in waypoints if not self._there(w))
            return self._to_pose(next(ahead, waypoints[-1]))
        if "home" not in entries:
            return self._to_point(_goal(entries))
        if entries["out"][0] > 0:
            return self._to_pose(np.asarray(entries["home"], dtype=np.float64))
        return drive.move((0, 0, drive.max_translation))

    def _to_pose(self, target: Array) -> Any:
        """Towards a pose `(6,)`: position and rotation vector, in the camera's frame."""
        drive = self._drive
        assert drive is not None
        if drive.discrete:
            if not self._there(target):
                return self._walk(target)
            aligned = abs(target[4]) <= drive.max_rotation / 2
            return drive.stop() if aligned else drive.move((0, 0, 0), target[3:])
        if self._there(target):
            return drive.stop()
        return drive.move(self._gain * target[:3], self._gain * target[3:])

    def _to_point(self, goal: Array) -> Any:
        """Towards a position `(3,)` in the camera's frame, turning to look where it goes."""
        drive = self._drive
        assert drive is not None
        if self._there(goal):
            return drive.stop()
        if drive.discrete:
            return self._walk(goal)
        # The heading of a goal that is nearly above or below says nothing.
        aside = math.atan2(goal[0], goal[2]) if np.hypot(goal[0], goal[2]) > self._reach else 0.0
        action = drive.move(self._gain * goal)
        action[3:6] = drive.move((0, 0, 0), (0, self._gain * aside, 0))[3:6]
        return action

    def _walk(self, target: Array) -> Any:
        assert self._drive is not None
        return self._drive.move((0, 0, 1), (0, math.atan2(target[0], target[2]), 0))

    def _there(self, target: Array) -> bool:
        """Whether a position `(3,)` or pose `(6,)` is reached; for a walker, the place on the ground."""
        assert self._drive is not None
        if self._drive.discrete:
            return bool(np.hypot(target[0], target[2]) <= self._near)
        return bool(np.linalg.norm(target[:3]) <= self._near and np.linalg.norm(target[3:]) <= self._turn)


def _goal(entries: dict[str, Any]) -> Array:
    """`(3,)` metres in the camera's frame."""
    if "goal" in entries:
        return np.asarray(entries["goal"], dtype=np.float64)
    x, y, z, *turn = np.asarray(entries["observation"], dtype=np.float64)
    away = np.asarray(entries["desired_goal"], dtype=np.float64) - (x, y, z)
    return Rotation.from_quat(turn, scalar_first=True).inv().apply(away)


def _entries(observation: Any) -> dict[str, Any]:
    """The observation's dictionary, once it is known to say where the goal is.

    Raises:
        ValueError: It does not.
    """
    entries = observation if isinstance(observation, dict) else {}
    goal_form = "desired_goal" in entries and np.shape(entries.get("observation", 0)) == (7,)
    if goal_form or "waypoints" in entries or "goal" in entries or {"home", "out"} <= entries.keys():
        return entries
    raise ValueError(
        "scripted:follow steers by a relative goal in the observation (waypoints of FollowPath, goal of PointNav, home "
        f"of LoopClosure); got {sorted(entries) or type(observation).__name__}. Choose such a task, or a planner."
    )
