"""The checkpoints that ship: they load, pass the outside checkers, and are worlds, not noise."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import sanawm_env  # noqa: F401
from sanawm_env.evaluation import psnr_gain
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import make_clips
from sanawm_env.world.checkpoints.local import builtin_checkpoints
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of


@pytest.fixture(scope="module", params=builtin_checkpoints())
def world(request):
    return WorldModel.load(request.param)


def test_the_default_ships():
    assert DEFAULT_CHECKPOINT in builtin_checkpoints() and "tiny" in builtin_checkpoints()


def test_outside_checkers_have_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("SanaWM-v0")
        assert env.spec is not None and not env.spec.nondeterministic
        check_env(env.unwrapped)
        check_env_sb3(env.unwrapped, skip_render_check=False)


def test_follows_the_camera_better_than_standing_still(world):
    """Four held-out scenes; the bar is far below the measured mean (docs/explanation/measured.md), far above chance."""
    seeds = range(20_000_000, 20_000_004)
    clips = make_clips(seeds, 17, world.config.height, world.config.width)
    truth = clips.rgb.numpy()
    made = rollout(world, starts_of(truth[:, 0], clips.intrinsics.numpy()), clips.c2w.numpy(), seeds)
    gain = psnr_gain(made, truth, 16)
    assert gain.counted >= 2
    assert gain.mean(gain.gain_db) > 2.0


def test_a_minute_of_random_actions_neither_blows_up_nor_goes_blank():
    env = gym.make("SanaWM-v0")
    env.reset(seed=0)
    env.action_space.seed(0)
    truncated = False
    sizes = set()
    while not truncated:
        observation, _, _, truncated, info = env.step(env.action_space.sample())
        sizes.add(info["state_bytes"])
    assert info["time"] == pytest.approx(60, abs=1)
    assert len(sizes) == 1
    state = env.unwrapped.snapshot().state
    # Frames are bytes whatever happens; what blows up is the memory.
    numbers = [value for value in state.flat().values() if value.is_floating_point() and value.numel()]
    assert numbers and all(value.isfinite().all() for value in numbers)
    assert max(float(value.abs().max()) for value in numbers) < 1e3
    # What is left after a minute is soft shapes, but it is a picture: not one colour, and few pixels at the ends.
    assert observation.reshape(-1, 3).std(axis=0).max() > 2
    assert np.isin(observation, (0, 255)).mean() < 0.5
