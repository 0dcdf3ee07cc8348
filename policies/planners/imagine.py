"""`Imagination`: many futures of one environment's present, and what they are worth."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from sanawm_env.policies.base import Env

from sanawm_env import SanaWMEnv, SanaWMVectorEnv
from sanawm_env.envs.wrappers import DiscreteNavigation, TwistActions

__all__ = ["Imagination"]

Array = NDArray[np.float64]

_TRANSFORMS = (gym.wrappers.TransformAction, DiscreteNavigation, TwistActions)
"""Action wrappers without a memory of their own, through which imagined actions can go."""


class Imagination:
    """Futures of an environment in forks of its world; the environment itself is only ever looked at.

    All candidates advance together, one batched forward per step. Rewards are those of the unwrapped environment's
    task: a wrapper that changes rewards does not count. A candidate whose episode ends earns nothing afterwards and
    costs no further frames.

    Plans are `(N, H, D)` actions of the (wrapped) environment's space, but for STOP, which no plan contains:
    `stop_return` is what calling it now is worth. D is 6 for pose deltas and twists; by `DiscreteNavigation` plans
    are `(N, H)` integers.
    """

    def __init__(self, env: Env, planner: str, discount: float = 1.0, discrete: bool = False) -> None:
        """Look at the environment.

        Args:
            env: A `SanaWMEnv` with a task, with its wrappers.
            planner: Name of the planner, for messages.
            discount: Of a reward per step, in (0, 1].
            discrete: Whether the planner can plan discrete actions.

        Raises:
            ValueError: No environment of this package, one without rewards, or actions that cannot be planned.
        """
        base = env.unwrapped
        if not isinstance(base, SanaWMEnv):
            raise ValueError(f"{planner} forks a SanaWMEnv; got {type(base).__name__}.")
        if base.task is None:
            raise ValueError(
                f"{planner} plans for rewards and this environment has no task; make one that has, for instance "
                'gym.make("SanaWM/PointNav-v0").'
            )
        if not 0 < discount <= 1:
            raise ValueError(f"discount must lie in (0, 1]; got {discount}.")
        self._base, self._discount = base, discount
        self._transforms = _transforms(env, planner)
        self.frames = 0
        """Pixel frames imagined so far."""
        self.frames_per_step: int = base.frames_per_step
        """Pixel frames that one step of one candidate costs."""

        space = env.action_space
        self.choices = 0
        """Of discrete actions: how many there are; 0 for continuous ones."""
        if isinstance(space, spaces.Discrete) and discrete:
            self.choices, self.low, self.high = int(space.n), np.zeros(0), np.zeros(0)
        elif isinstance(space, spaces.Box) and space.shape in ((6,), (7,)) and space.is_bounded():
            self.low, self.high = space.low[:6].astype(np.float64), space.high[:6].astype(np.float64)
        else:
            fix = "use planner:shooting" if isinstance(space, spaces.Discrete) else "use action_mode='delta'"
            raise ValueError(f"{planner} plans pose deltas of bounded size, but the environment takes {space}; {fix}.")
        stop_component = base.action_space.shape == (7,)
        self._has_stop_component = space.shape == (7,)
        self.stop_action: Any = None
        """The (wrapped) environment's action that calls STOP; None where there is no STOP."""
        # A wrapper such as RescaleAction moves the ends of every component, that of STOP included.
        self._stop_ends = (0.0, 0.0)
        if isinstance(space, spaces.Box) and self._has_stop_component:
            self._stop_ends = float(space.low[6]), float(space.high[6])
        if stop_component:
            self.stop_action = 0 if self.choices else self.action((self.low + self.high) / 2, stop=True)

    def candidates(self, frame_budget: int, horizon: int, iterations: int = 1, least: int = 2) -> int:
        """How many candidates one iteration can have.

        Args:
            frame_budget: Pixel frames for one decision.
            horizon: Steps of a plan.
            iterations: How often all candidates are imagined in one decision.
            least: Candidates that the planner needs.

        Raises:
            ValueError: The budget is too small; names the least.
        """
        each, stop = horizon * self.frames_per_step * iterations, self._stop_frames
        count = (frame_budget - stop) // each
        if count < least:
            raise ValueError(
                f"frame_budget {frame_budget} is too small: {least} plans of {horizon} steps of {self.frames_per_step} "
                f"frames, imagined {iterations} time(s), need at least {least * each + stop}; raise it, or lower the "
                "horizon."
            )
        return count

    def returns(self, plans: NDArray[Any]) -> Array:
        """Discounted rewards `(N,)` of plans that begin at the environment's present.

        Raises:
            ValueError: A reward is not finite.
        """
        actions = plans if self.choices else np.stack([[self.action(a) for a in plan] for plan in plans])
        return self._rewards(actions)

    def stop_return(self) -> float:
        """What calling STOP now is worth; minus infinity where there is no STOP."""
        if self.stop_action is None:
            return -np.inf
        return float(self._rewards(np.asarray(self.stop_action)[None, None])[0])

    def action(self, move: Array, stop: bool = False) -> NDArray[np.float32]:
        """The environment's action for a continuous move `(6,)`, with STOP called or not where there is one."""
        return np.append(move, self._stop_ends[stop])[: 6 + self._has_stop_component].astype(np.float32)

    @property
    def _stop_frames(self) -> int:
        return 0 if self.stop_action is None else self.frames_per_step

    def _rewards(self, actions: NDArray[Any]) -> Array:
        envs = SanaWMVectorEnv.of(self._base, len(actions), exact=False)
        total, alive = np.zeros(len(actions)), np.arange(len(actions))
        for step in range(actions.shape[1]):
            now = np.stack([self._to_base(actions[i, step]) for i in alive])
            _, rewards, terminated, truncated, _ = envs.step(now)
            self.frames += len(alive) * self.frames_per_step
            total[alive] += self._discount**step * rewards
            going = np.flatnonzero(~(terminated | truncated))
            if not len(going):
                break
            if len(going) < len(alive):  # so that nobody pays for the autoreset of the others
                envs = envs.fork(1, going.tolist())
            alive = alive[going]
        if not np.isfinite(total).all():
            raise ValueError("an imagined reward is not finite; check the reward terms of the task.")
        return total

    def _to_base(self, action: Any) -> Any:
        for wrapper in self._transforms:
            action = wrapper.action(action)
        return action


def _transforms(env: Env, planner: str) -> list[Any]:
    """The action wrappers, outermost first."""
    found: list[Any] = []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, _TRANSFORMS):
            found.append(env)
        elif isinstance(env, gym.ActionWrapper):
            raise ValueError(
                f"{planner} cannot imagine through {type(env).__name__}, whose actions may depend on its past; "
                "take that wrapper off."
            )
        env = env.env
    return found
