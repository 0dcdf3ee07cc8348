"""`Referee`: applies a task to the steps of a world. Single and vector environment share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.tasks.decay import appearance, decay
from sanawm_env.tasks.episode import Episode
from sanawm_env.tasks.geometry import motion_between, path_length
from sanawm_env.tasks.metrics import soft_spl, spl
from sanawm_env.tasks.rewards import Step, check_rewards, weigh
from sanawm_env.tasks.task import Array, Beginning, GoalForm, Stage, Task

__all__ = ["Moment", "Referee", "Verdict"]


@dataclass(frozen=True, eq=False)
class Moment:
    """What of a moment a task can see."""

    episode: Episode
    """The task's memory."""
    c2w: Array
    """`(4, 4)` pose."""
    frame: NDArray[np.uint8]
    """`(H, W, 3)` picture."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a step meant."""

    episode: Episode
    """The task's memory after it."""
    reward: float
    """Sum of the weighted terms; in the goal form the goal's reward."""
    terminated: bool
    """The goal is reached, or STOP was called."""
    truncated: bool
    """The drift guard ended the episode."""
    info: dict[str, Any]
    """Measures and metrics, see `Referee.describe`, and `reward_terms`."""


class Referee:
    """A task at work in one kind of environment; it holds no episode."""

    def __init__(self, task: Task, stage: Stage) -> None:
        self.task, self.stage = task, stage
        self.entries: dict[str, spaces.Space[Any]] = task.entries(stage)
        self._rewards = check_rewards(task.rewards, task.terms, task.without)
        self._limits = np.repeat([stage.max_translation, stage.max_rotation], 3)

    def begin(self, beginnings: Sequence[Beginning]) -> list[Episode]:
        """The first `Episode` of each rollout."""
        episodes = self.task.begin(beginnings, self.stage)
        return [
            episode.with_(path_length=0.0, motion=np.zeros(6), appearance=appearance(at.frame))
            for episode, at in zip(episodes, beginnings, strict=True)
        ]

    def judge(self, before: Moment, c2w: Array, frame: NDArray[np.uint8], *, stop: bool) -> Verdict:
        """Judge one step.

        Args:
            before: The moment before it.
            c2w: `(F, 4, 4)` poses of the step.
            frame: `(H, W, 3)` its last frame.
            stop: Whether STOP was called.

        Raises:
            ValueError: A reward term gave no finite number.
        """
        task, last = self.task, c2w[-1]
        motion = motion_between(before.c2w, last) / self._limits
        travelled = before.episode.number("path_length") + path_length(before.c2w[:3, 3], c2w)
        episode = task.follow(before.episode, c2w).with_(path_length=travelled, motion=motion)
        was, now = self._measure(before), self._measure(Moment(episode, last, frame))
        arrived = task.reached(episode, now)
        success = arrived and (stop or not task.stop_action)
        step = Step(
            before.episode, episode, was, now, last, motion, before.episode["motion"], frame, before.frame, success
        )
        terms = weigh(self._rewards, step)
        reward = sum(terms.values())
        if task.goal_env and isinstance(task, GoalForm):
            goals = task.achieved_goal(last), task.desired_goal(episode)
            reward = float(task.compute_reward(*goals, {}))
        decayed = task.drift_limit is not None and now["drift"] > task.drift_limit
        return Verdict(
            episode,
            float(reward),
            bool(success or stop),
            bool(decayed and not (success or stop)),
            self._info(episode, now, success) | {"reward_terms": terms},
        )

    def describe(self, moment: Moment) -> dict[str, Any]:
        """Info of a moment that no step led to (a reset or restore): what `judge` gives but for `reward_terms`."""
        return self._info(moment.episode, self._measure(moment), False)

    def observe(self, moment: Moment) -> dict[str, NDArray[Any]]:
        """The task's part of the observation."""
        return self.task.observe(moment.episode, moment.c2w)

    def _measure(self, moment: Moment) -> dict[str, float]:
        measures = self.task.measure(moment.episode, moment.c2w, moment.frame)
        return measures | {"drift": decay(moment.episode["appearance"], appearance(moment.frame))}

    def _info(self, episode: Episode, measures: dict[str, float], success: bool) -> dict[str, Any]:
        travelled = episode.number("path_length")
        info: dict[str, Any] = {"success": bool(success), "path_length": travelled, **measures}
        if "distance_to_goal" in measures:
            shortest = episode.number("start_distance")
            info["spl"] = spl(success, shortest, travelled)
            info["soft_spl"] = soft_spl(measures["distance_to_goal"], shortest, travelled)
        return info
