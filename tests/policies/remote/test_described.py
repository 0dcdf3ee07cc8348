"""An environment in words: what policies read of it is the same on the other side."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction
from hypothesis import given
from hypothesis import strategies as st
from sanawm_env.policies.remote.described import describe, described
from sanawm_env.policies.remote.requests import IMAGE, STATE, instruction, named, unnamed
from sanawm_env.policies.remote.spaces import space_from, space_to
from sanawm_env.policies.remote.wire import pack, unpack
from sanawm_env.policies.scripted.drive import Drive

from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.registration import TASK_NAMES
from sanawm_env.tasks import TASKS
from tests.policies.policy_worlds import make


def sent(values):
    return unpack(pack(values))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task(task, discrete):
    env = make(f"SanaWM/{task}-v0", task=TASKS[task](stop_action=True))
    env = habitat_moves(env) if discrete else env
    there = described(sent(describe(env)))
    assert there.action_space == env.action_space and there.observation_space == env.observation_space
    assert Drive.of(there, "test") == Drive.of(env, "test")
    ours, theirs = env.unwrapped, there.unwrapped
    assert theirs.step_seconds == ours.step_seconds and theirs.frames_per_step == ours.frames_per_step
    assert theirs.task.name == task
    for name in ("success_distance", "success_angle_deg"):
        assert getattr(theirs.task, name, None) == getattr(ours.task, name, None)
    for call in (there.reset, lambda: there.step(0 if discrete else np.zeros(7, np.float32))):
        with pytest.raises(RuntimeError, match="elsewhere"):
            call()
    assert instruction(env).endswith("Stop when you are there.")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"obs_mode": "pose"}, {"obs_mode": "dict"}, {"task": "PointNav", "obs_mode": "pose"}, {"task": "ImageNav"}],
)
def test_observations_come_back(arguments):
    env = make("SanaWM-v0", **arguments)
    observation, _ = env.reset(seed=0)
    request = named(observation, {})
    back = unnamed(sent(request), env.observation_space)
    assert back in env.observation_space
    entries = observation if isinstance(observation, dict) else {"": observation}
    for name, value in entries.items():
        assert np.array_equal(value, back[name] if name else back)
    if arguments.get("obs_mode", "frame") == "frame":
        assert request[IMAGE].dtype == np.uint8
    if arguments:
        assert request[STATE].shape == (7,)


def test_names_of_ones_own():
    observation = {"image": np.zeros((2, 2, 3), np.uint8), "pose": np.zeros(7, np.float32)}
    assert set(named(observation, {"image": "observation/exterior"})) == {"observation/exterior", STATE}
    with pytest.raises(ValueError, match="no 'wrist' to be named; it has image, pose"):
        named(observation, {"wrist": "w"})
    with pytest.raises(ValueError, match="same name"):
        named(observation, {"image": STATE})


def test_what_is_missing_in_a_request():
    space = make().observation_space
    for request in ({}, {IMAGE: np.zeros((2, 2, 3), np.uint8)}, {IMAGE: "x"}, {IMAGE: np.zeros(space.shape)}):
        with pytest.raises(ValueError, match=r"observation/image must be an array of uint8 \(32, 48, 3\); got"):
            unnamed(request, space)


def test_wrappers_that_cannot_be_told():
    with pytest.raises(ValueError, match="cannot be told of RescaleAction"):
        describe(RescaleAction(make(), np.float32(-2), np.float32(2)))
    with pytest.raises(ValueError, match="CartPoleEnv is none"):
        describe(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="not of Text"):
        space_to(spaces.Text(3))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["max_rotation", "action_space", "observation_space", "task", "discrete"]), JUNK)
def test_forged_descriptions_are_refused_or_harmless(name, value):
    good = describe(make("SanaWM/PointNav-v0"))
    try:
        described(good | {name: value})
    except ValueError:
        pass
    with pytest.raises(ValueError):
        described({key: each for key, each in good.items() if key != name})


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "box", "low": 0, "high": 1, "shape": [10**9, 10**9], "dtype": "<f4"},
        {"kind": "box", "low": 0, "high": 1, "shape": [-1], "dtype": "<f4"},
        {"kind": "box", "low": [0, 0], "high": 1, "shape": [3], "dtype": "<f4"},
        {"kind": "box", "low": 0, "high": 1, "shape": [3], "dtype": "O"},
        {"kind": "discrete", "n": 0, "start": 0},
        {"kind": "dict", "spaces": {"a": {"kind": "dict", "spaces": {}}}},
        {"kind": "dict", "spaces": 3},
        {"kind": "multi_binary", "shape": [10**12]},
        {},
        None,
    ],
)
def test_no_spaces(values):
    with pytest.raises(ValueError, match="no space"):
        space_from(values)
