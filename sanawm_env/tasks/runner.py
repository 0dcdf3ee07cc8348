"""`TaskRunner`: applies a task to the steps of a world: first state, reward, end, info and observation.

Single and vector environment share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.decay import appearance, decay
from sanawm_env.tasks.geometry import motion_between, path_length
from sanawm_env.tasks.metrics import soft_spl, spl
from sanawm_env.tasks.rewards import Step, check_rewards, weigh
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, GoalForm, ResetContext, Task, TaskContext

__all__ = ["TaskRunner", "TaskStep", "TaskView"]


@dataclass(frozen=True, eq=False)
class TaskView:
    """What a task can see of an environment at one moment."""

    state: TaskState
    """The task's memory."""
    c2w: Array
    """`(4, 4)` pose."""
    frame: NDArray[np.uint8]
    """`(H, W, 3)` picture."""


@dataclass(frozen=True, eq=False)
class TaskStep:
    """What a step meant for the task."""

    state: TaskState
    """The task's memory after it."""
    reward: float
    """Sum of the weighted terms; in the goal form the goal's reward."""
    terminated: bool
    """The goal is reached, or STOP was called."""
    truncated: bool
    """The drift guard ended the episode."""
    info: dict[str, Any]
    """Measures and metrics, see `TaskRunner.info`, and `reward_terms`."""


class TaskRunner:
    """A task with the context it runs in. It holds no episode: states go in and come out."""

    def __init__(self, task: Task, context: TaskContext) -> None:
        self.task, self.context = task, context
        self.entries: dict[str, spaces.Space[Any]] = task.entries(context)
        self._rewards = check_rewards(task.rewards, task.terms, task.without)
        self._limits = np.repeat([context.max_translation, context.max_rotation], 3)

    def begin(self, resets: Sequence[ResetContext]) -> list[TaskState]:
        """The first `TaskState` of each rollout."""
        states = self.task.begin(resets, self.context)
        return [
            state.with_(path_length=0.0, motion=np.zeros(6), appearance=appearance(at.frame))
            for state, at in zip(states, resets, strict=True)
        ]

    def step(self, before: TaskView, c2w: Array, frame: NDArray[np.uint8], *, stop: bool) -> TaskStep:
        """What one step of the world meant.

        Args:
            before: The view before it.
            c2w: `(F, 4, 4)` poses of the step.
            frame: `(H, W, 3)` its last frame.
            stop: Whether STOP was called.

        Raises:
            ValueError: A reward term gave no finite number.
        """
        task, last = self.task, c2w[-1]
        motion = motion_between(before.c2w, last) / self._limits
        travelled = before.state.number("path_length") + path_length(before.c2w[:3, 3], c2w)
        state = task.follow(before.state, c2w).with_(path_length=travelled, motion=motion)
        was, now = self._measure(before), self._measure(TaskView(state, last, frame))
        arrived = task.reached(state, now)
        success = arrived and (stop or not task.stop_action)
        step = Step(before.state, state, was, now, last, motion, before.state["motion"], frame, before.frame, success)
        terms = weigh(self._rewards, step)
        reward = sum(terms.values())
        if task.goal_env and isinstance(task, GoalForm):
            goals = task.achieved_goal(last), task.desired_goal(state)
            reward = float(task.compute_reward(*goals, {}))
        decayed = task.drift_limit is not None and now["drift"] > task.drift_limit
        return TaskStep(
            state,
            float(reward),
            bool(success or stop),
            bool(decayed and not (success or stop)),
            self._info(state, now, success) | {"reward_terms": terms},
        )

    def info(self, view: TaskView) -> dict[str, Any]:
        """Info of a moment that no step led to (a reset or restore): what `step` gives but for `reward_terms`."""
        return self._info(view.state, self._measure(view), False)

    def observe(self, view: TaskView) -> dict[str, NDArray[Any]]:
        """The task's part of the observation."""
        return self.task.observe(view.state, view.c2w)

    def _measure(self, view: TaskView) -> dict[str, float]:
        measures = self.task.measure(view.state, view.c2w, view.frame)
        return measures | {"drift": decay(view.state["appearance"], appearance(view.frame))}

    def _info(self, state: TaskState, measures: dict[str, float], success: bool) -> dict[str, Any]:
        travelled = state.number("path_length")
        info: dict[str, Any] = {"success": bool(success), "path_length": travelled, **measures}
        if "distance_to_goal" in measures:
            shortest = state.number("start_distance")
            info["spl"] = spl(success, shortest, travelled)
            info["soft_spl"] = soft_spl(measures["distance_to_goal"], shortest, travelled)
        return info
