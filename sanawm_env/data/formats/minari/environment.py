"""`env_spec`: the environment that made the episodes, as Minari keeps it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import gymnasium as gym

from sanawm_env.data.episode import Episode

__all__ = ["env_spec"]


def env_spec(episodes: Iterable[Episode]) -> gym.envs.registration.EnvSpec | None:
    """The spec of the environment that made the episodes, so that `recover_environment` gives it back.

    Returns:
        None if one has no recipe, or checkpoints or tasks differ.
    """
    recipes = [each.recipe or {} for each in episodes]
    if not recipes or any(not isinstance(each.get("env"), dict) or "checkpoint" not in each for each in recipes):
        return None
    first = recipes[0]
    if any(
        (each["checkpoint"], each["env"].get("task")) != (first["checkpoint"], first["env"].get("task"))
        for each in recipes
    ):
        return None
    # What was drawn anew for each episode, such as the field of view, is not the environment's.
    arguments = {
        name: value for name, value in first["env"].items() if all(each["env"].get(name) == value for each in recipes)
    }
    task = arguments.get("task")
    name = task.get("task_class") if isinstance(task, dict) else task
    known = f"SanaWM/{name}-v0"
    spec = copy.deepcopy(gym.spec(known if name and known in gym.registry else "SanaWM-v0"))
    spec.kwargs = {"checkpoint": first["checkpoint"], **spec.kwargs, **arguments}
    return spec
