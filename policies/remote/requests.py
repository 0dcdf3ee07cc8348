"""Observations under openpi's names, and a task in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from sanawm_env.policies.base import Env

__all__ = ["IMAGE", "PROMPT", "STATE", "instruction", "named", "unnamed"]

IMAGE, STATE, PROMPT = "observation/image", "observation/state", "prompt"
"""As in openpi's examples: the picture, what the robot knows of itself (here: the camera's pose), the instruction."""

_INSTRUCTIONS = {
    "PointNav": "Go to the goal, which observation/goal gives in metres: right, down and ahead of the camera.",
    "ImageNav": "Go to where the picture observation/goal_image was taken, and look the same way.",
    "FollowPath": "Follow the path through the poses of observation/waypoints, one after another.",
    "Explore": "See as much of this place as you can, from as many sides as you can.",
    "LoopClosure": "Walk away, then come back to where you began and look the same way.",
}
_STOP = " Stop when you are there."
_FREE = "Walk around."


def named(observation: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """An observation as a policy server reads it.

    Args:
        observation: An array, or a dictionary of arrays.
        names: Entry to its name there, where it is to be another one than `name_of` gives.

    Returns:
        Arrays by name: `observation/image` `(H, W, 3)` uint8, `observation/state` `(7,)` float32 (x, y, z and the
        quaternion w, x, y, z), `observation/<entry>` of what the task adds.

    Raises:
        ValueError: A name for an entry that is not there, or the same for two.
    """
    entries = observation if isinstance(observation, dict) else {_bare(np.ndim(observation)): observation}
    if unknown := [entry for entry in names if entry not in entries]:
        raise ValueError(f"the observation has no {unknown[0]!r} to be named; it has {', '.join(entries)}.")
    found = {names.get(entry, name_of(entry)): np.asarray(value) for entry, value in entries.items()}
    if len(found) < len(entries):
        raise ValueError(f"two entries of the observation have the same name there: {sorted(found)}.")
    return found


def unnamed(request: Mapping[str, Any], space: spaces.Space[Any]) -> Any:
    """The observation of a request, in a space.

    Raises:
        ValueError: It has not the entries of the space, or others of another shape or type.
    """
    shapes = dict(space.items()) if isinstance(space, spaces.Dict) else {_bare(len(space.shape or ())): space}
    found: dict[str, Any] = {}
    for entry, each in shapes.items():
        value = request.get(name_of(entry))
        if not isinstance(value, np.ndarray) or value.shape != each.shape or value.dtype != each.dtype:
            got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(f"{name_of(entry)} must be an array of {each.dtype} {each.shape}; got {got}.")
        found[entry] = value
    return found if isinstance(space, spaces.Dict) else next(iter(found.values()))


def name_of(entry: str) -> str:
    """What an entry is called on the way."""
    return STATE if entry == "pose" else f"observation/{entry}"


def instruction(env: Env) -> str:
    """What is to be done, in words, for policies that read language."""
    task: Any = getattr(env.unwrapped, "task", None)
    if task is None:
        return _FREE
    said = _INSTRUCTIONS.get(task.name, f"Do the task {task.name}.")
    return said + (_STOP if getattr(task, "stop_action", False) else "")


def _bare(axes: int) -> str:
    """The entry that an observation without entries is."""
    return "image" if axes == 3 else "pose"
