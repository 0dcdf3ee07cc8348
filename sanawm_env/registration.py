"""Environment ids."""

from __future__ import annotations

import gymnasium as gym

__all__ = ["DEFAULT_CHECKPOINT", "EPISODE_SECONDS", "register_envs"]

DEFAULT_CHECKPOINT = "small-reflect"
"""Of the checkpoints in the package: it is sharp all round, `small` where the first picture is; `tiny` is fast."""
TASK_NAMES = ("PointNav", "ImageNav", "FollowPath", "Explore", "LoopClosure")
"""Keys of `sanawm_env.tasks.TASKS`, which is not imported here: listing environments should not load torch."""
EPISODE_SECONDS = 60.0
"""World time of an episode unless the user says otherwise."""


def register_envs() -> None:
    """Register every id of this package with Gymnasium; safe to call again.

    No id has a limit of steps: an episode is `EPISODE_SECONDS` of world time, however long a step is, and the
    environment ends it itself. A limit in the registry would count steps of any length alike.
    """
    for task in (None, *TASK_NAMES):
        name = "SanaWM-v0" if task is None else f"SanaWM/{task}-v0"
        if name not in gym.registry:
            gym.register(
                id=name,
                entry_point="sanawm_env.envs.env:SanaWMEnv",
                vector_entry_point="sanawm_env.envs.vector_env:SanaWMVectorEnv",
                kwargs={} if task is None else {"task": task},
            )
