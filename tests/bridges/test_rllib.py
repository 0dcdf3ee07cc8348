"""Observations as RLlib takes them, and the example that trains its PPO; the latter by .ci/ray."""

import importlib.util
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from sanawm_env.bridges.rllib import FlatFloats, make_env

from sanawm_env import WorldModel

ROOT = Path(__file__).parents[2]


def make(**arguments):
    return make_env(
        {"checkpoint": WorldModel.untrained(), "chunk_frames": 1, "sampler_steps": 1, "max_episode_steps": 3}
        | arguments
    )


def test_one_vector_of_all_entries():
    env = make(obs_size=(4, 6))
    plain = env.env
    observation, info = env.reset(seed=3)
    whole, _ = plain.reset(seed=3)
    assert env.observation_space.shape == (3 + 4 * 6 * 3 + 7,) and observation in env.observation_space
    assert observation.dtype == np.float32
    np.testing.assert_array_equal(observation[:3], whole["goal"])
    np.testing.assert_array_equal(observation[3:-7], whole["image"].ravel() / np.float32(255))
    np.testing.assert_array_equal(observation[-7:], whole["pose"])
    assert "frames" not in info
    low, high = env.observation_space.low[3:-7], env.observation_space.high[3:-7]
    assert (low == 0).all() and (high == 1).all()


def test_the_environment_keeps_gymnasiums_rules():
    check_env(make(obs_mode="pose"), skip_render_check=True)


def test_other_ids_and_spaces():
    assert make(id="SanaWM/Explore-v0").unwrapped.task.name == "Explore"
    free = make(id="SanaWM-v0", obs_size=(4, 6))
    assert free.observation_space.contains(free.reset(seed=0)[0])

    class Odd(gym.Env):
        observation_space = gym.spaces.Dict({"text": gym.spaces.Text(3)})

    with pytest.raises(TypeError, match="'text'"):
        FlatFloats(Odd())


def test_it_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(make_env)) is make_env


@pytest.mark.skipif(
    os.environ.get("REQUIRE_RAY") != "1" and importlib.util.find_spec("ray") is None,
    reason="Ray is not installed here; .ci/ray runs this test",
)
def test_the_example_trains(tmp_path):
    out = tmp_path / "policy"
    command = [sys.executable, str(ROOT / "examples" / "train_rllib.py"), "--iterations", "2", "--steps", "32"]
    done = subprocess.run(
        [*command, "--episode-steps", "8", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4},
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"iteration (\d): (\d+) steps, return (\S+), loss (\S+),", done.stdout)
    assert [number for number, *_ in found] == ["1", "2"], done.stdout
    assert int(found[1][1]) >= 64
    assert all(np.isfinite([float(gain), float(loss)]).all() for _, _, gain, loss in found)
    assert any(out.iterdir())
