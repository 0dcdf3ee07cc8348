"""`Simulation`: a world model with an environment's arguments, checked; what single and vector environment share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.keymaps import KeyMap, get_keymap
from sanawm_env.envs.actions import ActionMode, Controls, DeltaControls, FrameControls, KeyControls, check_box_action
from sanawm_env.envs.observations import Observation, ObsMode, describe, frames_of, observation_space, observe
from sanawm_env.envs.options import as_device, as_dtype, as_moment, as_size, check_options, sampler_sigmas
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes.start_image import (
    ImageSource,
    IntrinsicsSource,
    StartImage,
    built_in,
    draw_seeds,
    prepare,
    read_image,
)
from sanawm_env.tasks import GoalForm, ResetContext, Task, TaskContext, TaskRunner, TaskView, get_task
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.text.prompts import Prompts, Text
from sanawm_env.world.state import WorldState

__all__ = ["Moment", "Opening", "Outcome", "Simulation", "check_choice"]

Moment: TypeAlias = "EnvSnapshot | WorldState | str | Path"


@dataclass(frozen=True, eq=False)
class Opening:
    """How one episode begins, once the wishes for it are known to be good."""

    moment: EnvSnapshot | None = None
    """Where to go on from, in place of a first frame."""
    start: StartImage | None = None
    """The first frame; None leaves it to the episode's random numbers."""
    goal: Any = None
    """The task's goal; None leaves it to the task."""
    text: Text | None = None
    """Of the prompt; None for a world without text."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a step led to."""

    moment: EnvSnapshot
    """The present, with the task's memory of it."""
    reward: float
    """0 without a task."""
    terminated: bool
    """By the task."""
    truncated: bool
    """By the task; time limits are the environment's."""
    info: dict[str, Any]
    """What the task adds to info."""


