"""`Drive`: from the motion that a policy wants to an action of the environment, whatever its action space is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from sanawm_env.policies.base import Env

from sanawm_env.envs.wrappers import DiscreteNavigation, NavigationAction

__all__ = ["Drive"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drive:
    """The steering of one environment: pose deltas `(6,)`, with STOP `(7,)`, or `DiscreteNavigation`."""

    max_translation: float
    """Metres per step along an axis; of `DiscreteNavigation` those of MOVE_FORWARD."""
    max_rotation: float
    """Radians per step about an axis; of `DiscreteNavigation` those of a turn."""
    stops: bool
    """Whether there is a STOP that ends the episode."""
    discrete: bool
    """Whether the actions are Habitat's four."""

    @classmethod
    def of(cls, env: Env, policy: str, discrete: bool = True) -> Drive:
        """Read an environment's steering.

        Args:
            env: The environment, with its wrappers.
            policy: Name of the policy, for the message.
            discrete: Whether the policy can navigate by Habitat's four actions.

        Raises:
            ValueError: Actions that this policy cannot give.
        """
        space: Any = env.action_space
        base: Any = env.unwrapped
        offers = "pose deltas (action_mode='delta')" + (" and DiscreteNavigation" if discrete else "")
        problem = f"{policy} gives {offers}, but the environment takes {space}; "
        if isinstance(space, spaces.Discrete):
            wrapper = _discrete_navigation(env)
            if wrapper is None or not discrete:
                fix = "take the discrete wrapper off" if not discrete else "wrap it in DiscreteNavigation"
                raise ValueError(f"{problem}{fix}.")
            stops = wrapper.env.action_space.shape == (7,)
            return cls(wrapper.step_metres, math.radians(wrapper.turn_degrees), stops, True)
        box = isinstance(space, spaces.Box) and space.shape in ((6,), (7,))
        if not box or not (np.all(space.low == -1) and np.all(space.high == 1)) or not hasattr(base, "max_rotation"):
            raise ValueError(f"{problem}make it with action_mode='delta' and take wrappers of its actions off.")
        return cls(float(base.max_translation), float(base.max_rotation), space.shape == (7,), False)

    def move(self, translation: ArrayLike, rotation: ArrayLike = (0.0, 0.0, 0.0)) -> Any:
        """An action that goes as far towards a pose delta as one step can.

        A delta beyond the limits is scaled as a whole, so that its direction and shape stay. By
        `DiscreteNavigation` it becomes the turn towards it or, where it is no more than half a turn aside, a step.

        Args:
            translation: `(3,)` metres in the camera's frame.
            rotation: `(3,)` rotation vector in the camera's frame, radians.
        """
        shift, turn = np.asarray(translation, dtype=np.float64), np.asarray(rotation, dtype=np.float64)
        if self.discrete:
            aside = float(turn[1])
            if abs(aside) > self.max_rotation / 2:
                return int(NavigationAction.TURN_RIGHT if aside > 0 else NavigationAction.TURN_LEFT)
            if shift[2] > 0:
                return int(NavigationAction.MOVE_FORWARD)
            # Nothing forward and little to turn: the smaller evil is the turn, since STOP may end the episode.
            return int(NavigationAction.TURN_RIGHT if aside >= 0 else NavigationAction.TURN_LEFT)
        delta = np.concatenate([shift / self.max_translation, turn / self.max_rotation])
        delta /= max(1.0, float(np.abs(delta).max()))
        return self._box(delta, -1.0)

    def stop(self) -> Any:
        """STOP; an environment without one stands still."""
        return int(NavigationAction.STOP) if self.discrete else self._box(np.zeros(6), 1.0)

    def _box(self, delta: Array, stop: float) -> NDArray[np.float32]:
        return np.append(delta, stop)[: 6 + self.stops].astype(np.float32)


def _discrete_navigation(env: Env) -> DiscreteNavigation | None:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, DiscreteNavigation):
            return env
        env = env.env
    return None
