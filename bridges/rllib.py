"""Environments of this package by name in Ray's RLlib, observed as one vector, which its networks take as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from sanawm_env.registration import register_envs

__all__ = ["FlatFloats", "make_env", "register"]

_DEFAULTS: dict[str, Any] = {"info_frames": False, "disable_env_checker": True}
"""Frames in `info` would be kept with every step of an episode."""


class FlatFloats(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """All entries of an observation in one vector of float32, in the order of their names; pictures between 0 and 1.

    RLlib's own networks take no dictionaries, and would take a byte of 255 for the number 255.

    Args:
        env: Whose observations are a Box or a Dict of them.

    Raises:
        TypeError: Others.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """See the class."""
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        whole = env.observation_space
        boxes = whole.spaces if isinstance(whole, spaces.Dict) else {"": whole}
        if odd := [name for name, space in boxes.items() if not isinstance(space, spaces.Box)]:
            raise TypeError(f"the observation's entry {odd[0]!r} is no Box; write a wrapper for it.")
        self._names = sorted(boxes)
        low, high = ([np.ravel(_floats(getattr(boxes[name], end))) for name in self._names] for end in ("low", "high"))
        self.observation_space = spaces.Box(np.concatenate(low), np.concatenate(high), dtype=np.float32)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        """The vector."""
        entries = observation if isinstance(observation, dict) else {"": observation}
        return np.concatenate([np.ravel(_floats(np.asarray(entries[name]))) for name in self._names])


def make_env(config: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Make an environment as RLlib asks for it.

    Args:
        config: `id`, which is SanaWM/PointNav-v0 if not given, and arguments of `gym.make`.
    """
    register_envs()  # in a process of Ray's, which may not have imported the package
    arguments = _DEFAULTS | dict(config)
    return FlatFloats(gym.make(arguments.pop("id", "SanaWM/PointNav-v0"), **arguments))


def register(name: str = "sanawm") -> str:
    """Give RLlib a name for `make_env`: `PPOConfig().environment(register(), env_config={"checkpoint": "tiny"})`.

    Returns:
        The name.
    """
    from ray.tune.registry import register_env

    register_env(name, make_env)
    return name


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = values.astype(np.float32)
    return floats / np.float32(255) if values.dtype == np.uint8 else floats
