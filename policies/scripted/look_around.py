"""`scripted:look_around`: turn on the spot."""

from __future__ import annotations

import math
from typing import Any

from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.scripted.drive import Drive

__all__ = ["LookAround"]


class LookAround:
    """Yaws at a steady rate where it stands, forever."""

    def __init__(self, degrees_per_second: float = 15.0, left: bool = False) -> None:
        """Check the settings.

        Args:
            degrees_per_second: How fast; no faster than the environment can. `DiscreteNavigation` has one speed.
            left: Which way.

        Raises:
            ValueError: A speed that is not positive.
        """
        if not degrees_per_second > 0:
            raise ValueError(f"degrees_per_second must be positive; got {degrees_per_second}.")
        self._speed = math.radians(degrees_per_second) * (-1 if left else 1)
        self._drive: Drive | None = None
        self._turn = 0.0

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        self._drive = Drive.of(env, "scripted:look_around")
        seconds = float(env.unwrapped.step_seconds)  # type: ignore[attr-defined]
        self._turn = (
            math.copysign(self._drive.max_rotation, self._speed) if self._drive.discrete else self._speed * seconds
        )

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        assert self._drive is not None, "call begin first"
        return self._drive.move((0.0, 0.0, 0.0), (0.0, self._turn, 0.0))
