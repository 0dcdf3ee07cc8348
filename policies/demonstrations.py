"""`Demonstrations`: what another policy saw and did, for imitation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from sanawm_env.policies.base import Env, Policy

__all__ = ["Demonstrations", "action_limits", "collect", "low_dimensional"]

IMAGE = "image"
"""The entry of observations that holds the picture."""
_MOTIONS = ((6,), (7,))
"""Shapes of one motion of the camera, without and with STOP."""


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Pairs of observation and action, N of them."""

    entries: dict[str, NDArray[Any]]
    """Name of an observation's entry to `(N, ...)`: float32 numbers, and uint8 for `image`."""
    actions: NDArray[Any]
    """`(N, 6)` or `(N, 7)` float32 pose deltas, or `(N,)` int64 discrete actions."""
    choices: int = 0
    """How many discrete actions there are; 0 for pose deltas."""
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Least and greatest value of every component of an action; None if unknown, then
    [-1, 1]."""

    def __len__(self) -> int:
        return len(self.actions)


def collect(
    env: Env,
    policy: Policy,
    episodes: int,
    seed: int = 0,
    noise: float = 0.0,
    entries: Sequence[str] | None = None,
    image: bool = False,
) -> Demonstrations:
    """Watch a policy.

    Args:
        env: Environment with dictionary observations.
        policy: Whom to watch.
        episodes: How many; the i-th has seed `seed + i`.
        seed: Of the first episode, and of the noise.
        noise: Disturbance of what is done, but not of what is written down, so that the data shows how to come back
            to the way (Laskey et al. 2017): standard deviation of a motion's components, in units of half their
            range (of normalised pose deltas, that is 1), or how often a discrete action is replaced by a random one
            other than STOP.
        entries: Entries to keep; None is `low_dimensional`.
        image: Whether to keep the picture, too.

    Raises:
        ValueError: No episodes, observations without such entries, or actions that are neither discrete nor one
            motion of the camera.
    """
    if episodes < 1 or not noise >= 0:
        raise ValueError(f"episodes must be at least 1 and noise at least 0; got {episodes} and {noise}.")
    actions = env.action_space
    if not isinstance(actions, spaces.Discrete) and not (isinstance(actions, spaces.Box) and actions.shape in _MOTIONS):
        raise ValueError(
            f"imitation learns discrete actions, or one motion per step of shape (6,) or (7,); got {actions}, use "
            "action_mode='delta'."
        )
    names = list(low_dimensional(env.observation_space) if entries is None else entries) + [IMAGE] * image
    space = env.observation_space
    missing = [n for n in names if not isinstance(space, spaces.Dict) or n not in space.spaces]
    if missing:
        raise ValueError(f"observations have no entry {missing[0]!r}; choose a task, and entries among {space}.")
    rng = np.random.default_rng(seed)
    seen: dict[str, list[Any]] = {name: [] for name in names}
    done: list[Any] = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed + episode)
        policy.begin(env, observation, info)
        ended = False
        while not ended:
            action = policy.act(observation, info)
            for name in names:
                seen[name].append(np.array(observation[name]))
            done.append(action)
            observation, _, terminated, truncated, info = env.step(_disturbed(action, noise, rng, env))
            ended = terminated or truncated
    arrays = {name: np.stack(values) for name, values in seen.items()}
    choices = int(actions.n) if isinstance(actions, spaces.Discrete) else 0
    return Demonstrations(
        {name: value if name == IMAGE else value.astype(np.float32) for name, value in arrays.items()},
        np.asarray(done, np.int64 if choices else np.float32),
        choices,
        action_limits(actions),
    )


def low_dimensional(space: spaces.Space[Any]) -> tuple[str, ...]:
    """Names of an observation's entries that are no pictures, nor the camera's intrinsics.

    Raises:
        ValueError: There are none.
    """
    found = []
    if isinstance(space, spaces.Dict):
        boxes = {name: box for name, box in space.spaces.items() if isinstance(box, spaces.Box)}
        found = [name for name, box in boxes.items() if box.dtype != np.uint8 and name != "intrinsics"]
    if not found:
        raise ValueError(f"imitation needs observations with entries such as 'pose' and 'goal'; got {space}.")
    return tuple(sorted(found))


def action_limits(space: spaces.Space[Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Least and greatest value of every component; None for discrete actions and for a `Box` without limits.

    A wrapper without limits, such as `ClipAction`, means [-1, 1] still.
    """
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        return None
    return tuple(map(float, space.low)), tuple(map(float, space.high))


def _disturbed(action: Any, noise: float, rng: np.random.Generator, env: Env) -> Any:
    if noise == 0:
        return action
    if isinstance(env.action_space, spaces.Discrete):
        return int(rng.integers(1, env.action_space.n)) if action != 0 and rng.random() < noise else action
    low, high = (np.array(ends[:6]) for ends in action_limits(env.action_space) or ((-1.0,) * 6, (1.0,) * 6))
    moved = np.array(action)
    moved[:6] += rng.normal(0, noise * (high - low) / 2).astype(moved.dtype)
    moved[:6] = moved[:6].clip(low, high)
    return moved
