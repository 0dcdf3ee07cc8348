"""Environment ids."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym

__all__ = ["DEFAULT_CHECKPOINT", "EPISODE_SECONDS", "register_envs"]

DEFAULT_CHECKPOINT = "small"
"""Of the checkpoints in the package: `small` is the sharper one, `tiny` the faster one."""
TASK_NAMES = ("PointNav", "ImageNav", "FollowPath", "Explore", "LoopClosure")
"""Keys of `sanawm_env.tasks.TASKS`, which is not imported here: listing environments should not load torch."""
EPISODE_SECONDS = 60.0
"""World time of an episode unless the user says otherwise."""


def register_envs() -> None:
    """Register every id of this package with Gymnasium; safe to call again."""
    if "SanaWM-v0" not in gym.registry:
        gym.register(
            id="SanaWM-v0",
            entry_point="sanawm_env.envs.env:SanaWMEnv",
            vector_entry_point="sanawm_env.envs.vector_env:SanaWMVectorEnv",
            max_episode_steps=default_episode_steps(),
        )
    for task in TASK_NAMES:
        if (name := f"SanaWM/{task}-v0") not in gym.registry:
            gym.register(
                id=name,
                entry_point="sanawm_env.envs.env:SanaWMEnv",
                vector_entry_point="sanawm_env.envs.vector_env:SanaWMVectorEnv",
                max_episode_steps=default_episode_steps(),
                kwargs={"task": task},
            )


def default_episode_steps() -> int:
    """Steps that make `EPISODE_SECONDS` with the default checkpoint and its default chunk length.

    The limit stands in the registry, as Gymnasium's own environments have it, because `gym.make` keeps the
    argument `max_episode_steps` to itself: an environment that cut episodes on its own could not be told to
    go on for longer.
    """
    config = Path(__file__).parent / "world" / "checkpoints" / DEFAULT_CHECKPOINT / "config.json"
    try:
        world = json.loads(config.read_text(encoding="utf-8"))["world"]
        frames = world["chunk_frames"] * world["model"]["temporal_stride"]
        return max(1, round(EPISODE_SECONDS * world["fps"] / frames))
    except (OSError, ValueError, KeyError, TypeError):
        # Importing must not fail over a broken checkpoint: loading it says what is wrong.
        return 80
