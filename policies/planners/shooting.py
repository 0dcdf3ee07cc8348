"""`planner:shooting`: draw plans at random and begin the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.planners.imagine import Imagination

__all__ = ["RandomShooting"]


class RandomShooting:
    """Random shooting: N plans drawn uniformly, each action held for `hold` steps, and what is left of the last best.

    The baseline of all planners; the only one for `DiscreteNavigation`.
    """

    def __init__(
        self, seed: int = 0, frame_budget: int = 1152, horizon: int = 3, hold: int = 3, discount: float = 0.99
    ) -> None:
        """Check the settings.

        Args:
            seed: Of all episodes to come.
            frame_budget: Pixel frames that one decision may imagine.
            horizon: Steps of a plan.
            hold: Steps for which a drawn action is held: a camera that jitters on the spot sees nothing.
            discount: Of a reward per step.

        Raises:
            ValueError: One that is out of range.
        """
        if horizon < 1 or hold < 1:
            raise ValueError(f"horizon and hold must be at least 1 step; got {horizon} and {hold}.")
        self._rng = np.random.default_rng(seed)
        self._budget, self._horizon, self._hold, self._discount = frame_budget, horizon, hold, discount
        self._world: Imagination | None = None
        self._count = 0
        self._left: NDArray[Any] | None = None

    @property
    def frames(self) -> int:
        """Pixel frames imagined in this episode."""
        return 0 if self._world is None else self._world.frames

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        world = Imagination(env, "planner:shooting", self._discount, discrete=True)
        self._count = world.candidates(self._budget, self._horizon)
        self._world, self._left = world, None

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        world = self._world
        assert world is not None, "call begin first"
        plans = self._draw(world, self._count)
        if self._left is not None:
            plans[0, :-1], plans[0, -1] = self._left, plans[0, -1].copy()
        returns = world.returns(plans)
        best = int(returns.argmax())
        if world.stop_return() > returns[best]:
            self._left = None
            return world.stop_action
        self._left = plans[best, 1:]
        first = plans[best, 0]
        return int(first) if world.choices else world.action(first)

    def _draw(self, world: Imagination, count: int) -> NDArray[Any]:
        held = -(-self._horizon // self._hold)
        if world.choices:  # the first of them is STOP, which plans leave out
            drawn: NDArray[Any] = self._rng.integers(1, world.choices, (count, held))
        else:
            drawn = self._rng.uniform(world.low, world.high, (count, held, 6))
        return np.repeat(drawn, self._hold, axis=1)[:, : self._horizon]
