"""`planner:cem`: the cross-entropy method over plans."""

from __future__ import annotations

from typing import Any

import numpy as np
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.planners.imagine import Array, Imagination
from sanawm_env.policies.planners.noise import correlated

__all__ = ["CEM"]


class CEM:
    """Model-predictive control by the cross-entropy method (Rubinstein 1999; for learned worlds: Chua et al. 2018).

    Plans are drawn from a normal distribution per step and component, correlated from step to step; the best of them
    give the next iteration's mean and deviation. The best plan ever drawn in a decision is begun, and the rest of the
    mean is where the next decision starts.
    """

    def __init__(
        self,
        seed: int = 0,
        frame_budget: int = 1152,
        horizon: int = 3,
        iterations: int = 2,
        elite: float = 0.25,
        spread: float = 0.5,
        least_spread: float = 0.05,
        memory: float = 0.9,
        discount: float = 0.99,
    ) -> None:
        """Check the settings.

        Args:
            seed: Of all episodes to come.
            frame_budget: Pixel frames that one decision may imagine, in all its iterations.
            horizon: Steps of a plan.
            iterations: Draws per decision.
            elite: Share of the plans that counts as best, at least two.
            spread: First standard deviation, in units of half an action component's range.
            least_spread: Standard deviation below which no component falls, in the same units.
            memory: Correlation of the draws of one step and the next, in [0, 1); see `correlated`.
            discount: Of a reward per step.

        Raises:
            ValueError: One that is out of range.
        """
        if horizon < 1 or iterations < 1:
            raise ValueError(f"horizon and iterations must be at least 1; got {horizon} and {iterations}.")
        if not (0 < elite < 1 and 0 < least_spread <= spread and 0 <= memory < 1):
            raise ValueError(
                "elite must lie in (0, 1), least_spread in (0, spread] and memory in [0, 1); "
                f"got elite {elite}, least_spread {least_spread}, spread {spread}, memory {memory}."
            )
        self._rng = np.random.default_rng(seed)
        self._budget, self._horizon, self._iterations = frame_budget, horizon, iterations
        self._elite, self._spread, self._least = elite, spread, least_spread
        self._memory, self._discount = memory, discount
        self._world: Imagination | None = None
        self._count = 0
        self._mean: Array = np.zeros((horizon, 6))

    @property
    def frames(self) -> int:
        """Pixel frames imagined in this episode."""
        return 0 if self._world is None else self._world.frames

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        world = Imagination(env, "planner:cem", self._discount)
        self._count = world.candidates(self._budget, self._horizon, self._iterations, least=4)
        self._world = world
        self._mean = np.tile((world.low + world.high) / 2, (self._horizon, 1))

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        world = self._world
        assert world is not None, "call begin first"
        half = (world.high - world.low) / 2
        mean, deviation = self._mean, np.tile(self._spread * half, (self._horizon, 1))
        elites = max(2, round(self._elite * self._count))
        best, best_return = mean, -np.inf
        for _ in range(self._iterations):
            noise = correlated(self._rng, self._count, self._horizon, self._memory)
            noise[0] = 0
            plans = (mean + noise * deviation).clip(world.low, world.high)
            returns = world.returns(plans)
            order = returns.argsort(kind="stable")[::-1]
            if returns[order[0]] > best_return:
                best, best_return = plans[order[0]], float(returns[order[0]])
            chosen = plans[order[:elites]]
            mean, deviation = chosen.mean(0), chosen.std(0).clip(self._least * half)
        # What is left of the plan, with the last step's action held for one more.
        self._mean = np.concatenate([mean[1:], mean[-1:]])
        if world.stop_return() > best_return:
            return world.stop_action
        return world.action(best[0])
