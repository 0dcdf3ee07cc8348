"""`LoopClosure`: go away and come back to the same view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.metrics import angle_between, motion_between, psnr
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, ResetContext, Task, TaskContext, check_positive

__all__ = ["LoopClosure"]


@dataclass(frozen=True)
class LoopClosure(Task):
    """Get `out_distance` away from where the episode began, and come back to the same view.

    What it asks of the policy is easy; what it asks of the *world* is memory: `info["revisit_psnr"]` compares the
    picture with the first one at every step, and at a success it says how well the world remembered. `min_psnr` makes
    that a condition.

    Observation `home` `(6,)` float32: the first pose in the camera's frame now, `[x, y, z]` in metres and a rotation
    vector in radians; `out` `(1,)` float32: 1 once the camera has been far enough away. `distance_to_goal` is what is
    left of the way out and back.
    """

    name: ClassVar[str] = "LoopClosure"
    without: ClassVar[Mapping[str, str]] = {
        "novelty": "counted views (Explore)",
        "deviation": "a path to follow (FollowPath)",
    }

    rewards: Mapping[str, float] = field(
        default_factory=lambda: {"progress": 1.0, "view_progress": 0.1, "success": 2.5, "slack": 0.01}
    )
    """See `Task`."""
    out_distance: float = 1.5
    """Metres from home that have to be reached first."""
    success_distance: float = 0.3
    """Metres from home that count as there."""
    success_angle_deg: float = 15.0
    """Degrees between the views that count as the same."""
    min_psnr: float = 0.0
    """Decibels that the picture at home must have against the first; 0 asks for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self.name,
            out_distance=self.out_distance,
            success_distance=self.success_distance,
            success_angle_deg=self.success_angle_deg,
        )
        if self.success_distance >= self.out_distance:
            raise ValueError(
                f"{self.name}: success_distance {self.success_distance} must be less than out_distance "
                f"{self.out_distance}; nobody would have to leave."
            )
        if not (np.isfinite(self.min_psnr) and self.min_psnr >= 0):
            raise ValueError(f"{self.name}: min_psnr must be decibels of at least 0; got {self.min_psnr}.")

    def entries(self, context: TaskContext) -> dict[str, spaces.Space[Any]]:
        """`home` and `out`."""
        return {
            "home": spaces.Box(-np.inf, np.inf, (6,), np.float32),
            "out": spaces.Box(0.0, 1.0, (1,), np.float32),
        }

    def read_goal(self, goal: Any, context: TaskContext) -> Any:
        """There is none to choose."""
        raise ValueError("LoopClosure's goal is where the episode begins; leave the option 'goal' out.")

    def begin(self, resets: Sequence[ResetContext], context: TaskContext) -> list[TaskState]:
        """Home is here."""
        return [
            TaskState.of(
                self.name, goal=at.c2w, goal_image=at.frame.copy(), farthest=0.0, start_distance=2 * self.out_distance
            )
            for at in resets
        ]

    def state_shapes(self, context: TaskContext) -> Mapping[str, tuple[int | None, ...]]:
        """See `Task`."""
        return {"goal": (4, 4), "goal_image": (None, None, 3), "farthest": (), "start_distance": ()}

    def follow(self, state: TaskState, c2w: Array) -> TaskState:
        """Remember how far the camera has been."""
        far = np.linalg.norm(c2w[:, :3, 3] - state["goal"][:3, 3], axis=1).max()
        return state.with_(farthest=far) if far > state["farthest"] else state

    def measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8]) -> dict[str, float]:
        """`distance_to_goal` in metres, `angle_to_goal` in degrees, `revisit_psnr` in dB, `been_out` 0 or 1."""
        home = state["goal"]
        away = float(np.linalg.norm(home[:3, 3] - c2w[:3, 3]))
        out = bool(state["farthest"] >= self.out_distance)
        # The way out is measured by the farthest point: going back and forth before it is no progress.
        to_go = 0.0 if out else self.out_distance - state.number("farthest")
        return {
            "distance_to_goal": away if out else to_go + self.out_distance,
            "angle_to_goal": angle_between(home, c2w),
            "revisit_psnr": float(psnr(frame, state["goal_image"])),
            "been_out": float(out),
        }

    def reached(self, state: TaskState, measures: Mapping[str, float]) -> bool:
        """Home again, after having been out."""
        near = measures["distance_to_goal"] <= self.success_distance and measures["been_out"] == 1.0
        same = measures["angle_to_goal"] <= self.success_angle_deg and measures["revisit_psnr"] >= self.min_psnr
        return near and same

    def observe(self, state: TaskState, c2w: Array) -> dict[str, NDArray[Any]]:
        """`home` and `out`."""
        out = state["farthest"] >= self.out_distance
        return {
            "home": motion_between(c2w, state["goal"]).astype(np.float32),
            "out": np.array([out], dtype=np.float32),
        }
