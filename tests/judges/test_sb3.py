"""Stable-Baselines3 judges every id, and learns on it."""

import os
import warnings

import gymnasium as gym
import numpy as np
import pytest
from sanawm_env.bridges.sb3 import SanaWMVecEnv
from stable_baselines3 import DQN, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecCheckNan, VecMonitor

from sanawm_env import SanaWMVectorEnv
from sanawm_env.envs.wrappers import VectorDiscreteNavigation
from sanawm_env.tasks import PointNav

pytestmark = pytest.mark.judge
full_only = pytest.mark.skipif(os.environ.get("SANAWM_JUDGES") != "full", reason="runs in .ci/judges")


def net():
    """A new one each time: learners write into it."""
    return {"net_arch": [8]}


def test_check_env(env_id, world):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A recommendation; its policies flatten a list of waypoints, as the learner below shows.
        warnings.filterwarnings("ignore", ".*waypoints.*unconventional shape")
        check_env(gym.make(env_id, **world).unwrapped, warn=True)


def test_check_env_with_sensors_and_contact(sensing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A recommendation: depth has no channels.
        warnings.filterwarnings("ignore", ".*depth.*unconventional shape")
        check_env(gym.make("SanaWM/PointNav-v0", **sensing).unwrapped, warn=True)


@pytest.mark.parametrize("mode", ["frame", "pose"])
def test_check_goal_env(small, mode):
    env = gym.make("SanaWM/PointNav-v0", task=PointNav(goal_env=True), obs_mode=mode, **small)
    check_env(env.unwrapped, warn=True)
    assert set(env.observation_space) == {"observation", "achieved_goal", "desired_goal"}


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])


def learn(model, steps):
    """Train; it must end with finite parameters that have moved."""
    before = weights(model)
    model.learn(steps)
    after = weights(model)
    assert np.isfinite(after).all() and not np.array_equal(before, after) and model.num_timesteps >= steps
    return model


def make(env_id, small, **arguments):
    return VecMonitor(VecCheckNan(SanaWMVecEnv(env_id, 2, max_episode_steps=5, **small, **arguments), True))


@full_only
def test_ppo_on_every_id(env_id, small):
    envs = make(env_id, small)
    policy = "MultiInputPolicy" if isinstance(envs.observation_space, gym.spaces.Dict) else "CnnPolicy"
    learn(PPO(policy, envs, n_steps=6, batch_size=6, n_epochs=1, policy_kwargs=net(), seed=0), 12)


@full_only
def test_sac(small):
    envs = make("SanaWM/PointNav-v0", small, obs_mode="pose")
    model = SAC("MultiInputPolicy", envs, learning_starts=8, batch_size=8, buffer_size=100, policy_kwargs=net(), seed=0)
    rewards, lengths = evaluate_policy(learn(model, 24), envs, n_eval_episodes=2, return_episode_rewards=True)
    assert np.isfinite(rewards).all() and max(lengths) <= 5


def test_dqn_on_discrete_actions(small):
    inner = SanaWMVectorEnv(
        2, small["checkpoint"], task="PointNav", obs_mode="pose", autoreset_mode="SameStep", max_episode_steps=5,
        max_translation=0.3, max_rotation=0.2,
    )  # fmt: skip
    envs = VecMonitor(VecCheckNan(SanaWMVecEnv(VectorDiscreteNavigation(inner)), True))
    learn(DQN("MultiInputPolicy", envs, learning_starts=8, batch_size=8, buffer_size=100, policy_kwargs=net()), 24)


@pytest.mark.parametrize("algorithm", [SAC, pytest.param(DQN, marks=full_only)], ids=["SAC", "DQN"])
def test_her(small, algorithm):
    """Goals are relabelled, through `compute_reward` behind the bridge."""
    inner = SanaWMVectorEnv(
        2, small["checkpoint"], task=PointNav(goal_env=True), obs_mode="pose", autoreset_mode="SameStep",
        max_episode_steps=4, max_translation=0.3, max_rotation=0.2,
    )  # fmt: skip
    envs = SanaWMVecEnv(VectorDiscreteNavigation(inner) if algorithm is DQN else inner)
    model = algorithm(
        "MultiInputPolicy", envs, learning_starts=10, batch_size=8, buffer_size=100, policy_kwargs=net(), seed=0,
        replay_buffer_class=HerReplayBuffer, replay_buffer_kwargs={"n_sampled_goal": 3},
    )  # fmt: skip
    learn(model, 32)
    batch = model.replay_buffer.sample(64)
    own = inner.compute_reward(
        batch.next_observations["achieved_goal"].numpy(), batch.next_observations["desired_goal"].numpy(), {}
    )
    assert np.allclose(batch.rewards.numpy().ravel(), own, atol=1e-5)
    # More goals than episodes: those that were drawn, and places that were reached.
    episodes = 32 // 4
    assert len(np.unique(batch.observations["desired_goal"].numpy(), axis=0)) > episodes
