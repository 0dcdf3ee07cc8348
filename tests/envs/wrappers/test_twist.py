"""Velocities in ROS axes: the camera goes where a robot would."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, logm

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.camera.pose import rollout_actions
from sanawm_env.envs.wrappers import TwistActions, VectorTwistActions
from sanawm_env.tasks import PointNav
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
SECONDS = 0.25  # four frames of 1/16 s


LIMITS = {"max_translation": 0.5, "max_rotation": 0.4}
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)  # no scene to render at resets


def world(**arguments):
    return SanaWMEnv(MODEL, PICTURE, **LIMITS | arguments)


def ros_to_camera():
    """Camera axes as ROS knows them (REP 103): x right is -y, y down is -z, z forward is x."""
    return np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float)


def end_of(linear, angular, seconds=SECONDS):
    """Pose after a constant body velocity, by the matrix exponential of the twist."""
    v, w = ros_to_camera() @ linear, ros_to_camera() @ angular
    twist = np.zeros((4, 4))
    twist[:3, :3] = [[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]
    twist[:3, 3] = v
    return expm(twist * seconds)


def drive(twist, **arguments):
    env = TwistActions(world(**arguments))
    env.reset(seed=0)
    return env.step(np.asarray(twist, np.float32))[-1]["c2w"]


def test_limits_are_the_environments_speeds():
    space = TwistActions(world()).action_space
    assert np.allclose(space.high, [2, 2, 2, 1.6, 1.6, 1.6]) and np.array_equal(space.low, -space.high)
    assert TwistActions(world(task=PointNav(stop_action=True))).action_space.shape == (7,)


@pytest.mark.parametrize(
    ("twist", "axis", "sign"),
    [([1, 0, 0, 0, 0, 0], 2, 1), ([0, 1, 0, 0, 0, 0], 0, -1), ([0, 0, 1, 0, 0, 0], 1, -1)],
)
def test_forward_left_up(twist, axis, sign):
    place = drive(twist)[:3, 3]
    assert place[axis] == pytest.approx(sign * SECONDS, abs=1e-6) and np.abs(place).sum() == pytest.approx(SECONDS)


def test_turning_left_looking_down_and_rolling():
    assert drive([0, 0, 0, 0, 0, 1])[0, 2] < -0.2  # left: forward axis towards -x
    assert drive([0, 0, 0, 0, 1, 0])[1, 2] > 0.2  # down: forward axis towards +y
    assert drive([0, 0, 0, 1, 0, 0])[1, 0] > 0.2  # clockwise: the right-hand axis goes down


ENV = TwistActions(world())
TWIST = st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TWIST)
def test_a_constant_velocity_is_kept_for_the_whole_step(unit):
    twist = np.float32(unit) * ENV.action_space.high
    action = ENV.action(twist)
    assert action in ENV.env.action_space
    delta = rollout_actions(np.eye(4), action[None], 4, *LIMITS.values())[-1]
    linear, angular = twist[:3].astype(float), twist[3:].astype(float)
    wanted = end_of(linear, angular)
    if np.abs(wanted[:3, 3]).max() <= 0.5:
        assert np.allclose(delta, wanted, atol=1e-5)
    else:
        # Too fast: the same path, as far as the limits allow.
        share = np.linalg.norm(logm(delta).real) / np.linalg.norm(logm(wanted).real)
        assert 0.57 < share < 1
        assert np.allclose(delta, end_of(linear, angular, share * SECONDS), atol=1e-5)
        assert np.abs(delta[:3, 3]).max() == pytest.approx(0.5, abs=1e-4)


def test_a_circle_closes():
    # 1 m/s and 1.5 rad/s to the left: a circle of 2/3 m.
    env = TwistActions(world())
    env.reset(seed=0)
    steps = 12
    turn = 2 * math.pi / (steps * SECONDS) / 2
    for i in range(2 * steps):
        *_, info = env.step(np.float32([1, 0, 0, 0, 0, turn]))
        if i == steps - 1:
            assert info["c2w"][0, 3] == pytest.approx(-2 / turn, abs=1e-4)  # half a circle: its diameter to the left
    assert np.allclose(info["c2w"], np.eye(4), atol=1e-4)


def test_stop_component():
    env = TwistActions(world(task=PointNav(stop_action=True)))
    env.reset(seed=0)
    assert env.step(np.float32([1, 0, 0, 0, 0, 0, -1]))[2] is False
    assert env.step(np.float32([0, 0, 0, 0, 0, 0, 1]))[2] is True


@pytest.mark.filterwarnings("ignore::UserWarning")  # of advice on spaces
def test_it_is_a_gymnasium_environment():
    check_env(TwistActions(world(task="PointNav")), skip_render_check=True)


def test_what_it_refuses():
    env = TwistActions(world())
    env.reset(seed=0)
    for twist, message in (
        ([0] * 5, "shape"),
        ([0, 0, 0, 0, 0, math.nan], "NaN"),
        ([3, 0, 0, 0, 0, 0], "beyond the limits"),
        (["a"] * 6, "numbers of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(twist))
    assert env.unwrapped.snapshot().elapsed_steps == 0
    with pytest.raises(ValueError, match="action_mode='delta'"):
        TwistActions(SanaWMEnv(MODEL, action_mode="per_frame"))
    with pytest.raises(ValueError, match="needs actions"):
        TwistActions(gym.make("Pendulum-v1"))


def test_slots_are_single_environments():
    envs = VectorTwistActions(SanaWMVectorEnv(2, MODEL, image=PICTURE, **LIMITS))
    assert envs.action_space.shape == (2, 6)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    twists = envs.action_space.sample()
    *_, infos = envs.step(twists)
    for slot in range(2):
        assert np.array_equal(infos["c2w"][slot], drive(twists[slot]))
    with pytest.raises(ValueError, match="slot 1: the twist has NaN"):
        envs.step(np.array([[0.0] * 6, [math.nan] * 6]))
    with pytest.raises(ValueError, match="must be 2 twists"):
        envs.step(twists[:1])
