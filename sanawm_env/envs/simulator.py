"""`Simulator`: N slots of a world, stepped as an environment; single and vector environment are its faces."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.envs.actions import Controls, DeltaControls, FrameControls, KeyControls, check_box_actions
from sanawm_env.envs.options import as_chunk_frames, as_size, sampler_sigmas
from sanawm_env.envs.options.resets import Moment, ResetPlan, ResetPlanner
from sanawm_env.envs.sensors.observations import Observation, Sensors, join
from sanawm_env.envs.sensors.suite import SensorSuite
from sanawm_env.envs.settings import Settings
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.tasks import GoalForm, ResetContext, Task, TaskContext, TaskRunner, TaskView
from sanawm_env.world.model import WorldModel

__all__ = ["Moment", "ResetPlan", "Simulator", "StepResult"]


@dataclass(frozen=True, eq=False)
class StepResult:
    """What a step meant to each of N slots."""

    rewards: NDArray[np.float64]
    """`(N,)`; 0 without a task."""
    terminated: NDArray[np.bool_]
    """`(N,)`, by the task."""
    truncated: NDArray[np.bool_]
    """`(N,)`, by the task or because time is up."""
    infos: Sequence[dict[str, Any]]
    """What the task adds to info, N of them; none without a task."""


class Simulator:
    """A world, a task, sensors and controls. It holds no rollout, so that environments and their forks share one.

    The present is a `Slots`, which `begin` makes and `step` takes further. Pickling a simulator that was made from a
    checkpoint's name or folder stores only that.
    """

    def __init__(
        self,
        checkpoint: str | Path | WorldModel = DEFAULT_CHECKPOINT,
        settings: Settings | None = None,
        *,
        batched: bool | None = None,
    ) -> None:
        """Load the world and check what depends on it.

        Args:
            checkpoint: As in `SanaWMEnv`.
            settings: Its other arguments.
            batched: As in `WorldModel`; None leaves a loaded one's as it is.

        Raises:
            ValueError, FileNotFoundError: An argument that cannot be used; names the fix.
        """
        settings = settings or Settings()
        self.settings = settings
        self._source: dict[str, Any] | None = None
        if isinstance(checkpoint, WorldModel):
            settings.check_made_world()
            self.model = _with_batching(checkpoint, batched)
        else:
            self._source = settings.source(checkpoint, batched)
            self.model = WorldModel.load(**self._source)
        config = self.model.config

        frames = as_chunk_frames(settings.chunk_frames, config, self.model.refiner) * self.model.vae.temporal_stride
        self.frames_per_step: int = frames
        """Pixel frames F of one step."""
        self.step_seconds: float = frames / config.fps
        """World time of one step."""
        self.sigmas = sampler_sigmas(config.sigmas, settings.sampler_steps, settings.sigmas)
        """Noise levels of the sampler."""
        translation, rotation = settings.max_translation, settings.max_rotation
        self.max_translation: float = config.max_translation * frames if translation is None else translation
        """Metres per step of a full action component."""
        self.max_rotation: float = config.max_rotation * frames if rotation is None else rotation
        """Radians per step of a full action component."""
        self.controls: Controls = self._controls()
        """From actions to poses."""
        size = as_size(settings.obs_size, config.height, config.width)
        self.sensors = Sensors(settings.obs_mode, frames, size, config.fps, settings.info_frames)
        """From slots to observations."""
        self.suite = SensorSuite.of(settings, size, self.model)
        """Depth and what is read from it; None where nobody asked for it, which then costs nothing."""
        self.runner: TaskRunner | None = None
        """The task at work; None without one."""
        if settings.task is not None:
            limits = self.controls.limits
            self.runner = TaskRunner(settings.task, TaskContext(self.model, self.sigmas, frames, *limits, size))
        added = {} if self.suite is None else self.suite.entries
        self.observation_space = self.sensors.space(
            added or None if self.runner is None else {**added, **self.runner.entries},
            None if self.goal_form is None else self.goal_form.goal_space(),
        )
        """Of one slot."""
        self._resets = ResetPlanner(self.model, settings, frames)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the components of an action in mode `keys`; empty in the other modes."""
        return self.controls.keys if isinstance(self.controls, KeyControls) else ()

    @property
    def task(self) -> Task | None:
        """The task; None is a world without one."""
        return None if self.runner is None else self.runner.task

    @property
    def goal_form(self) -> GoalForm | None:
        """The task, if it is played in its goal form."""
        task = self.task
        return task if task is not None and task.goal_env and isinstance(task, GoalForm) else None

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one slot; a new one each time."""
        stops = self.task is not None and self.task.stop_action
        return spaces.Box(-1.0, 1.0, (7,), np.float32) if stops else self.controls.space

    # -- the beginning of episodes ------------------------------------------------------------------------

    def plan(self, options: dict[str, Any] | None) -> ResetPlan:
        """Check the `options` of one slot's reset, and read what they name.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used. Nothing has changed then.
        """
        return self._resets.plan(options, self.model, self.runner)

    def begin(self, plans: Sequence[ResetPlan], rngs: Sequence[np.random.Generator]) -> Slots:
        """Begin one episode per plan.

        Args:
            plans: Of `plan`.
            rngs: Random numbers of each episode; the world of one that goes on from a moment draws none.
        """
        moments = self._resets.begin(plans, rngs, self.model)
        slots = Slots.of(moments)
        if self.suite is not None:
            slots = self.suite.sense(slots)
        if self.runner is None:
            return slots
        return slots.with_tasks(
            self.runner.begin(
                [
                    ResetContext(moments[i].state, slots.c2w[i], slots.last_frames[i], rng, plan.goal)
                    for i, (plan, rng) in enumerate(zip(plans, rngs, strict=True))
                ]
            )
        )

    def adopt(self, moment: Moment) -> EnvSnapshot:
        """Check that a moment belongs to this world and task, and bring it to the model's device.

        Raises:
            ValueError, FileNotFoundError: It does not, or there is no usable file.
        """
        found = self._resets.belonging(moment, self.model)
        task = None if self.runner is None else self.runner.check(found.task)
        found = replace(found, task=task, depth=None)
        return replace(found, contact=None) if self.suite is None else self.suite.sense(Slots.of([found])).only

    # -- steps --------------------------------------------------------------------------------------------

    def step(self, now: Slots, actions: Any) -> tuple[Slots, StepResult]:
        """One step of every slot.

        Args:
            now: The present; not modified.
            actions: One per slot.

        Raises:
            ActionError: An action outside the space.
            ValueError: A reward term gave no finite number, or a depth source no depth.
        """
        count, stops = len(now), np.zeros(len(now), bool)
        if self.runner is not None and self.runner.task.stop_action:
            values = check_box_actions(actions, count, (7,))
            stops = values[:, 6] > 0
            actions = np.where(stops[:, None], 0.0, values[:, :6])
        poses, keyboards = self.controls.move(now.c2w, now.keyboards, actions)
        contacts = now.contacts
        if self.suite is not None:
            poses, keyboards, contacts = self.suite.move(now, poses, keyboards)
        state, frames = self.model.step(now.state, poses, sigmas=self.sigmas)
        elapsed = tuple(steps + 1 for steps in now.elapsed_steps)
        frames.flags.writeable = poses.flags.writeable = False
        after = Slots(state, elapsed, tuple(keyboards), tuple(frames), tuple(poses), now.tasks, now.depth, contacts)
        if self.suite is not None:
            after = self.suite.sense(after)
        late = np.array([self.settings.out_of_time(steps, self.step_seconds) for steps in elapsed])
        if self.runner is None:
            return after, StepResult(np.zeros(count), np.zeros(count, bool), late, [])
        views = self._views(now)
        collided = None if self.suite is None else [contact is not None and contact.collided for contact in contacts]
        results = self.runner.step_many(views, poses, list(frames[:, -1]), stops.tolist(), collided)
        after = after.with_tasks([result.state for result in results])
        return after, StepResult(
            np.array([result.reward for result in results], dtype=np.float64),
            np.array([result.terminated for result in results], dtype=bool),
            late | np.array([result.truncated for result in results], dtype=bool),
            [result.info for result in results],
        )

    def show(
        self, slots: Slots, step_infos: Sequence[dict[str, Any] | None] = ()
    ) -> tuple[Observation, dict[str, Any]]:
        """Observations and info of slots, each entry with the slots' axis first, in memory of their own.

        Args:
            slots: Of whom.
            step_infos: `StepResult.infos` of the step that led there, so that the task need not measure again; None
                for slots that no step led to.
        """
        info: dict[str, Any] = self.sensors.info(slots)
        seen: dict[str, NDArray[Any]] = {}
        if self.suite is not None:
            seen, sensed = self.suite.show(slots)
            info |= sensed
        if self.runner is None:
            return self.sensors.observe(slots, seen or None), info
        views = self._views(slots)
        known = step_infos or [None] * len(slots)
        info |= join([self.runner.info(view) if one is None else one for view, one in zip(views, known, strict=True)])
        if (form := self.goal_form) is not None:
            goals = {
                "achieved_goal": np.stack([form.achieved_goal(view.c2w) for view in views]),
                "desired_goal": np.stack([form.desired_goal(view.state) for view in views]),
            }
            return {"observation": self.sensors.world(slots), **goals}, info
        return self.sensors.observe(slots, seen | join([self.runner.observe(view) for view in views])), info

    def step_depth(self, slots: Slots, slot: int) -> NDArray[np.float32] | None:
        """Depth `(F, H, W)` of all frames of a slot's last step, metres, for records; None without that sensor."""
        return None if self.suite is None or self.suite.depth is None else self.suite.step_depth(slots, slot)

    # -- parts --------------------------------------------------------------------------------------------

    def _controls(self) -> Controls:
        frames, settings = self.frames_per_step, self.settings
        if settings.action_mode == "keys":
            return KeyControls(frames, settings.keymap)  # type: ignore[arg-type]
        kind = DeltaControls if settings.action_mode == "delta" else FrameControls
        return kind(frames, self.max_translation, self.max_rotation)

    def _views(self, slots: Slots) -> list[TaskView]:
        """What of each slot its task can see."""
        return [
            TaskView(task, c2w, frame)
            for task, c2w, frame in zip(slots.tasks, slots.c2w, slots.last_frames, strict=True)
            if task is not None
        ]

    # -- copies -------------------------------------------------------------------------------------------

    def with_limit(self, max_episode_steps: int | None) -> Simulator:
        """The same with another limit of steps; -1 is none, None leaves it to `episode_seconds`."""
        twin = copy.copy(self)
        twin.settings = replace(self.settings, max_episode_steps=max_episode_steps)
        return twin

    def with_batching(self, batched: bool | None) -> Simulator:
        """The same, with slots in one forward or one after another; None leaves it as it is."""
        model = _with_batching(self.model, batched)
        if model is self.model:
            return self
        twin = copy.copy(self)
        twin._source = None if self._source is None else self._source | {"batched": batched}
        twin._use(model)
        return twin

    def without_refiner(self) -> Simulator:
        """The same on stage 1 alone; itself if there is no refiner."""
        if self.model.refiner is None:
            return self
        twin = copy.copy(self)
        twin._source = None if self._source is None else self._source | {"refiner": None}
        twin._use(self.model.with_refiner(None))
        return twin

    def _use(self, model: WorldModel) -> None:
        """Let every part have this model, and only this one."""
        self.model = model
        if self.runner is not None:
            self.runner = self.runner.with_model(model)
        if self.suite is not None:
            self.suite = self.suite.with_model(model)

    def __copy__(self) -> Simulator:
        twin = object.__new__(type(self))  # the default goes through pickling, which would load the model anew
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulator:
        return self  # nothing in it changes

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._source is None else self.__dict__ | {"model": None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        # The task runner leaves its model out of pickles, so that there is one.
        self._use(self.model if self._source is None else WorldModel.load(**self._source))


def _with_batching(model: WorldModel, batched: bool | None) -> WorldModel:
    """The model, or one of the same modules that batches otherwise: the given one may have other users."""
    if batched is None or batched == model.batched:
        return model
    twin = copy.copy(model)
    twin.batched = batched
    return twin
