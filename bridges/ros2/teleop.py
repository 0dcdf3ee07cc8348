"""Velocity commands of one robot: checked, limited, and forgotten when nobody repeats them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Limits", "Teleop"]

QUEUE = 10
"""Commands that may wait for their steps, as many as the subscription holds."""


@dataclass(frozen=True)
class Limits:
    """What a command may ask for."""

    linear: float
    """m/s along an axis, at most."""
    angular: float
    """rad/s, at most."""
    holonomic: bool = False
    """Whether linear y and z count; without it the robot drives like one with two wheels, by linear x and angular z."""
    timeout: float = 0.5
    """Seconds of simulated time after which a command that was not repeated no longer counts."""

    def __post_init__(self) -> None:
        for name in ("linear", "angular", "timeout"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"the limit {name} must be a positive number; got {value}.")

    def apply(self, twist: NDArray[np.float64]) -> NDArray[np.float64]:
        """What of a twist `(6,)` this robot can do: other axes are left out, the rest is clipped."""
        able = np.array([1, self.holonomic, self.holonomic, 0, 0, 1])
        high = np.array([self.linear] * 3 + [self.angular] * 3)
        limited: NDArray[np.float64] = (twist * able).clip(-high, high)
        return limited


@dataclass
class Teleop:
    """The commands that one robot got. Times are simulated ones, whole nanoseconds."""

    limits: Limits
    counts: Counter[str] = field(default_factory=Counter)
    """How many were `received`, `refused` (NaN or infinite), `limited`, `dropped` (they came faster than steps), and
    how many steps were `stopped` because no command was fresh."""
    problem: str = ""
    """Why the last command that was refused was; empty after a good one."""
    _queue: deque[NDArray[np.float64]] = field(default_factory=lambda: deque(maxlen=QUEUE))
    _last: tuple[NDArray[np.float64], int] | None = None

    def take(self, linear: Sequence[float], angular: Sequence[float], now: int) -> bool:
        """A command arrives.

        Args:
            linear: x, y, z in m/s, in the body's axes (REP-103).
            angular: About x, y, z in rad/s.
            now: When.

        Returns:
            Whether it counts. One with NaN or infinite entries changes nothing and is not waited for.
        """
        self.counts["received"] += 1
        twist = np.array([*linear, *angular], np.float64)
        if not np.isfinite(twist).all():
            self.counts["refused"] += 1
            self.problem = f"a command had NaN or infinite entries, {twist.tolist()}, and was refused"
            return False
        self.problem = ""
        able = self.limits.apply(twist)
        self.counts["limited"] += int(not np.array_equal(able, twist))
        self.counts["dropped"] += int(len(self._queue) == QUEUE)
        self._queue.append(able)
        self._last = able, now
        return True

    @property
    def waiting(self) -> bool:
        """Whether a command has not had its step yet."""
        return bool(self._queue)

    def next(self) -> NDArray[np.float64]:
        """The command `(6,)` whose turn it is, for a step of its own.

        Raises:
            IndexError: None is waiting.
        """
        return self._queue.popleft()

    def current(self, now: int) -> NDArray[np.float64]:
        """The last command `(6,)`, or standing still once it is older than the limit; the others had no step."""
        self._queue.clear()
        if self._last is None:
            return np.zeros(6)
        twist, at = self._last
        if now - at > self.limits.timeout * 1e9:
            self.counts["stopped"] += int(twist.any())
            return np.zeros(6)
        return twist

    def stop(self) -> None:
        """Forget all commands: the robot was put elsewhere."""
        self._queue.clear()
        self._last = None
