"""Environments to train and to evaluate in."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from sanawm_env.bridges.sb3 import SanaWMVecEnv
from sanawm_env.policies.sb3.settings import TrainSettings
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env.envs.wrappers import VectorDiscreteNavigation
from sanawm_env.envs.wrappers.discrete import STEP, TURN
from sanawm_env.world.model import WorldModel

__all__ = ["discrete", "make_training_envs", "make_worlds"]


def make_worlds(
    settings: TrainSettings, num_envs: int, autoreset: AutoresetMode, model: WorldModel | None = None
) -> VectorEnv[Any, Any, Any]:
    """Worlds of the settings' task, with pose-delta actions.

    Args:
        settings: Of the run.
        num_envs: Slots.
        autoreset: What follows the end of an episode.
        model: A world that is loaded already, to share it.
    """
    source: dict[str, Any] = {"checkpoint": settings.checkpoint, "device": settings.device}
    text: dict[str, Any] = {"prompt": settings.prompt, "text_encoder": settings.text_encoder}
    return gym.make_vec(
        f"SanaWM/{settings.task}-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=autoreset,
        exact=False,  # slots may differ by rounding, in return for one forward of all
        task=settings.make_task(),
        chunk_frames=settings.chunk_frames,
        obs_mode=settings.obs_mode,
        obs_size=settings.obs_size,
        max_episode_steps=settings.max_episode_steps,
        **text,
        **(source if model is None else {"checkpoint": model}),
    )


def make_training_envs(settings: TrainSettings, model: WorldModel | None = None) -> VecEnv:
    """Monitored worlds for a learner, seeded by it; arguments as in `make_worlds`."""
    envs = make_worlds(settings, settings.envs, AutoresetMode.SAME_STEP, model)
    return VecMonitor(SanaWMVecEnv(discrete(envs) if settings.discrete else envs))


def discrete(envs: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
    """Navigate by Habitat's four actions, with its step and turn or the most that one step of the world can do."""
    base: Any = envs.unwrapped
    turn = min(TURN, math.degrees(base.max_rotation))
    return VectorDiscreteNavigation(envs, step=min(STEP, base.max_translation), turn=turn)
