"""`scripted:orbit`: go round a point ahead, looking at it."""

from __future__ import annotations

import math
from typing import Any

from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.scripted.drive import Drive

__all__ = ["Orbit"]


class Orbit:
    """Circles the point `radius` metres ahead of the first view, which stays in the middle of the picture."""

    def __init__(self, radius: float = 2.0, degrees_per_second: float = 15.0, left: bool = False) -> None:
        """Check the settings.

        Args:
            radius: Metres.
            degrees_per_second: Angle of the circle per second of world time; slower where the environment's
                limits ask for it.
            left: Whether the camera moves to its left.

        Raises:
            ValueError: A radius or speed that is not positive.
        """
        if not (radius > 0 and degrees_per_second > 0):
            raise ValueError(f"radius and degrees_per_second must be positive; got {radius} and {degrees_per_second}.")
        self._radius, self._speed = radius, math.radians(degrees_per_second) * (1 if left else -1)
        self._drive: Drive | None = None
        self._angle = 0.0

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        self._drive = drive = Drive.of(env, "scripted:orbit", discrete=False)
        seconds = float(env.unwrapped.step_seconds)  # type: ignore[attr-defined]
        # A chord of 2 r sin(a / 2) has both components below that, so these angles need no scaling, which would
        # turn an arc into another circle's.
        reach = 2 * math.asin(min(1.0, drive.max_translation / (2 * self._radius)))
        self._angle = math.copysign(min(abs(self._speed) * seconds, reach, drive.max_rotation), self._speed)

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        assert self._drive is not None, "call begin first"
        # Turning by a about the centre c = (0, 0, r) moves the camera to c - R c.
        a, r = self._angle, self._radius
        return self._drive.move((-r * math.sin(a), 0.0, r * (1 - math.cos(a))), (0.0, a, 0.0))
