"""`TaskRunner`: applies a task to the steps of a world: first state, reward, end, info and observation.

Single and vector environment share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.metrics import appearance, appearances, decay, motion_between, path_length, soft_spl, spl
from sanawm_env.tasks.rewards import Step, check_rewards, weigh
from sanawm_env.tasks.settings import differences, fingerprint, misfits, qualified_name
from sanawm_env.tasks.state import TaskState
from sanawm_env.tasks.task import Array, GoalForm, ResetContext, Task, TaskContext
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import StateError

__all__ = ["TaskRunner", "TaskStep", "TaskView"]

_OWN_SHAPES = {"path_length": (), "motion": (6,), "appearance": (5,)}
"""What the runner adds to every task's state."""


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
    """Measures and metrics, and `reward_terms`; the keys of `TaskRunner.info`."""


class TaskRunner:
    """A task with the context it runs in. It holds no episode: states go in and come out.

    Nothing in it changes, so that copies are the runner itself. A pickle leaves the model out; `with_model` binds it
    to one again.
    """

    def __init__(self, task: Task, context: TaskContext) -> None:
        self.task, self.context = task, context
        self.name: str = task.name or qualified_name(type(task))
        """In `TaskState.task`."""
        self.entries: dict[str, spaces.Space[Any]] = task.entries(context)
        """Spaces that the task adds to observations."""
        self.fingerprint: str = fingerprint(task, self.entries)
        """The task's settings as text, in `TaskState.fingerprint`."""
        self._rewards = check_rewards(task.rewards, task.terms, task.without)
        self._wants_contact = "collision" in task.rewards and "collision" not in task.terms
        # Along an axis that cannot move any unit will do.
        self._limits = np.repeat([context.max_translation or 1.0, context.max_rotation or 1.0], 3)
        self._follows = type(task).follow is not Task.follow
        self._goals: GoalForm | None = task if task.goal_env and isinstance(task, GoalForm) else None

    def with_model(self, model: WorldModel) -> TaskRunner:
        """The same task in the same context, whose world is this model."""
        return self if model is self.context.model else TaskRunner(self.task, self.context.with_model(model))

    def __deepcopy__(self, memo: dict[int, Any]) -> TaskRunner:
        return self

    # -- states -------------------------------------------------------------------------------------------

    def begin(self, resets: Sequence[ResetContext]) -> list[TaskState]:
        """The first state of each episode.

        Raises:
            RuntimeError: The runner comes from a pickle and has no model yet.
        """
        if self.context.model is None:
            raise RuntimeError("a task runner leaves its world out of pickles; bind it with runner.with_model(model).")
        states = []
        looks = appearances([at.frame for at in resets])
        for begun, at, look in zip(self.task.begin(resets, self.context), resets, looks, strict=True):
            own = {"path_length": np.zeros(()), "motion": np.zeros(6), "appearance": look}
            state = TaskState(self.name, {**begun.values, **own}, self.fingerprint)
            states.append(state.measured(self._measure(state, at.c2w, at.frame, look)))
        return states

    def check(self, state: TaskState | None) -> TaskState:
        """Whether this task can go on with a state, that is, whether the same task of the same settings made it.

        States without a fingerprint (files of before) pass if their arrays have the shapes that the task would give
        them.

        Returns:
            The state, with this runner's fingerprint.

        Raises:
            ValueError: It cannot; names what differs.
        """
        begin_anew = "begin an episode there with reset(options={'state': ...})"
        if state is None or state.task not in (self.name, self.task.name):
            what = "no task" if state is None else f"the task {state.task or 'of a class without a name'}"
            raise StateError(f"the moment holds {what}, this environment plays {self.name}; {begin_anew}.")
        if state.fingerprint == self.fingerprint:
            return state
        if state.fingerprint:
            wrong = differences(state.fingerprint, self.fingerprint, self.task)
        else:
            shapes = {**_OWN_SHAPES, **self.task.state_shapes(self.context)}
            wrong = misfits(state, shapes, self.entries, self.task)
        if wrong:
            raise StateError(
                f"the moment is of the task {self.name} with other settings: {'; '.join(wrong)}. "
                f"Make the environment with the same settings, or {begin_anew}."
            )
        return TaskState(self.name, state.values, self.fingerprint)

    # -- steps --------------------------------------------------------------------------------------------

    def step(
        self, before: TaskView, c2w: Array, frame: NDArray[np.uint8], *, stop: bool, collided: bool | None = None
    ) -> TaskStep:
        """What one step of the world meant; see `step_many`.

        Args:
            before: The view before it.
            c2w: `(F, 4, 4)` poses of the step.
            frame: `(H, W, 3)` its last frame.
            stop: Whether STOP was called.
            collided: Whether the body ran into something; None where contact is not sensed.
        """
        hits = None if collided is None else [collided]
        return self.step_many([before], c2w[None], [frame], [stop], hits)[0]

    def step_many(
        self,
        befores: Sequence[TaskView],
        c2w: Array,
        frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        stops: Sequence[bool] | NDArray[np.bool_] | None = None,
        collided: Sequence[bool] | None = None,
    ) -> list[TaskStep]:
        """What one step meant in each of N slots. A slot gets the same bits whatever lies beside it.

        Args:
            befores: N views before the step.
            c2w: `(N, F, 4, 4)` poses of the step.
            frames: N last frames `(H, W, 3)`, or one array of them.
            stops: N times, whether STOP was called; None for never.
            collided: N times, whether the body ran into something; None where contact is not sensed.

        Raises:
            ValueError: A reward term gave no finite number, or needs contact that is not sensed.
        """
        if collided is None and self._wants_contact:
            raise ValueError("reward term 'collision' needs contact; set contact='report' or contact='block'.")
        if not befores:
            return []
        starts = np.stack([view.c2w for view in befores])
        motions = motion_between(starts, c2w[:, -1]) / self._limits
        gone = path_length(starts[:, :3, 3], c2w).tolist()
        never = [False] * len(befores)
        stops, collided = never if stops is None else stops, never if collided is None else collided
        looks = appearances(frames)
        slots = zip(befores, c2w, motions, gone, frames, looks, stops, collided, strict=True)
        return [self._step(*slot) for slot in slots]

    def _step(
        self,
        before: TaskView,
        c2w: Array,
        motion: Array,
        metres: float,
        frame: NDArray[np.uint8],
        look: Array,
        stop: bool,
        collided: bool,
    ) -> TaskStep:
        task, old, last = self.task, before.state, c2w[-1]
        was = self._measures(before)
        values = (task.follow(old, c2w) if self._follows else old).values
        travelled = float(old.values["path_length"]) + metres
        state = TaskState(self.name, {**values, "path_length": np.array(travelled), "motion": motion}, self.fingerprint)
        now = self._measure(state, last, frame, look)
        state.measured(now)
        success = bool(task.reached(state, now) and (stop or not task.stop_action))
        done = bool(success or stop)
        terms = weigh(
            self._rewards,
            Step(old, state, was, now, last, motion, old.values["motion"], frame, before.frame, success, collided),
        )
        reward = float(sum(terms.values()))
        if (goals := self._goals) is not None:
            reward = float(goals.compute_reward(goals.achieved_goal(last), goals.desired_goal(state), {}))
        decayed = task.drift_limit is not None and now["drift"] > task.drift_limit
        return TaskStep(state, reward, done, bool(decayed and not done), self._info(state, now, success, terms))

    # -- looking ------------------------------------------------------------------------------------------

    def info(self, view: TaskView) -> dict[str, Any]:
        """Info of a moment that no step led to (a reset or restore): the keys of a step's, all reward terms zero."""
        return self._info(view.state, self._measures(view), False, dict.fromkeys(self._rewards, 0.0))

    def observe(self, view: TaskView) -> dict[str, NDArray[Any]]:
        """The task's part of the observation."""
        return self.task.observe(view.state, view.c2w)

    def _measure(self, state: TaskState, c2w: Array, frame: NDArray[np.uint8], look: Array) -> dict[str, float]:
        """The task's measures and the drift; `look` is the frame's `appearance`."""
        return {**self.task.measure(state, c2w, frame), "drift": decay(state.values["appearance"], look)}

    def _measures(self, view: TaskView) -> Mapping[str, float]:
        """What the step that led there measured; measured now where none did."""
        if view.state.measures is not None:
            return view.state.measures
        return self._measure(view.state, view.c2w, view.frame, appearance(view.frame))

    def _info(
        self, state: TaskState, measures: Mapping[str, float], success: bool, terms: dict[str, float]
    ) -> dict[str, Any]:
        travelled = float(state.values["path_length"])
        info: dict[str, Any] = {"success": success, "path_length": travelled, **measures}
        if "distance_to_goal" in measures:
            shortest = float(state.values["start_distance"])
            info["spl"] = spl(success, shortest, travelled)
            info["soft_spl"] = soft_spl(measures["distance_to_goal"], shortest, travelled)
        info["reward_terms"] = terms
        return info
