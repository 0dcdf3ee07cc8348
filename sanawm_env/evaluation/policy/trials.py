"""Episodes that a policy plays in an environment with a task, each recorded as a `Trial`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sanawm_env.scenes.seeds import HELD_OUT_RESETS

__all__ = ["HELD_OUT_RESETS", "Player", "Trial", "check_seeds", "play", "run_trials"]

Env: TypeAlias = "gym.Env[Any, Any]"
Watch: TypeAlias = Callable[[NDArray[np.uint8]], Any]

# Of info: what tells the time, but not how well it went.
_CLOCKS = ("frame_index", "time", "state_bytes")
_LONGEST_REASON = 300


class Player(Protocol):
    """A policy, as the package `policies` has it.

    One that imagines futures in forks of the world may also have `frames`, the number of pixel frames imagined since
    `begin`, so that its cost counts.
    """

    def begin(self, env: Env, observation: Any, info: dict[str, Any]) -> None:
        """Look at a new episode."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        """The next action."""


@dataclass(frozen=True)
class Trial:
    """One episode."""

    policy: str
    """Its name."""
    task: str
    """Its name."""
    seed: int
    """Of the reset."""
    ending: Literal["terminated", "truncated", "failed"]
    """By the task, by a limit, or because policy or environment could not go on."""
    reason: str | None
    """Why it failed; None where it did not."""
    steps: int
    """Of the environment."""
    reward: float
    """Sum over the episode."""
    frames: int
    """Pixel frames that the steps generated."""
    imagined: int
    """Pixel frames that the policy generated in forks to make up its mind."""
    seconds: float
    """Wall clock, with the reset and the policy's own time."""
    measures: dict[str, float] = field(default_factory=dict)
    """Finite numbers of the last info, for instance `success`, `spl`, `path_length`; what the task has."""

    @property
    def success(self) -> bool:
        """Whether the task was done; a failed episode never is."""
        return self.ending != "failed" and self.measures.get("success", 0.0) > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"success": self.success}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """Read what `to_dict` made.

        Raises:
            KeyError: A field is missing.
        """
        return cls(**{each.name: values[each.name] for each in fields(cls)})


class _Failed(Exception):
    """Something that ends one episode and not the evaluation."""


def play(env: Env, policy: Player, seed: int, *, name: str, task: str, watch: Watch | None = None) -> Trial:
    """Play one episode.

    Whatever the policy or environment raises makes the episode fail, with the reason in the result. A NaN, a wrong
    shape or an action out of range is among it: the environment refuses those before anything moves.

    Args:
        env: Environment with a task, with its wrappers.
        policy: Who plays.
        seed: Of the reset.
        name: The policy's.
        task: The task's.
        watch: Called with frame 0 `(1, H, W, 3)` and the frames `(F, H, W, 3)` of each step. What it raises passes.
    """
    began = time.perf_counter()
    steps, reward, imagined = 0, 0.0, 0
    terminated = truncated = begun = False
    reason, info = None, {}
    try:
        observation, info = _attempt("reset", env.reset, seed=seed)
        if watch is not None:
            watch(info["frames"][-1:])
        _attempt("policy.begin", policy.begin, env, observation, info)
        begun = True
        while not (terminated or truncated):
            action = _attempt("policy.act", policy.act, observation, info)
            observation, gain, terminated, truncated, info = _attempt("step", env.step, action)
            steps, reward = steps + 1, reward + float(gain)
            if watch is not None:
                watch(info["frames"])
    except _Failed as failure:
        reason = str(failure)
    if begun:  # before that, a planner still tells of the episode before
        frames = getattr(policy, "frames", 0)
        imagined = int(frames) if isinstance(frames, int | np.integer) else 0
    return Trial(
        policy=name,
        task=task,
        seed=seed,
        ending="failed" if reason is not None else "terminated" if terminated else "truncated",
        reason=reason,
        steps=steps,
        reward=reward,
        frames=steps * int(env.unwrapped.frames_per_step),  # type: ignore[attr-defined]
        imagined=imagined,
        seconds=time.perf_counter() - began,
        measures={key: float(value) for key, value in info.items() if key not in _CLOCKS and _is_number(value)},
    )


def run_trials(
    env: Env,
    policy: Player,
    seeds: Sequence[int],
    *,
    name: str,
    task: str | None = None,
    watch: Callable[[int], Watch | None] = lambda episode: None,
) -> Iterator[Trial]:
    """Play one episode per seed; each `Trial` is there as soon as its episode has ended.

    Policies that are given the same seeds meet the same worlds and goals.

    Args:
        env: Environment with a task, with its wrappers.
        policy: Who plays. Make a new one for each call: its random numbers go on from episode to episode.
        seeds: Of the resets, each at least 0 and no two alike.
        name: The policy's.
        task: The task's; None takes that of the environment.
        watch: Gives `play` its argument of that name for the i-th episode.

    Raises:
        ValueError: No seed, one that cannot be one or comes twice, or an environment without a task. Nothing has
            been played then.
    """
    found = getattr(env.unwrapped, "task", None)
    if found is None:
        raise ValueError(
            f"policies are evaluated on a task and {type(env.unwrapped).__name__} has none; make one that has, for "
            'instance gym.make("SanaWM/PointNav-v0").'
        )
    check_seeds(seeds)
    label = found.name if task is None else task
    return (play(env, policy, seed, name=name, task=label, watch=watch(i)) for i, seed in enumerate(seeds))


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot make episodes that count.

    Raises:
        ValueError: None, a negative one, or one that comes twice.
    """
    if not len(seeds):
        raise ValueError("no episode to play: give at least one seed.")
    if (least := min(seeds)) < 0:
        raise ValueError(f"seeds must not be negative; got {least}.")
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if list(seeds).count(seed) > 1)
        raise ValueError(f"seed {twice} comes twice, and the same episode must not count twice; leave one out.")


def _attempt(what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        said = said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]} ..."
        raise _Failed(f"{what}: {said}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_) and bool(np.isfinite(value))
