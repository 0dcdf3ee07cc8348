"""From a client's settings to a `Simulator`; sessions of equal settings share one."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sanawm_env.envs.settings import Settings
from sanawm_env.envs.simulator import Simulator
from sanawm_env.server.errors import ServerError
from sanawm_env.tasks import TASKS, TERMS, get_task
from sanawm_env.world.model import WorldModel

__all__ = ["ALLOWED", "Simulators", "check_sensors", "check_task"]

ALLOWED = (
    "image", "prompt", "intrinsics", "fov_deg", "level", "chunk_frames", "sampler_steps", "sigmas", "max_translation",
    "max_rotation", "action_mode", "keymap", "obs_mode", "obs_size", "task", "sensors", "contact", "body",
    "info_frames", "episode_seconds", "max_episode_steps",
)  # fmt: skip
"""The settings that a client may choose. Device, precision and files belong to whoever runs the server."""

_MOST_SAMPLER_STEPS = 100
_MOST_RAYS = 4096


class Simulators:
    """One simulator per distinct settings, for as long as a session uses it."""

    def __init__(self, model: WorldModel, find_image: Callable[[str], Path]) -> None:
        """Make none yet.

        Args:
            model: Of all of them.
            find_image: From an image's id to its file; raises `ServerError`.
        """
        self._model, self._find_image = model, find_image
        self._made: weakref.WeakValueDictionary[str, Simulator] = weakref.WeakValueDictionary()

    def get(self, settings: dict[str, Any]) -> Simulator:
        """The simulator of settings as JSON has them.

        Raises:
            ServerError: A setting that does not exist, or cannot have that value.
        """
        key = _key(settings)
        if (known := self._made.get(key)) is not None:
            return known
        if unknown := [name for name in settings if name not in ALLOWED]:
            raise ServerError("invalid", f"a client cannot set {unknown[0][:60]!r}; settings are {', '.join(ALLOWED)}.")
        given = {name: value for name, value in settings.items() if value is not None or name == "episode_seconds"}
        if (image := given.get("image")) is not None:
            given["image"] = self._find_image(image)
        if "task" in given:
            given["task"] = check_task(given["task"])
        if "sensors" in given:
            given["sensors"] = check_sensors(given["sensors"])
        try:
            if (
                len(given.get("sigmas", ())) > _MOST_SAMPLER_STEPS
                or given.get("sampler_steps", 1) > _MOST_SAMPLER_STEPS
            ):
                raise ValueError(f"at most {_MOST_SAMPLER_STEPS} sampler steps.")
            made = Simulator(self._model, Settings.read(given))
        except ServerError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError) as error:
            raise ServerError("invalid", f"settings: {' '.join(str(error).split())[:500]}") from None
        self._made[key] = made
        return made

    def keep(self, settings: dict[str, Any], simulator: Simulator) -> None:
        """Have a simulator of the server's own for settings, which may then be ones that a client cannot choose."""
        self._made[_key(settings)] = simulator


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def check_sensors(value: Any) -> list[Any]:
    """Sensors by name or settings; where depth comes from is the world's own affair, since a source is a folder.

    Raises:
        ServerError: A depth source, or more rays than anybody needs.
    """
    given = list(value) if isinstance(value, list) else [value]
    for k, sensor in enumerate(given):
        if not isinstance(sensor, dict):
            continue
        if sensor.get("source") is not None:
            raise ServerError("invalid", "a client cannot name a depth source; leave it out for the world's own depth.")
        rays = sensor.get("rays", 0)
        if not isinstance(rays, int | float) or rays > _MOST_RAYS:
            raise ServerError("invalid", f"a scan has at most {_MOST_RAYS} rays.")
        given[k] = {name: each for name, each in sensor.items() if name != "source"}
    return given


def check_task(value: Any) -> Any:
    """A task of this project, by its name or from its settings.

    `Task.to_dict` may name any module, which loading would import: from a client only our own tasks are taken, with
    the reward terms that they know.

    Raises:
        ServerError: Another task or term, or a setting that it refuses.
    """
    name = value.get("task_class") if isinstance(value, dict) else value
    if not isinstance(name, str) or name not in TASKS:
        raise ServerError("invalid", f"task is one of {', '.join(TASKS)}, or an object with that 'task_class'.")
    if not isinstance(value, dict):
        return name
    terms = value.get("terms")
    rewards = value.get("rewards")
    if terms or (isinstance(rewards, dict) and not rewards.keys() <= TERMS.keys()):
        raise ServerError("invalid", f"a client cannot bring reward terms; there are {', '.join(TERMS)}.")
    try:
        return get_task({key: each for key, each in value.items() if key != "terms"})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ServerError("invalid", f"task: {' '.join(str(error).split())[:500]}") from None
