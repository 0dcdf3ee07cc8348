"""`random:smooth`: a camera that drifts about, by an Ornstein-Uhlenbeck process."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.scripted.drive import Drive

__all__ = ["RandomSmooth"]


class RandomSmooth:
    """Each of the six components is an Ornstein-Uhlenbeck process of mean 0, sampled exactly at the steps' times.

    Over t seconds a component keeps `exp(-t / memory)` of its value, and a long run has the standard deviation
    `spread`; values are clipped to [-1, 1]. STOP is never called.
    """

    def __init__(self, seed: int = 0, memory: float = 2.0, spread: float = 0.5) -> None:
        """Check the settings.

        Args:
            seed: Of all episodes to come.
            memory: Correlation time, seconds of world time.
            spread: Standard deviation of the normalised action.

        Raises:
            ValueError: One that is not positive.
        """
        if not (memory > 0 and spread > 0):
            raise ValueError(f"memory (seconds) and spread must be positive; got {memory} and {spread}.")
        self._rng = np.random.default_rng(seed)
        self._memory, self._spread = memory, spread
        self._value = np.zeros(6)
        self._keep = 0.0
        self._drive: Drive | None = None

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        self._drive = Drive.of(env, "random:smooth", discrete=False)
        self._keep = math.exp(-float(env.unwrapped.step_seconds) / self._memory)  # type: ignore[attr-defined]
        self._value = self._rng.normal(0, self._spread, 6)

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        assert self._drive is not None, "call begin first"
        now = self._value.clip(-1, 1)
        fresh = self._rng.normal(0, self._spread, 6)
        self._value = self._keep * self._value + math.sqrt(1 - self._keep**2) * fresh
        return self._drive.move(now[:3] * self._drive.max_translation, now[3:] * self._drive.max_rotation)
