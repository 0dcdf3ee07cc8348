"""`ImageNav`: find the place where a picture was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.pose import validate_c2w
from sanawm_env.scenes.start_image import resized
from sanawm_env.tasks.metrics import angle_between
from sanawm_env.tasks.paths import travel, wander
from sanawm_env.tasks.point_nav import read_position
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, ResetContext, Task, TaskContext, check_positive, check_range
from sanawm_env.world.state import WorldState

__all__ = ["ImageNav"]


@dataclass(frozen=True)
class ImageNav(Task):
    """Reach the view of a goal image.

    The image is made in the same world: before the episode begins, a copy of it walks a hidden way, and what the copy
    sees at the end is the goal. So a goal always exists, and the world agrees with it as long as it remembers.

    Observation `goal_image` `(h, w, 3)` uint8. Reset option `goal`: `(4, 4)` camera-to-world pose of the goal view
    relative to frame 0; the hidden way then leads straight there.

    After Habitat's ImageNav (success within 1 m). A camera moves freely here, so that the direction of view counts
    too; `success_angle_deg=180` leaves it out, as Habitat does.
    """

    name: ClassVar[str] = "ImageNav"
    without: ClassVar[Mapping[str, str]] = {
        "novelty": "counted views (Explore)",
        "deviation": "a path to follow (FollowPath)",
    }

    rewards: Mapping[str, float] = field(
        default_factory=lambda: {"progress": 1.0, "view_progress": 1.0, "success": 2.5, "slack": 0.01}
    )
    """See `Task`."""
    success_distance: float = 1.0
    """Metres from the goal that count as there."""
    success_angle_deg: float = 25.0
    """Degrees between the views that count as the same."""
    distance: tuple[float, float] = (1.5, 3.0)
    """Metres of the hidden way."""
    turn_deg: float = 60.0
    """The hidden way turns by up to this, to the right or left."""
    world_radius: float = 30.0
    """Metres from frame 0 beyond which a given goal is refused."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self.name,
            success_distance=self.success_distance,
            success_angle_deg=self.success_angle_deg,
            world_radius=self.world_radius,
        )
        check_range(self.name, "distance", self.distance)
        if not 0 <= self.turn_deg <= 180:
            raise ValueError(f"{self.name}: turn_deg must lie in 0..180; got {self.turn_deg}.")

    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """`goal_image`."""
        return {"goal_image": spaces.Box(0, 255, (*context.image_size, 3), np.uint8)}

    def read_goal(self, goal: Any, context: TaskContext) -> Array:
        """A pose inside the world."""
        pose = validate_c2w(goal)
        if pose.shape != (4, 4):
            raise ValueError(f"goal must be one pose (4, 4) relative to frame 0; got shape {pose.shape}.")
        read_position(pose[:3, 3], self.world_radius)
        return pose

    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """Walk the hidden ways; rollouts are stepped together as long as several are under way."""
        ways = []
        for at in resets:
            way = wander(at.c2w, context, at.rng, self.distance, self.turn_deg)
            ways.append(way if at.goal is None else travel(at.c2w, at.goal, context))
        images = _look_ahead([at.state for at in resets], ways, context)
        states = []
        for at, way, image in zip(resets, ways, images, strict=True):
            goal = way[-1]
            shortest = np.linalg.norm(goal[:3, 3] - at.c2w[:3, 3])
            shown = resized(image, context.image_size)
            states.append(
                TaskState.of(self.name, goal=goal, goal_image=image, observed_image=shown, start_distance=shortest)
            )
        return states

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """See `Task`."""
        return {
            "goal": (4, 4),
            "goal_image": (None, None, 3),
            "observed_image": (*context.image_size, 3),
            "start_distance": (),
        }

    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """`distance_to_goal` in metres, `angle_to_goal` in degrees."""
        goal = state["goal"]
        return {
            "distance_to_goal": float(np.linalg.norm(goal[:3, 3] - c2w[:3, 3])),
            "angle_to_goal": angle_between(goal, c2w),
        }

    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """Near the goal, and looking its way."""
        near = measures["distance_to_goal"] <= self.success_distance
        return near and measures["angle_to_goal"] <= self.success_angle_deg

    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """`goal_image`."""
        return {"goal_image": state["observed_image"].copy()}


def _look_ahead(states: Sequence[WorldState], ways: Sequence[Array], context: TaskContext) -> list[NDArray[np.uint8]]:
    """The last frame `(H, W, 3)` of each state's copy after its way of poses `(N*F, 4, 4)`."""
    steps = context.frames_per_step
    images: dict[int, NDArray[np.uint8]] = {}
    walking = list(range(len(states)))
    state = states[0] if len(states) == 1 else WorldState.cat(list(states))
    done = 0
    while walking:
        poses = np.stack([ways[i][done : done + steps] for i in walking])
        state, frames = context.model.step(state, poses, sigmas=context.sigmas)
        done += steps
        images |= {i: frames[k, -1] for k, i in enumerate(walking) if len(ways[i]) <= done}
        on = [k for k, i in enumerate(walking) if len(ways[i]) > done]
        if 0 < len(on) < len(walking):
            state = state.select(on)
        walking = [walking[k] for k in on]
    return [images[i].copy() for i in range(len(states))]
