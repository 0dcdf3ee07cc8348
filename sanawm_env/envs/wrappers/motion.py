"""`Motion`: what the action wrappers need to know of the environment beneath them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["Motion"]


@dataclass(frozen=True)
class Motion:
    """The limits of one environment's pose deltas."""

    max_translation: float
    """Metres per step of a full translation component."""
    max_rotation: float
    """Radians per step of a full rotation component."""
    step_seconds: float
    """World time of one step."""
    stop: bool
    """Whether a seventh component calls STOP."""

    @classmethod
    def of(cls, env: Any, space: Any, wrapper: str) -> Motion:
        """Read the limits of an environment.

        Args:
            env: A `SanaWMEnv` or `SanaWMVectorEnv`, perhaps wrapped.
            space: The action space (of one slot) that the wrapper writes to.
            wrapper: Its name, for the message.

        Raises:
            ValueError: Its actions are no pose deltas in [-1, 1].
        """
        base = env.unwrapped
        delta = isinstance(space, spaces.Box) and space.shape in ((6,), (7,))
        if not delta or not (np.all(space.low == -1) and np.all(space.high == 1)):
            raise ValueError(
                f"{wrapper} needs actions [tx, ty, tz, rx, ry, rz] in [-1, 1], but the environment takes {space}; "
                "make it with action_mode='delta', and put this wrapper below those that change actions."
            )
        missing = [n for n in ("max_translation", "max_rotation", "step_seconds") if not hasattr(base, n)]
        if missing:
            raise ValueError(
                f"{wrapper} wraps the environments of this package; {type(base).__name__} has no {missing[0]}."
            )
        stop = space.shape == (7,)
        return cls(float(base.max_translation), float(base.max_rotation), float(base.step_seconds), stop)

    def action(self, delta: NDArray[np.float64], stop: bool = False) -> NDArray[np.float32]:
        """The base environment's action `(6,)` or `(7,)` for a normalised pose delta `(6,)`.

        Without a seventh component a call of STOP is lost: give a delta that stands still.
        """
        return np.append(delta, 1.0 if stop else -1.0)[: 6 + self.stop].astype(np.float32)
