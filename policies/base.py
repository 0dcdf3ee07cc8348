"""`Policy`: what chooses actions in one environment."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium as gym

__all__ = ["Env", "Info", "Policy"]

Env: TypeAlias = "gym.Env[Any, Any]"
Info: TypeAlias = "dict[str, Any]"


@runtime_checkable
class Policy(Protocol):
    """Anything with these two methods.

    The loop that every user of a policy runs::

        observation, info = env.reset(seed=seed)
        policy.begin(env, observation, info)
        while not ended:
            action = policy.act(observation, info)
            observation, reward, terminated, truncated, info = env.step(action)

    A policy answers for its randomness: the same settings and the same order of episodes give the same actions. One
    that imagines futures also has `frames`, the pixel frames imagined since `begin`.
    """

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """Look at a new episode.

        Args:
            env: The environment, with its wrappers. A policy may read its spaces and fork it; it never steps it.
            observation: Of `reset`.
            info: Of `reset`.

        Raises:
            ValueError: An environment in which this policy cannot act; says what it needs.
        """

    def act(self, observation: Any, info: Info) -> Any:
        """The next action, in the space `env.action_space`.

        Args:
            observation: The latest.
            info: The latest.
        """
