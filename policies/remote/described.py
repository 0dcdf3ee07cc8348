"""An environment in words, for a policy that is not beside it: spaces, limits, task."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
from sanawm_env.policies.base import Env
from sanawm_env.policies.remote.spaces import space_from, space_to

from sanawm_env.envs.wrappers import DiscreteNavigation

__all__ = ["DescribedEnv", "describe", "described"]

_LIMITS = ("max_translation", "max_rotation", "step_seconds", "frames_per_step")


def describe(env: Env) -> dict[str, Any]:
    """What policies read of an environment, as plain values.

    Raises:
        ValueError: Wrappers or spaces that cannot be told.
    """
    base: Any = env.unwrapped
    missing = [name for name in _LIMITS if not hasattr(base, name)]
    if missing:
        raise ValueError(f"a served policy acts in environments of this package; {type(base).__name__} is none.")
    task = getattr(base, "task", None)
    discrete = _discrete(env)
    beneath = env if discrete is None else discrete.env
    return {
        **{name: float(getattr(base, name)) for name in _LIMITS},
        "action_space": space_to(beneath.action_space),
        "observation_space": space_to(env.observation_space),
        "task": None if task is None else {"name": task.name, **_numbers(vars(task))},
        "discrete": None if discrete is None else {"step": discrete.step_metres, "turn": discrete.turn_degrees},
    }


def described(values: Any) -> Env:
    """An environment of `describe`'s values, to be read and never stepped.

    Raises:
        ValueError: They describe none.
    """
    if not isinstance(values, Mapping):
        raise ValueError("an environment is described by a dictionary.")
    try:
        env: Env = DescribedEnv(values)
        if (moves := values["discrete"]) is not None:
            env = DiscreteNavigation(env, float(moves["step"]), float(moves["turn"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the description of the environment cannot be used: {type(error).__name__} {error}") from None
    return env


class DescribedEnv(gym.Env[Any, Any]):
    """Attributes of an environment that is elsewhere. Policies that fork the world cannot use it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Read `describe`'s values.

        Raises:
            KeyError, TypeError, ValueError: They are none.
        """
        limits = {name: float(values[name]) for name in _LIMITS}
        if not all(np.isfinite(limit) and limit >= 0 for limit in limits.values()):
            raise ValueError(f"limits must be finite and not negative; got {limits}")
        self.max_translation, self.max_rotation, self.step_seconds = (limits[name] for name in _LIMITS[:3])
        self.frames_per_step = int(limits["frames_per_step"])
        self.action_space = space_from(values["action_space"], nested=False)
        self.observation_space = space_from(values["observation_space"])
        # Names and numbers only: a task's own class could be any code.
        task = values["task"]
        self.task = None if task is None else SimpleNamespace(**{"name": str(task["name"])}, **_numbers(task))

    def reset(self, **given: Any) -> Any:
        """Refused."""
        raise RuntimeError("this environment is elsewhere; a served policy may read it, and neither step nor fork it.")

    def step(self, action: Any) -> Any:
        """Refused."""
        raise RuntimeError("this environment is elsewhere; a served policy may read it, and neither step nor fork it.")


def _numbers(values: Mapping[str, Any]) -> dict[str, bool | int | float]:
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float)}


def _discrete(env: Env) -> DiscreteNavigation | None:
    """The wrapper of Habitat's actions, if it is one.

    Raises:
        ValueError: Other wrappers change actions.
    """
    found = None
    while isinstance(env, gym.Wrapper):
        if isinstance(env, DiscreteNavigation):
            found = env
        elif isinstance(env, gym.ActionWrapper):
            raise ValueError(
                f"a served policy cannot be told of {type(env).__name__}; take it off, or act beside the environment."
            )
        env = env.env
    return found
