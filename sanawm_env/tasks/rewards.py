"""Reward terms: small named functions of one step, each in `info["reward_terms"]` with its weight.

A task's `rewards` names the terms that count and their weights; its `terms` adds functions of the user's own:

    ImageNav(rewards={"progress": 1.0, "high": 0.1}, terms={"high": lambda step: -step.c2w[1, 3]})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sanawm_env.tasks.metrics import similarity
from sanawm_env.tasks.state import TaskState

__all__ = ["TERMS", "RewardTerm", "Step", "check_rewards", "similarity", "weigh"]


@dataclass(frozen=True, eq=False)
class Step:
    """What a reward term may look at."""

    before: TaskState
    """The task's memory before the step."""
    after: TaskState
    """The task's memory after it."""
    was: Mapping[str, float]
    """The task's measures before the step, for instance `distance_to_goal`; each task lists its own."""
    now: Mapping[str, float]
    """The task's measures after it."""
    c2w: NDArray[np.float64]
    """`(4, 4)` pose after the step."""
    motion: NDArray[np.float64]
    """`(6,)` motion of the step in the camera's frame, in units of the largest that an action can command."""
    last_motion: NDArray[np.float64]
    """`(6,)` motion of the step before; zeros at an episode's first."""
    frame: NDArray[np.uint8]
    """`(H, W, 3)` last frame of the step."""
    last_frame: NDArray[np.uint8]
    """`(H, W, 3)` last frame of the step before."""
    success: bool
    """Whether this step ended the task well."""
    collided: bool = False
    """Whether the body ran into something; never where contact is not sensed."""


RewardTerm: TypeAlias = Callable[[Step], float]


def progress(step: Step) -> float:
    """Metres by which the distance to the goal fell (Habitat's `distance_to_goal_reward`)."""
    return step.was["distance_to_goal"] - step.now["distance_to_goal"]


def view_progress(step: Step) -> float:
    """Radians by which the angle to the goal's view fell."""
    return float(np.radians(step.was["angle_to_goal"] - step.now["angle_to_goal"]))


def success(step: Step) -> float:
    """1 at the step that succeeds."""
    return float(step.success)


def slack(step: Step) -> float:
    """-1 at every step (Habitat's `slack_reward`): weight it by what a step costs."""
    return -1.0


def goal_similarity(step: Step) -> float:
    """By how much the picture became more like the goal's, in [-1, 1]; sums to the whole gain over an episode."""
    goal = step.after["goal_image"]
    return similarity(step.frame, goal) - similarity(step.last_frame, goal)


def smoothness(step: Step) -> float:
    """Minus the squared change of motion, in units of the largest motion: 0 for a steady camera."""
    return -float(((step.motion - step.last_motion) ** 2).sum())


def novelty(step: Step) -> float:
    """Views seen for the first time in this step."""
    return step.now["views"] - step.was["views"]


def deviation(step: Step) -> float:
    """Minus the distance to the path, metres."""
    return -step.now["deviation"]


def drift(step: Step) -> float:
    """Minus the decay of the world's appearance since the episode began, see `tasks.metrics.decay`."""
    return -step.now["drift"]


def collision(step: Step) -> float:
    """-1 at a step that runs into something; needs an environment that senses contact."""
    return -float(step.collided)


TERMS: dict[str, RewardTerm] = {
    term.__name__: term
    for term in (
        progress,
        view_progress,
        success,
        slack,
        goal_similarity,
        smoothness,
        novelty,
        deviation,
        drift,
        collision,
    )
}
"""The terms that every task knows by name."""


def check_rewards(
    rewards: Mapping[str, float], terms: Mapping[str, RewardTerm], missing: Mapping[str, str]
) -> dict[str, tuple[float, RewardTerm]]:
    """The terms that count, with their weights.

    Args:
        rewards: Name to weight.
        terms: The user's own functions.
        missing: Names of `TERMS` that this task cannot compute, and why.

    Raises:
        ValueError: An unknown name, a term that is no function or is never weighed, or a weight that is no number.
    """
    known = {**TERMS, **terms}
    chosen = {}
    for name, weight in rewards.items():
        if name not in known:
            raise ValueError(
                f"unknown reward term {name!r}; known are {', '.join(sorted(known))}. "
                "Add your own with terms={name: function}."
            )
        if name in missing and name not in terms:
            raise ValueError(f"reward term {name!r} needs {missing[name]}; leave it out of rewards.")
        if not isinstance(weight, int | float | np.number) or not np.isfinite(float(weight)):
            raise ValueError(f"the weight of reward term {name!r} must be a finite number; got {weight!r}.")
        chosen[name] = (float(weight), known[name])
    for name, term in terms.items():
        if not callable(term):
            raise ValueError(f"reward term {name!r} must be a function of a Step; got {type(term).__name__}.")
        if name not in rewards:
            raise ValueError(f"reward term {name!r} has no weight and would never count; add it to rewards.")
    return chosen


def weigh(chosen: Mapping[str, tuple[float, RewardTerm]], step: Step) -> dict[str, float]:
    """Weighted value of every term.

    Raises:
        ValueError: A term's value is not a finite number; names the term.
    """
    values = {}
    for name, (weight, term) in chosen.items():
        value = float(term(step))
        if not np.isfinite(value):
            raise ValueError(f"reward term {name!r} gave {value}; let it return a finite number.")
        values[name] = weight * value
    return values
