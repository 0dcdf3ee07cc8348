"""Environments that are quick: an untrained world moves its camera just as a trained one does."""

import gymnasium as gym
import numpy as np

from sanawm_env import WorldModel
from sanawm_env.world.config import small_config

CONFIG = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1)
MODEL = WorldModel.untrained(CONFIG.replace(model=CONFIG.model.replace(depth=2, hidden_size=32)))
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)  # no scene to render at resets
F = 4
LIMITS = {"max_translation": 0.4, "max_rotation": 0.4}


def make(name="SanaWM-v0", **arguments):
    return gym.make(name, checkpoint=MODEL, image=PICTURE, **{"max_episode_steps": 40, **LIMITS} | arguments)


def play(env, policy, seed=0, **options):
    """One episode.

    Returns:
        Infos of all moments, rewards, and whether the task ended it.
    """
    observation, info = env.reset(seed=seed, options=options or None)
    policy.begin(env, observation, info)
    infos, rewards, terminated, truncated = [info], [], False, False
    while not (terminated or truncated):
        action = policy.act(observation, info)
        assert action in env.action_space
        observation, reward, terminated, truncated, info = env.step(action)
        infos.append(info)
        rewards.append(reward)
    return infos, rewards, terminated
