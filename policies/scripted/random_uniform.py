"""`random:uniform`: actions drawn from the whole action space."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from sanawm_env.policies.base import Env, Info

__all__ = ["RandomUniform"]


class RandomUniform:
    """Draws every action anew; works with every action space.

    A uniform draw calls STOP, where there is one, every few steps: half of the steps by pose deltas, a quarter by
    `DiscreteNavigation`. `stop=False` never does.
    """

    def __init__(self, seed: int = 0, stop: bool = True) -> None:
        """Args: `seed` of all episodes to come, `stop` whether STOP may be drawn."""
        self._rng = np.random.default_rng(seed)
        self._stop = stop
        self._space: spaces.Space[Any] | None = None

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        self._space = copy.deepcopy(env.action_space)  # the environment's own draws stay as they are
        self._space.seed(int(self._rng.integers(2**31)))

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        assert self._space is not None, "call begin first"
        if not self._stop and isinstance(self._space, spaces.Discrete):
            return self._space.sample(np.array([0] + [1] * (int(self._space.n) - 1), np.int8))
        action = self._space.sample()
        if not self._stop and isinstance(self._space, spaces.Box) and self._space.shape == (7,):
            action[6] = self._space.low[6] if np.isfinite(self._space.low[6]) else -1
        return action