class Simulation:
    """The parts of an environment that stay the same from episode to episode.

    It says how episodes begin, how actions steer the camera and how frames are sampled. It holds no rollout, so
    that environments and their forks share one. Pickling one made from a checkpoint's name or folder stores
    only that.
    """

    def __init__(
        self,
        checkpoint: str | Path | WorldModel = DEFAULT_CHECKPOINT,
        *,
        image: ImageSource | None = None,
        prompt: str | None = None,
        intrinsics: IntrinsicsSource | None = None,
        fov_deg: float | None = None,
        chunk_frames: int | None = None,
        sampler_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        max_translation: float | None = None,
        max_rotation: float | None = None,
        action_mode: ActionMode = "delta",
        keymap: str | KeyMap = "nvlabs",
        obs_mode: ObsMode = "frame",
        obs_size: tuple[int, int] | None = None,
        task: str | Task | None = None,
        text_encoder: str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        precision: str | None = None,
        batched: bool | None = None,
    ) -> None:
        """See `SanaWMEnv` for the arguments; `batched` is that of `WorldModel`, None leaves a loaded one's as it is.

        Raises:
            ValueError, FileNotFoundError: An argument that cannot be used; names the mend.
        """
        check_choice("action_mode", action_mode, ("delta", "per_frame", "keys"))
        check_choice("obs_mode", obs_mode, ("frame", "dict", "pose"))
        if isinstance(checkpoint, WorldModel):
            if device != "auto" or dtype is not None or precision is not None:
                raise ValueError("a WorldModel has its device, dtype and precision; leave those arguments out.")
            self._source: tuple[Any, ...] | None = None
            self.model = _with_batching(checkpoint, batched)
        else:
            self._source = (checkpoint, as_device(device), as_dtype(dtype), batched, precision)
            self.model = _load(*self._source)
        config = self.model.config

        chunk = config.chunk_frames if chunk_frames is None else chunk_frames
        if not 1 <= chunk <= config.max_chunk_frames:
            raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
        self.frames_per_step: int = chunk * self.model.vae.temporal_stride
        """Pixel frames F of one step."""
        self.step_seconds: float = self.frames_per_step / config.fps
        """World time of one step."""
        self.sigmas = sampler_sigmas(config.sigmas, sampler_steps, sigmas)
        """Noise levels of the sampler."""
        self.max_translation = (
            config.max_translation * self.frames_per_step if max_translation is None else max_translation
        )
        """Metres per step of a full action component."""
        self.max_rotation = config.max_rotation * self.frames_per_step if max_rotation is None else max_rotation
        """Radians per step of a full action component."""
        if action_mode == "keys" and (max_translation is not None or max_rotation is not None):
            raise ValueError(
                "in action mode 'keys' the key map sets the speeds; change them with dataclasses.replace("
                "get_keymap(...), translation_speed=..., rotation_speed_deg=...) and pass that as keymap."
            )
        self.controls = self._make_controls(action_mode, keymap)
        """From motions to poses."""
        self.obs_mode: ObsMode = obs_mode
        self.obs_size = as_size(obs_size, config.height, config.width)
        """Rows and columns of observed images."""
        self.referee: TaskRunner | None = None
        """The task at work; None without one."""
        if task is not None:
            limits = self.max_translation, self.max_rotation
            context = TaskContext(self.model, self.sigmas, self.frames_per_step, *limits, self.obs_size)
            self.referee = TaskRunner(get_task(task), context)
            if self.referee.task.stop_action and action_mode != "delta":
                raise ValueError(
                    f"stop_action needs action_mode 'delta'; got {action_mode!r}. Use the one or the other."
                )
        self.observation_space = observation_space(
            obs_mode,
            self.frames_per_step,
            *self.obs_size,
            entries=None if self.referee is None else self.referee.entries,
            goal=None if (form := self.goal_form) is None else form.goal_space(),
        )
        """Of one environment."""

        self._image = None if image is None else read_image(image)
        self._prompt, self._intrinsics, self._fov_deg = prompt, intrinsics, fov_deg
        self._prompts = Prompts(self.model, None if self._source is None else self._source[0], text_encoder)
        if intrinsics is not None and fov_deg is not None:
            raise ValueError("give either intrinsics or fov_deg, not both: they may contradict each other.")
        if fov_deg is not None and not 0 < fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180 degrees; got {fov_deg}.")
        if self._image is not None:
            self._start_image(self._image, intrinsics)  # a bad camera should fail here and not at reset
        elif intrinsics is not None:
            raise ValueError("intrinsics describe an image; give image as well, or use fov_deg.")

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the components of an action in mode `keys`; empty in the other modes."""
        return self.controls.keys if isinstance(self.controls, KeyControls) else ()

    @property
    def task(self) -> Task | None:
        """The task; None is a world without one."""
        return None if self.referee is None else self.referee.task

    @property
    def goal_form(self) -> GoalForm | None:
        """The task, if it is played in its goal form."""
        task = self.task
        return task if task is not None and task.goal_env and isinstance(task, GoalForm) else None

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one environment; a new one each time."""
        return spaces.Box(-1.0, 1.0, (7,), np.float32) if self._stoppable else self.controls.space

    @property
    def _stoppable(self) -> bool:
        return self.task is not None and self.task.stop_action

    def split(self, action: Any) -> tuple[Any, bool]:
        """An action's motion, and whether it calls STOP; the camera stands still then.

        Raises:
            ValueError: The action does not lie in the space.
        """
        if not self._stoppable:
            return action, False
        values = check_box_action(action, (7,))
        stop = bool(values[6] > 0)
        return (np.zeros(6) if stop else values[:6]), stop

    # -- the beginning of episodes ------------------------------------------------------------------------

    def opening(self, options: dict[str, Any] | None) -> Opening:
        """Check the `options` of one environment's reset, and read what they name.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used. Nothing has changed then.
        """
        given = check_options(options)
        goal = None
        if "goal" in given:
            if self.referee is None:
                raise ValueError("this environment has no task, hence no goal; make one with task='PointNav', say.")
            goal = self.referee.task.read_goal(given["goal"], self.referee.context)
        if "state" in given:
            past = self._belonging(given["state"])
            return Opening(moment=EnvSnapshot(past.state, 0, past.keyboard, past.frames, past.frame_c2w), goal=goal)
        start = self._given_start(given)
        return Opening(start=start, goal=goal, text=self._prompts.read(given.get("prompt", self._prompt)))

    def begin(self, openings: Sequence[Opening], rngs: Sequence[np.random.Generator]) -> list[EnvSnapshot]:
        """Begin one episode per opening.

        Args:
            openings: Of `opening`.
            rngs: Random numbers of each episode; the world of one that goes on from a moment draws none.
        """
        begun = [opening.moment for opening in openings]
        fresh = [i for i, moment in enumerate(begun) if moment is None]
        if fresh:
            starts, seeds = [], []
            for i in fresh:
                scene, noise = draw_seeds(rngs[i])
                config, start = self.model.config, openings[i].start
                starts.append(built_in(scene, config.width, config.height, self._fov_deg) if start is None else start)
                seeds.append(noise)
            images, cameras = np.stack([s.image for s in starts]), np.stack([s.intrinsics for s in starts])
            texts = [text for i in fresh if (text := openings[i].text) is not None]
            embeddings, masks = (torch.cat(part) for part in zip(*texts, strict=True)) if texts else (None, None)
            state, frames = self.model.start(images, cameras, seeds, embeddings, masks)
            for k, i in enumerate(fresh):
                one = state if len(fresh) == 1 else state.select([k])
                begun[i] = EnvSnapshot(one, 0, None, frames[k], np.eye(4)[None])
        moments = [moment for moment in begun if moment is not None]
        if self.referee is None:
            return moments
        beginnings = [
            ResetContext(moment.state, _pose_of(moment), frames_of(moment)[-1], rng, opening.goal)
            for moment, opening, rng in zip(moments, openings, rngs, strict=True)
        ]
        return [replace(m, task=e) for m, e in zip(moments, self.referee.begin(beginnings), strict=True)]

    # -- moments ------------------------------------------------------------------------------------------

    def adopt(self, moment: Moment) -> EnvSnapshot:
        """Check that a moment belongs to this world and task, and bring it to the model's device.

        Raises:
            ValueError, FileNotFoundError: It does not, or there is no usable file.
        """
        found = self._belonging(moment)
        if self.task is None:
            return replace(found, task=None)
        assert self.referee is not None
        return replace(found, task=self.referee.check(found.task))

    def _belonging(self, moment: Moment) -> EnvSnapshot:
        snapshot = as_moment(moment, self.model.checkpoint, self.frames_per_step)
        state = snapshot.state.to(self.model.device) if snapshot.state.device != self.model.device else snapshot.state
        self.model.check_state(state)
        return replace(snapshot, state=state)

    def show(self, moment: EnvSnapshot, told: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Observation and info of a moment, in memory of their own.

        Args:
            moment: The moment.
            told: `Outcome.info` of the step that led to it, so that the task need not measure again; None for others.
        """
        info = describe(moment, self.model.config.fps, self.frames_per_step)
        if self.referee is None:
            return observe(moment, self.obs_mode, self.frames_per_step, self.obs_size), info
        seen = _seen(moment)
        info |= self.referee.info(seen) if told is None else told
        form = self.goal_form
        if form is not None:
            mode: ObsMode = "frame" if self.obs_mode == "frame" else "pose"
            goals = {
                "achieved_goal": form.achieved_goal(seen.c2w),
                "desired_goal": form.desired_goal(seen.state),
            }
            world = observe(moment, mode, self.frames_per_step, self.obs_size)
            return cast(Observation, {"observation": world, **goals}), info
        entries = self.referee.observe(seen)
        observation = observe(moment, self.obs_mode, self.frames_per_step, self.obs_size, entries)
        return observation, info

    def judge(self, before: EnvSnapshot, after: EnvSnapshot, stop: bool = False) -> Outcome:
        """What the step between two moments means.

        Args:
            before: The moment before it.
            after: The moment after it; its task is still that of `before`.
            stop: Of `split`.
        """
        if self.referee is None or after.frame_c2w is None:
            return Outcome(after, 0.0, False, False, {})
        verdict = self.referee.step(_seen(before), after.frame_c2w, frames_of(after)[-1], stop=stop)
        moment = replace(after, task=verdict.state)
        return Outcome(moment, verdict.reward, verdict.terminated, verdict.truncated, verdict.info)

    # -- parts --------------------------------------------------------------------------------------------

    def _make_controls(self, mode: ActionMode, keymap: str | KeyMap) -> Controls:
        frames = self.frames_per_step
        if mode == "keys":
            return KeyControls(frames, get_keymap(keymap))
        return (DeltaControls if mode == "delta" else FrameControls)(frames, self.max_translation, self.max_rotation)

    def _start_image(self, image: ImageSource, intrinsics: IntrinsicsSource | None) -> StartImage:
        config = self.model.config
        return prepare(
            image,
            config.width,
            config.height,
            intrinsics=intrinsics,
            fov_deg=self._fov_deg if intrinsics is None else None,
            default_fov_deg=config.default_fov_deg,
        )

    def _given_start(self, given: dict[str, Any]) -> StartImage | None:
        """The first frame that options or arguments ask for; None leaves it to the random numbers."""
        image = given.get("image")
        if image is not None:
            return self._start_image(image, given.get("intrinsics"))
        if self._image is not None:
            return self._start_image(self._image, given.get("intrinsics", self._intrinsics))
        if given.get("intrinsics") is not None:
            raise ValueError("option 'intrinsics' describes an image; give the option 'image' as well.")
        return None

    # -- copies -------------------------------------------------------------------------------------------

    def with_batching(self, batched: bool | None) -> Simulation:
        """The same, with slots in one forward or one after another; None leaves it as it is."""
        twin = copy.copy(self)
        twin._source = None if self._source is None else (*self._source[:3], batched, self._source[4])
        twin.model = _with_batching(self.model, batched)
        twin._bind()
        return twin

    def _bind(self) -> None:
        if self.referee is not None:
            self.referee = self.referee.with_model(self.model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulation:
        return self  # nothing in it changes

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._source is None else self.__dict__ | {"model": None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        if self._source is not None:
            self.model = _load(*self._source)
        self._bind()


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse an argument that is none of the allowed values.

    Raises:
        ValueError: It is not.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def _pose_of(moment: EnvSnapshot) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], moment.state.c2w[0].cpu().numpy())


def _seen(moment: EnvSnapshot) -> TaskView:
    assert moment.task is not None  # `begin` and `adopt` saw to it
    return TaskView(moment.task, _pose_of(moment), frames_of(moment)[-1])


def _load(
    checkpoint: str | Path,
    device: torch.device,
    dtype: torch.dtype | None,
    batched: bool | None,
    precision: str | None,
) -> WorldModel:
    return WorldModel.load(checkpoint, device, dtype, batched=batched, precision=precision)


def _with_batching(model: WorldModel, batched: bool | None) -> WorldModel:
    """The model, or one of the same modules that batches otherwise: the given one may have other users."""
    if batched is None or batched == model.batched:
        return model
    twin = copy.copy(model)
    twin.batched = batched
    return twin
