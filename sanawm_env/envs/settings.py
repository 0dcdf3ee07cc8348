"""`Settings`: the arguments that single and vector environment share, spelled once."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sanawm_env.camera.keymaps import KeyMap, get_keymap
from sanawm_env.envs.actions import ActionMode
from sanawm_env.envs.sensors.arguments import ContactMode, read_body, read_sensors
from sanawm_env.envs.sensors.contact import Body
from sanawm_env.envs.sensors.observations import ObsMode
from sanawm_env.registration import EPISODE_SECONDS
from sanawm_env.scenes.start_image import ImageSource, IntrinsicsSource, read_image
from sanawm_env.tasks import Task, get_task
from sanawm_env.world.accel.device import as_device, as_dtype
from sanawm_env.world.checkpoints.refiner.options import read_options
from sanawm_env.world.state.empty import check_state_precision

__all__ = ["Settings", "check_choice"]


@dataclass(frozen=True, eq=False)
class Settings:
    """How a world is turned into an environment. `SanaWMEnv` tells what each field means.

    What can be judged without the weights is judged here, so that a mistake is told before minutes of loading.

    Raises:
        ValueError, FileNotFoundError: A value that cannot be used; names the fix.
    """

    image: ImageSource | None = None
    prompt: str | None = None
    intrinsics: IntrinsicsSource | None = None
    fov_deg: float | None = None
    level: bool = False
    chunk_frames: int | None = None
    sampler_steps: int | None = None
    sigmas: Sequence[float] | None = None
    max_translation: float | None = None
    max_rotation: float | None = None
    action_mode: ActionMode = "delta"
    keymap: str | KeyMap | Mapping[str, Any] = "nvlabs"
    obs_mode: ObsMode = "frame"
    obs_size: tuple[int, int] | None = None
    task: Any = None
    sensors: Any = ()
    contact: ContactMode = "none"
    body: Body | Mapping[str, Any] | None = None
    text_encoder: str | Path | None = None
    device: str | torch.device = "auto"
    dtype: str | torch.dtype | None = None
    precision: str | None = None
    refiner: Any = None
    state_precision: str | None = None
    info_frames: bool = True
    episode_seconds: float | None = EPISODE_SECONDS
    max_episode_steps: int | None = None

    @classmethod
    def read(cls, arguments: dict[str, Any]) -> Settings:
        """From keyword arguments.

        Raises:
            TypeError: An argument that does not exist.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in arguments if name not in known]:
            raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}; there are {', '.join(known)}.")
        return cls(**arguments)

    def __post_init__(self) -> None:
        check_choice("action_mode", self.action_mode, ("delta", "per_frame", "keys"))
        check_choice("obs_mode", self.obs_mode, ("frame", "dict", "pose"))
        check_choice("contact", self.contact, ("none", "report", "block"))
        self._set("sensors", read_sensors(self.sensors))
        self._set("refiner", read_options(self.refiner))
        if self.body is not None and self.contact == "none":
            raise ValueError("a body touches nothing as long as contact is 'none'; set contact='report' or 'block'.")
        self._set("body", None if self.body is None else read_body(self.body))
        self._set("chunk_frames", _whole("chunk_frames", self.chunk_frames))
        self._set("sampler_steps", _whole("sampler_steps", self.sampler_steps))
        self._set("max_episode_steps", _whole("max_episode_steps", self.max_episode_steps))
        for name in ("fov_deg", "max_translation", "max_rotation", "episode_seconds"):
            self._set(name, _real(name, getattr(self, name)))
        steps = self.max_episode_steps
        if steps is not None and steps != -1 and steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, or -1 for no limit; got {steps}.")
        if self.episode_seconds is not None and not self.episode_seconds > 0:
            raise ValueError(f"episode_seconds must be positive, or None for no limit; got {self.episode_seconds}.")
        if self.fov_deg is not None and not 0 < self.fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180 degrees; got {self.fov_deg}.")
        if self.intrinsics is not None and self.fov_deg is not None:
            raise ValueError("give either intrinsics or fov_deg, not both: they may contradict each other.")
        if self.intrinsics is not None and self.image is None:
            raise ValueError("intrinsics describe an image; give image as well, or use fov_deg.")
        if self.level and self.image is not None:
            raise ValueError("level turns the camera of procedural scenes upright; an image's stands as it stood.")
        check_state_precision(self.state_precision, torch.float32)
        self._set("image", None if self.image is None else read_image(self.image))
        self._check_controls()

    def _check_controls(self) -> None:
        self._set("keymap", get_keymap(self.keymap))
        if self.action_mode == "keys" and (self.max_translation is not None or self.max_rotation is not None):
            raise ValueError(
                "in action mode 'keys' the key map sets the speeds; change them with dataclasses.replace("
                "get_keymap(...), translation_speed=..., rotation_speed_deg=...) and pass that as keymap."
            )
        if self.task is None:
            return
        task: Task = get_task(self.task)
        self._set("task", task)
        if task.stop_action and self.action_mode != "delta":
            raise ValueError(
                f"stop_action needs action_mode 'delta'; got {self.action_mode!r}. Use the one or the other."
            )
        if task.goal_env and self.sensors:
            raise ValueError(
                "in its goal form a task's observation is one array, which has no room for sensors; "
                "leave out sensors, or set goal_env=False."
            )
        if self.contact == "none" and "collision" in task.rewards and "collision" not in task.terms:
            raise ValueError("reward term 'collision' needs contact; set contact='report' or contact='block'.")

    def check_made_world(self) -> None:
        """Refuse settings of the loading for a world that is loaded already.

        Raises:
            ValueError: One of them was given.
        """
        given = (self.dtype, self.precision, self.state_precision)
        if self.device != "auto" or any(value is not None for value in given):
            raise ValueError(
                "a WorldModel has its device, dtype, precision and state_precision; leave those arguments out."
            )
        if self.refiner is not None:
            raise ValueError("a WorldModel has its refiner, or none; leave refiner out, or use world.with_refiner.")

    def source(self, checkpoint: str | Path, batched: bool | None) -> dict[str, Any]:
        """Arguments of `WorldModel.load`."""
        return {
            "checkpoint": checkpoint,
            "device": as_device(self.device),
            "dtype": as_dtype(self.dtype),
            "batched": batched,
            "precision": self.precision,
            "refiner": self.refiner,
            "state_precision": self.state_precision,
        }

    def out_of_time(self, steps: int, step_seconds: float) -> bool:
        """Whether an episode of so many steps has reached its end.

        `max_episode_steps` counts if it is given, else `episode_seconds` of world time.
        """
        if self.max_episode_steps is not None:
            return self.max_episode_steps != -1 and steps >= self.max_episode_steps
        return self.episode_seconds is not None and steps * step_seconds >= self.episode_seconds - 1e-9

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse an argument that is none of the allowed values.

    Raises:
        ValueError: It is not.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def _whole(name: str, value: Any) -> int | None:
    """A whole number, also one that came from YAML or a command line as 2.0."""
    if value is None:
        return None
    try:
        whole = int(value) if isinstance(value, float | np.floating) and float(value).is_integer() else value
        return operator.index(whole)
    except TypeError:
        raise ValueError(f"{name} must be a whole number; got {value!r}.") from None


def _real(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | str) or not isinstance(value, int | float | np.number) or math.isnan(float(value)):
        raise ValueError(f"{name} must be a number; got {value!r}.")
    return float(value)
