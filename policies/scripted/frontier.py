"""`scripted:frontier`: for Explore, look and go where one has not been."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.scripted.drive import Drive

__all__ = ["Frontier"]


class Frontier:
    """Walks on while it turns towards the nearest heading that is still unseen from here.

    It knows no more than the observation `visited` (S,): which heading sectors were seen from the present place,
    beginning with the present heading and going on to the right. Walking leads to new places, where every heading
    is new; where all headings are seen it goes straight on. Ground that does not count any more shows up as one where
    everything is seen for a long way, and there it turns back.
    """

    def __init__(self, walk: float = 1.0, patience: float = 3.0, turn_back_degrees: float = 150.0) -> None:
        """Check the settings.

        Args:
            walk: Share of the greatest speed at which it walks while turning, in [0, 1]; 0 looks all around first.
                `DiscreteNavigation` cannot do both at once and always looks around first.
            patience: Metres straight on through places without an unseen heading, before it turns back.
            turn_back_degrees: By how much.

        Raises:
            ValueError: One that is out of range.
        """
        if not (0 <= walk <= 1 and patience > 0 and 0 < turn_back_degrees <= 180):
            raise ValueError(
                "walk must lie in [0, 1], patience be positive and turn_back_degrees lie in (0, 180]; "
                f"got {walk}, {patience} and {turn_back_degrees}."
            )
        self._walk, self._patience, self._back = walk, patience, math.radians(turn_back_degrees)
        self._drive: Drive | None = None
        self._nothing_new = 0.0
        self._turning = 0.0

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        self._drive = Drive.of(env, "scripted:frontier")
        _visited(observation)
        self._nothing_new = self._turning = 0.0

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        drive = self._drive
        assert drive is not None, "call begin first"
        unseen = np.flatnonzero(_visited(observation) == 0)
        if len(unseen):
            sectors = len(_visited(observation))
            aside = ((unseen + sectors / 2) % sectors - sectors / 2) * 2 * math.pi / sectors
            self._nothing_new = self._turning = 0.0
            # To the right where both sides are as near, so that it does not swing back and forth.
            turn = float(aside[np.lexsort((-aside, np.abs(aside)))[0]])
            return self._go(0.0 if drive.discrete else self._walk, turn)
        if self._turning > drive.max_rotation / 2:
            self._turning -= drive.max_rotation
            return self._go(0.0, drive.max_rotation)
        self._nothing_new += drive.max_translation
        if self._nothing_new > self._patience:
            self._nothing_new, self._turning = 0.0, self._back
        return self._go(1.0, 0.0)

    def _go(self, speed: float, turn: float) -> Any:
        assert self._drive is not None
        turn = float(np.clip(turn, -self._drive.max_rotation, self._drive.max_rotation))
        return self._drive.move((0, 0, speed * self._drive.max_translation), (0, turn, 0))


def _visited(observation: Any) -> Any:
    """The observation's entry.

    Raises:
        ValueError: There is none.
    """
    if isinstance(observation, dict) and "visited" in observation:
        return np.asarray(observation["visited"])
    got = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
    raise ValueError(f"scripted:frontier needs the observation 'visited' of Explore; got {got}. Choose that task.")
