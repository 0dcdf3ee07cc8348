"""`FollowPath`: go along a given path, waypoint by waypoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.pose import validate_c2w
from sanawm_env.tasks.metrics import motion_between
from sanawm_env.tasks.paths import thin, wander
from sanawm_env.tasks.point_nav import read_position
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, ResetContext, Task, TaskContext, check_positive, check_range

__all__ = ["FollowPath"]


@dataclass(frozen=True)
class FollowPath(Task):
    """Pass the waypoints of a path in their order, and end at the last.

    Observation `waypoints` `(ahead, 6)` float32: the next waypoints in the camera's frame, each `[x, y, z]` in metres
    and a rotation vector in radians; after the last one it repeats. Reset option `goal`: the path, `(N, 4, 4)`
    camera-to-world poses relative to frame 0.

    A waypoint is passed where the camera comes within `success_distance` of its position, at any frame of a step.
    `distance_to_goal` is the length of path left. Info also has `progress`, the share of waypoints passed, and
    `deviation`, metres from the path.
    """

    name: ClassVar[str] = "FollowPath"
    without: ClassVar[Mapping[str, str]] = {
        "view_progress": "a goal with a direction of view",
        "goal_similarity": "a goal image",
        "novelty": "counted views (Explore)",
    }

    rewards: Mapping[str, float] = field(
        default_factory=lambda: {"progress": 1.0, "deviation": 0.1, "success": 2.5, "slack": 0.01}
    )
    """See `Task`."""
    success_distance: float = 0.2
    """Metres from a waypoint that count as there."""
    distance: tuple[float, float] = (3.0, 6.0)
    """Metres of the paths that are drawn."""
    turn_deg: float = 90.0
    """Drawn paths bend twice by up to half of this, each time to the right or left."""
    spacing: float = 0.5
    """Metres between waypoints of a drawn path."""
    ahead: int = 4
    """Waypoints in an observation."""
    world_radius: float = 30.0
    """Metres from frame 0 beyond which a given path is refused."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self.name,
            success_distance=self.success_distance,
            spacing=self.spacing,
            ahead=self.ahead,
            world_radius=self.world_radius,
        )
        check_range(self.name, "distance", self.distance)
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"{self.name}: turn_deg must lie in 0..180; got {self.turn_deg}.")

    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """`waypoints`."""
        return {"waypoints": spaces.Box(-np.inf, np.inf, (self.ahead, 6), np.float32)}

    def read_goal(self, goal: Any, context: TaskContext) -> Array:
        """A path inside the world."""
        path = validate_c2w(goal)
        path = path[None] if path.ndim == 2 else path
        for pose in path:
            read_position(pose[:3, 3], self.world_radius)
        return path

    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """Draw the paths."""
        states = []
        for at in resets:
            half = (self.distance[0] / 2, self.distance[1] / 2)
            first = wander(at.c2w, context, at.rng, half, self.turn_deg / 2)
            second = wander(first[-1], context, at.rng, half, self.turn_deg / 2)
            drawn = thin(at.c2w, np.concatenate([first, second]), self.spacing)
            path = drawn if at.goal is None else at.goal
            points = np.concatenate([at.c2w[None, :3, 3], path[:, :3, 3]])
            legs = np.linalg.norm(np.diff(points, axis=0), axis=1)
            # left[k]: metres from waypoint k to the end.
            left = np.append(np.cumsum(legs[::-1])[::-1], 0.0)[1:]
            shortest, start = legs.sum(), at.c2w[:3, 3]
            states.append(TaskState.of(self.name, start=start, path=path, left=left, passed=0, start_distance=shortest))
        return states

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """See `Task`."""
        return {"start": (3,), "path": (None, 4, 4), "left": (None,), "passed": (), "start_distance": ()}

    def follow(self, state: TaskState, c2w: Array) -> TaskState:
        """Count waypoints passed."""
        passed, points = int(state["passed"]), state["path"][:, :3, 3]
        for place in c2w[:, :3, 3]:
            while passed < len(points) and np.linalg.norm(points[passed] - place) <= self.success_distance:
                passed += 1
        return state if passed == int(state["passed"]) else state.with_(passed=passed)

    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """`distance_to_goal` and `deviation` in metres, `progress` in 0..1."""
        passed, points, place = int(state["passed"]), state["path"][:, :3, 3], c2w[:3, 3]
        done = passed == len(points)
        # The last waypoint is where one may stand after it was passed.
        left = 0.0 if done else float(np.linalg.norm(points[passed] - place) + state["left"][passed])
        line = np.concatenate([state["start"][None], points])
        return {
            "distance_to_goal": left,
            "deviation": _distance_to_line(place, line),
            "progress": passed / len(points),
        }

    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """All waypoints are passed."""
        return measures["progress"] == 1.0

    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """`waypoints`."""
        path = state["path"]
        ahead = np.minimum(int(state["passed"]) + np.arange(self.ahead), len(path) - 1)
        return {"waypoints": motion_between(c2w, path[ahead]).astype(np.float32)}


def _distance_to_line(place: Array, line: Array) -> float:
    """Metres from a point `(3,)` to a polyline `(N, 3)`."""
    begin, leg = line[:-1], np.diff(line, axis=0)
    length = np.maximum((leg**2).sum(1), 1e-12)
    share = np.clip(((place - begin) * leg).sum(1) / length, 0, 1)
    return float(np.linalg.norm(place - begin - share[:, None] * leg, axis=1).min())
