"""`planner:mppi`: model-predictive path integral control."""

from __future__ import annotations

from typing import Any

import numpy as np
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.planners.imagine import Array, Imagination
from sanawm_env.policies.planners.noise import correlated

__all__ = ["MPPI"]


class MPPI:
    """Information-theoretic MPC (Williams et al. 2017): the mean of perturbed plans, weighted by exp(return).

    Perturbations are correlated from step to step, see `correlated`.
    """

    def __init__(
        self,
        seed: int = 0,
        frame_budget: int = 1152,
        horizon: int = 3,
        spread: float = 0.5,
        temperature: float = 0.3,
        memory: float = 0.9,
        discount: float = 0.99,
    ) -> None:
        """Check the settings.

        Args:
            seed: Of all episodes to come.
            frame_budget: Pixel frames that one decision may imagine.
            horizon: Steps of a plan.
            spread: Standard deviation of a perturbation, in units of half an action component's range.
            temperature: How much worse than the best a plan may be to count by 1/e, in standard deviations of the
                candidates' returns, so that it does not depend on the scale of rewards.
            memory: Correlation of the perturbations of one step and the next, in [0, 1).
            discount: Of a reward per step.

        Raises:
            ValueError: One that is out of range.
        """
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1 step; got {horizon}.")
        if not (spread > 0 and temperature > 0 and 0 <= memory < 1):
            raise ValueError(
                "spread and temperature must be positive and memory lie in [0, 1); "
                f"got {spread}, {temperature} and {memory}."
            )
        self._rng = np.random.default_rng(seed)
        self._budget, self._horizon, self._discount = frame_budget, horizon, discount
        self._spread, self._temperature, self._memory = spread, temperature, memory
        self._world: Imagination | None = None
        self._count = 0
        self._plan: Array = np.zeros((horizon, 6))

    @property
    def frames(self) -> int:
        """Pixel frames imagined in this episode."""
        return 0 if self._world is None else self._world.frames

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        world = Imagination(env, "planner:mppi", self._discount)
        self._count = world.candidates(self._budget, self._horizon)
        self._world = world
        self._plan = np.tile((world.low + world.high) / 2, (self._horizon, 1))

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        world = self._world
        assert world is not None, "call begin first"
        noise = correlated(self._rng, self._count, self._horizon, self._memory)
        noise *= self._spread * (world.high - world.low) / 2
        noise[0] = 0
        plans = (self._plan + noise).clip(world.low, world.high)
        returns = world.returns(plans)
        scale = self._temperature * returns.std()
        weights = np.exp((returns - returns.max()) / scale) if scale > 0 else np.ones(self._count)
        plan = np.tensordot(weights / weights.sum(), plans, axes=1)
        self._plan = np.concatenate([plan[1:], plan[-1:]])
        if world.stop_return() > returns.max():
            return world.stop_action
        return world.action(plan[0])
