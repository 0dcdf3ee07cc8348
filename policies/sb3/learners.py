"""`make_learner`: PPO, SAC or DQN with settings for short runs on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sanawm_env.policies.sb3.features import NavigationFeatures
from sanawm_env.policies.sb3.settings import TrainSettings
from stable_baselines3 import DQN, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

__all__ = ["load_learner", "make_learner"]

_KINDS: dict[str, Any] = {"ppo": PPO, "sac": SAC, "dqn": DQN}


def make_learner(settings: TrainSettings, envs: VecEnv) -> BaseAlgorithm:
    """An untrained learner.

    Args:
        settings: Of the run.
        envs: Of `make_training_envs`.
    """
    network: dict[str, Any] = {"features_extractor_class": NavigationFeatures, "net_arch": [64, 64]}
    batch = settings.batch_size
    if settings.algo == "ppo":
        # The largest part of a rollout that divides it: no update is made from a rest of a few transitions.
        rollout = settings.rollout_steps * settings.envs
        batch = max(size for size in range(1, min(batch, rollout) + 1) if rollout % size == 0)
        network["activation_fn"] = nn.Tanh
        own: dict[str, Any] = {
            "n_steps": settings.rollout_steps,
            "n_epochs": settings.epochs,
            "ent_coef": 0.01 if settings.discrete else 0.0,
        }
        if not settings.discrete:
            network["log_std_init"] = -0.7  # actions beyond the limits are clipped; half of them need not be
    else:
        own = {"buffer_size": settings.buffer_size, "learning_starts": settings.learning_starts}
        # One gradient step per transition costs less than the transition.
        own |= {"train_freq": 1, "gradient_steps": -1}
        if settings.hindsight:
            # Hindsight draws from whole episodes only, so that learning waits for the first ones.
            own["learning_starts"] = max(settings.learning_starts, settings.envs * (settings.max_episode_steps + 1))
            own |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 4}}
        if settings.algo == "dqn":
            own |= {"target_update_interval": 1000, "exploration_fraction": 0.3}
    learner: BaseAlgorithm = _KINDS[settings.algo](
        "MultiInputPolicy",
        envs,
        learning_rate=settings.learning_rate,
        gamma=settings.gamma,
        batch_size=batch,
        policy_kwargs=network,
        seed=settings.seed,
        device=settings.device,
        **own,
    )
    return learner


def load_learner(settings: TrainSettings, envs: VecEnv, path: Path) -> BaseAlgorithm:
    """A learner that goes on from a file.

    Args:
        settings: Of the run.
        envs: Of `make_training_envs`.
        path: A zip of `BaseAlgorithm.save`; beside it, perhaps, `replay.pkl`, without which replay begins empty. Both
            hold pickled objects: resume only your own runs.

    Raises:
        ValueError: It was trained in other spaces.
    """
    try:
        learner: BaseAlgorithm = _KINDS[settings.algo].load(path, env=envs, device=settings.device)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} does not go on with these settings ({error}); resume with those of settings.json, or train "
            "into another folder."
        ) from error
    replay = path.with_name("replay.pkl")
    if isinstance(learner, OffPolicyAlgorithm):
        if replay.is_file():
            learner.load_replay_buffer(replay)
        else:
            learner.learning_starts += learner.num_timesteps
    return learner
