import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from sanawm_env import SanaWMVectorEnv
from sanawm_env.client import RemoteSanaWMVectorEnv
from tests.server.client.test_env import FAST, same

SHORT = FAST | {"task": "PointNav", "max_episode_steps": 3}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_it_equals_the_local_vector_environment(server, model, mode):
    remote = RemoteSanaWMVectorEnv(2, server.url, autoreset_mode=mode, **SHORT)
    local = SanaWMVectorEnv(2, model, autoreset_mode=mode, **SHORT)
    assert remote.action_space == local.action_space and remote.observation_space == local.observation_space
    assert remote.metadata["autoreset_mode"] is mode
    same(remote.reset(seed=[4, 9]), local.reset(seed=[4, 9]))
    same(remote.step(np.zeros((2, 6))), local.step(np.zeros((2, 6))))
    mask = {"reset_mask": np.array([False, True])}  # so that the slots' episodes end at different steps
    same(remote.reset(seed=[None, 5], options=mask), local.reset(seed=[None, 5], options=mask))
    local.action_space.seed(0)
    for _ in range(6):
        actions = local.action_space.sample()
        same(remote.step(actions), local.step(actions))
    states = [rng.bit_generator.state for rng in remote.np_random]
    assert states == [rng.bit_generator.state for rng in local.np_random]
    remote.close()


def test_masks_moments_and_mistakes(server, model):
    remote = RemoteSanaWMVectorEnv(2, server.url, autoreset_mode="Disabled", **SHORT)
    local = SanaWMVectorEnv(2, model, autoreset_mode="Disabled", **SHORT)
    with pytest.raises(ResetNeeded):
        remote.step(np.zeros((2, 6)))
    with pytest.raises(ResetNeeded):
        remote.reset(options={"reset_mask": np.array([True, False])})
    same(remote.reset(seed=1), local.reset(seed=1))
    here, there = remote.snapshot(), local.snapshot()
    for bad in (np.zeros((1, 6)), np.full((2, 6), 3.0), np.full((2, 6), np.nan)):
        with pytest.raises(ValueError):
            remote.step(bad)
    for _ in range(3):
        same(remote.step(np.zeros((2, 6))), local.step(np.zeros((2, 6))))
    with pytest.raises(ResetNeeded, match="slot 0, 1"):
        remote.step(np.zeros((2, 6)))
    same(remote.restore([here[1], here[0]]), local.restore([there[1], there[0]]))
    same(remote.step(np.ones((2, 6))), local.step(np.ones((2, 6))))
    remote.close()


def test_its_id(server):
    envs = gym.make_vec(
        "sanawm_env.client:RemoteSanaWM-v0",
        num_envs=2,
        vectorization_mode="vector_entry_point",
        url=server.url,
        render_mode="rgb_array",
        **FAST,
    )
    observations, _ = envs.reset(seed=0)
    assert [np.array_equal(frame, seen) for frame, seen in zip(envs.render(), observations, strict=True)] == [True] * 2
    envs.close()
    envs.close()
