"""`Evaluator`: the same held-out worlds for every policy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from sanawm_env.policies.sb3.make import discrete, make_worlds
from sanawm_env.policies.sb3.settings import TrainSettings

from sanawm_env.envs.vector_env import SanaWMVectorEnv
from sanawm_env.world.model import WorldModel

__all__ = ["Act", "Episodes", "Evaluator", "random_act"]

Act: TypeAlias = Callable[[Any], NDArray[Any]]
"""From observations `(N, ...)` to actions `(N, ...)`."""
Episodes: TypeAlias = dict[str, list[float]]
"""Name of a measure to its value in each episode, in the order of the seeds."""

MEASURES = ("success", "spl", "soft_spl", "distance_to_goal", "path_length", "coverage", "progress", "deviation")


class Evaluator:
    """Episodes that begin in the same worlds each time.

    The worlds are begun once, which takes a while (the hidden way to a goal image is as long as an episode), and
    every evaluation plays forks of them.
    """

    def __init__(self, settings: TrainSettings, seeds: Sequence[int], model: WorldModel | None = None) -> None:
        """Begin the worlds.

        Args:
            settings: Of the run.
            seeds: Reset seed of each episode.
            model: A world that is loaded already, to share it.
        """
        self.seeds = list(seeds)
        self._discrete = settings.discrete
        self._limit = settings.max_episode_steps
        envs = make_worlds(settings, len(self.seeds), AutoresetMode.DISABLED, model)
        self._begun = cast(SanaWMVectorEnv, envs.unwrapped)
        self._observations, _ = self._begun.reset(seed=list(self.seeds))
        self.frames_per_step = self._begun.frames_per_step
        """Pixel frames of one step."""
        self.action_space = self._wrapped(self._begun).single_action_space
        """Of one slot."""

    def evaluate(self, act: Act) -> Episodes:
        """Play every world to its end.

        Args:
            act: Called with the observations of the worlds whose episodes go on, in the order of the seeds.

        Returns:
            `return`, `length` and the task's measures at the end of each episode.
        """
        worlds = self._begun.fork(1)
        going = list(range(len(self.seeds)))
        observations: Any = self._observations
        results: Episodes = {"return": [0.0] * len(going), "length": [0.0] * len(going)}
        while going:
            step = self._wrapped(worlds).step(act(observations))
            observations, rewards, terminated, truncated, infos = step
            for row, episode in enumerate(going):
                results["return"][episode] += float(rewards[row])
                results["length"][episode] += 1
                for name in MEASURES:
                    if name in infos:
                        results.setdefault(name, [0.0] * len(self.seeds))[episode] = float(infos[name][row])
            keep = np.flatnonzero(~(terminated | truncated))
            if 0 < len(keep) < len(going):
                # What has ended is not computed any longer.
                worlds = worlds.fork(1, slots=keep.tolist())
                observations = _rows(observations, keep)
            going = [going[row] for row in keep]
        return results

    def _wrapped(self, worlds: SanaWMVectorEnv) -> VectorEnv[Any, Any, Any]:
        return discrete(worlds) if self._discrete else worlds


def random_act(evaluator: Evaluator, seed: int) -> Act:
    """Uniform draws from the action space: what learning has to beat.

    Args:
        evaluator: Whose worlds.
        seed: Of the draws.
    """
    space = copy.deepcopy(evaluator.action_space)
    space.seed(seed)

    def act(observations: Any) -> NDArray[Any]:
        count = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
        return np.stack([space.sample() for _ in range(count)])

    return act


def _rows(observations: Any, rows: NDArray[np.intp]) -> Any:
    if isinstance(observations, dict):
        return {key: value[rows] for key, value in observations.items()}
    return observations[rows]
