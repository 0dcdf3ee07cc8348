"""`PointNav`: go to a place whose position is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.metrics import seen_from
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, ResetContext, Task, TaskContext, check_positive, check_range

__all__ = ["PointNav", "read_position"]


@dataclass(frozen=True)
class PointNav(Task):
    """Reach a point, given its position relative to the camera.

    A generated world has no floor plan and nothing to bump into, so the shortest path is the straight line. The goal
    lies in the horizontal plane of the first camera (its x and z axes), ahead of it.

    Observation `goal` `(3,)` float32: the point in the camera's frame now, metres. Reset option `goal`: `(3,)` its
    position in the world, that is, relative to frame 0.

    After Habitat's PointNav (success within 0.2 m; reward: metres of progress, 2.5 for success, -0.01 a step).
    """

    name: ClassVar[str] = "PointNav"
    without: ClassVar[Mapping[str, str]] = {
        "view_progress": "a goal with a direction of view",
        "goal_similarity": "a goal image",
        "novelty": "counted views (Explore)",
        "deviation": "a path to follow (FollowPath)",
    }

    rewards: Mapping[str, float] = field(default_factory=lambda: {"progress": 1.0, "success": 2.5, "slack": 0.01})
    """See `Task`."""
    success_distance: float = 0.2
    """Metres from the goal that count as there."""
    distance: tuple[float, float] = (1.0, 3.0)
    """Metres from the start to the goals that are drawn."""
    bearing_deg: float = 60.0
    """Goals are drawn within this many degrees to the right and left of the first view."""
    world_radius: float = 30.0
    """Metres from frame 0 beyond which a given goal is refused: the world is not known to go that far."""
    goal_reward: Literal["sparse", "dense"] = "sparse"
    """Reward of the goal form: 0 at the goal and -1 elsewhere, or minus the distance in metres."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.name, success_distance=self.success_distance, world_radius=self.world_radius)
        check_range(self.name, "distance", self.distance)
        if not 0 <= self.bearing_deg <= 180:
            raise ValueError(f"{self.name}: bearing_deg must lie in 0..180; got {self.bearing_deg}.")
        if self.distance[1] > self.world_radius:
            raise ValueError(
                f"{self.name}: distance {self.distance} exceeds world_radius {self.world_radius}; raise that."
            )
        if self.goal_reward not in ("sparse", "dense"):
            raise ValueError(f"{self.name}: goal_reward must be 'sparse' or 'dense'; got {self.goal_reward!r}.")

    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """`goal`."""
        return {"goal": self.goal_space()}

    def read_goal(self, goal: Any, context: TaskContext) -> Array:
        """A position; see `read_position`."""
        return read_position(goal, self.world_radius)

    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """Draw the goals."""
        states = []
        for at in resets:
            # Drawn even where a goal is given, so that a goal leaves the random numbers alone.
            far = at.rng.uniform(*self.distance)
            bearing = np.radians(at.rng.uniform(-self.bearing_deg, self.bearing_deg))
            goal = at.c2w[:3, :3] @ [far * np.sin(bearing), 0.0, far * np.cos(bearing)] + at.c2w[:3, 3]
            goal = goal if at.goal is None else at.goal
            start = np.linalg.norm(goal - at.c2w[:3, 3])
            states.append(TaskState.of(self.name, goal=goal, start_distance=start))
        return states

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """See `Task`."""
        return {"goal": (3,), "start_distance": ()}

    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """`distance_to_goal`, metres."""
        return {"distance_to_goal": float(np.linalg.norm(state["goal"] - c2w[:3, 3]))}

    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """Within `success_distance`."""
        return measures["distance_to_goal"] <= self.success_distance

    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """`goal`."""
        return {"goal": seen_from(c2w, state["goal"]).astype(np.float32)}

    # -- goal form ----------------------------------------------------------------------------------------

    def goal_space(self) -> spaces.Box:
        """Positions, metres."""
        return spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def achieved_goal(self, c2w: Array) -> NDArray[np.float32]:
        """Position of the camera in the world."""
        return c2w[:3, 3].astype(np.float32)

    def desired_goal(self, state: TaskState) -> NDArray[np.float32]:
        """Position of the goal in the world."""
        return state["goal"].astype(np.float32)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> NDArray[np.float32]:
        """Reward of being at one goal while another is desired, as Gymnasium-Robotics' `GoalEnv` has it.

        Args:
            achieved_goal: `(..., 3)` metres.
            desired_goal: `(..., 3)` metres.
            info: Not used.
        """
        far = np.linalg.norm(np.asarray(achieved_goal) - np.asarray(desired_goal), axis=-1)
        if self.goal_reward == "dense":
            return (-far).astype(np.float32)
        return -(far > self.success_distance).astype(np.float32)


def read_position(goal: Any, radius: float) -> Array:
    """A position `(3,)` inside the world.

    Raises:
        ValueError: Another shape, NaN, or further than `radius` from frame 0.
    """
    try:
        place = np.array(goal, dtype=np.float64)
    except (TypeError, ValueError):
        place = np.empty(0)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError(f"goal must be a position (3,) x, y, z in metres relative to frame 0; got {goal!r}.")
    if (far := float(np.linalg.norm(place))) > radius:
        raise ValueError(
            f"goal {place.tolist()} lies {far:.1f} m from frame 0, outside the world ({radius:g} m); "
            "choose a nearer one or raise world_radius."
        )
    return place
