"""Habitat's four actions: exactly the motions they say."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from scipy.spatial.transform import Rotation

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.envs.wrappers import DiscreteNavigation, NavigationAction, VectorDiscreteNavigation
from sanawm_env.tasks import PointNav
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
LIMITS = {"max_translation": 0.5, "max_rotation": math.radians(15)}
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)  # no scene to render at resets
STOP, FORWARD, LEFT, RIGHT = NavigationAction


def world(**arguments):
    return SanaWMEnv(MODEL, PICTURE, **LIMITS | arguments)


def test_the_order_is_habitats():
    assert [(a.name, a.value) for a in NavigationAction] == [
        ("STOP", 0),
        ("MOVE_FORWARD", 1),
        ("TURN_LEFT", 2),
        ("TURN_RIGHT", 3),
    ]


@pytest.mark.parametrize(("step", "turn"), [(0.25, 10.0), (0.5, 15.0), (0.1, 1.0)])
def test_moves_and_turns(step, turn):
    env = DiscreteNavigation(world(), step=step, turn=turn)
    assert env.action_space == gym.spaces.Discrete(4)
    env.reset(seed=0)
    *_, info = env.step(STOP)
    assert np.array_equal(info["c2w"], np.eye(4))
    *_, info = env.step(FORWARD)
    assert np.allclose(info["c2w"][:3, 3], [0, 0, step], atol=1e-7)
    *_, info = env.step(LEFT)
    assert np.allclose(info["c2w"][:3, 3], [0, 0, step], atol=1e-7)
    # Left is towards -x.
    ahead = [-math.sin(math.radians(turn)), 0, math.cos(math.radians(turn))]
    assert np.allclose(info["c2w"][:3, 2], ahead, atol=1e-7)
    *_, info = env.step(RIGHT)
    assert np.allclose(info["c2w"][:3, :3], np.eye(3), atol=1e-7)


def test_a_level_camera_stays_level():
    env = DiscreteNavigation(world())
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        *_, info = env.step(int(rng.integers(4)))
    c2w = info["c2w"]
    assert abs(c2w[1, 3]) < 1e-9 and np.allclose(c2w[:3, 1], [0, 1, 0], atol=1e-9)
    yaw = Rotation.from_matrix(c2w[:3, :3]).as_rotvec(degrees=True)[1]
    assert abs(yaw / 10 - round(yaw / 10)) < 1e-5


def test_stop_ends_the_episode_where_the_task_has_it():
    env = DiscreteNavigation(world(task=PointNav(stop_action=True)))
    env.reset(seed=0)
    assert env.step(FORWARD)[2] is False
    _, _, terminated, _, info = env.step(STOP)
    assert terminated and not info["success"]
    env.reset(options={"goal": [0, 0, 0.25]})
    assert env.step(FORWARD)[2] is False
    _, _, terminated, _, info = env.step(STOP)
    assert terminated and info["success"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of advice on spaces
def test_it_is_a_gymnasium_environment():
    env = DiscreteNavigation(world(task="PointNav"))
    check_env(env, skip_render_check=True)
    made = gym.make("SanaWM/PointNav-v0", checkpoint=MODEL, **LIMITS)
    again = gym.make(DiscreteNavigation(made, step=0.3).spec)
    assert again.get_wrapper_attr("step_metres") == 0.3


def test_what_it_refuses():
    for action in (4, -1, 0.5, None, [1], np.array([1]), "STOP"):
        env = DiscreteNavigation(world())
        env.reset(seed=0)
        with pytest.raises(ValueError, match="one of 0 STOP, 1 MOVE_FORWARD"):
            env.step(action)
        assert env.unwrapped.snapshot().elapsed_steps == 0
    for action in (np.int64(1), np.array(1), NavigationAction.MOVE_FORWARD):
        assert env.step(action)
    with pytest.raises(ValueError, match=r"0.25 m is more .* 0.2; make it with max_translation=0.25"):
        DiscreteNavigation(SanaWMEnv(MODEL))
    with pytest.raises(ValueError, match=r"turn of 20 degrees .* max_rotation=0.349066"):
        DiscreteNavigation(world(), turn=20)
    for bad in ({"step": 0}, {"turn": -1}, {"step": math.nan}):
        with pytest.raises(ValueError, match="must be a positive number"):
            DiscreteNavigation(world(), **bad)
    with pytest.raises(ValueError, match="action_mode='delta'"):
        DiscreteNavigation(SanaWMEnv(MODEL, action_mode="keys"))
    with pytest.raises(ValueError, match="put this wrapper below"):
        DiscreteNavigation(DiscreteNavigation(world()))
    with pytest.raises(ValueError, match="needs actions"):
        DiscreteNavigation(gym.make("CartPole-v1"))


def test_the_mend_that_it_names_works():
    with pytest.raises(ValueError) as error:
        DiscreteNavigation(SanaWMEnv(MODEL, max_rotation=0.2))
    assert "max_translation=0.25" in str(error.value)
    assert DiscreteNavigation(SanaWMEnv(MODEL, max_translation=0.25, max_rotation=0.174533))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_slots_are_single_environments(mode):
    envs = VectorDiscreteNavigation(SanaWMVectorEnv(3, MODEL, image=PICTURE, autoreset_mode=mode, **LIMITS))
    assert envs.single_action_space == gym.spaces.Discrete(4)
    assert envs.action_space == gym.spaces.MultiDiscrete([4, 4, 4])
    assert envs.action_space.sample() in envs.action_space
    singles = [DiscreteNavigation(world()) for _ in range(3)]
    observations, _ = envs.reset(seed=5)
    for slot, env in enumerate(singles):
        assert np.array_equal(env.reset(seed=5 + slot)[0], observations[slot])
    for actions in ([FORWARD, LEFT, STOP], [RIGHT, FORWARD, FORWARD]):
        observations, *_ = envs.step(np.array(actions))
        for slot, env in enumerate(singles):
            assert np.array_equal(env.step(actions[slot])[0], observations[slot])


def test_a_bad_slot_moves_nobody():
    envs = VectorDiscreteNavigation(SanaWMVectorEnv(2, MODEL, image=PICTURE, **LIMITS))
    envs.reset(seed=0)
    for actions, message in (([1, 7], "slot 1: a navigation action"), ([1], "2 integers"), ([0.5, 1], "slot 0")):
        with pytest.raises(ValueError, match=message):
            envs.step(np.array(actions))
    assert [moment.elapsed_steps for moment in envs.unwrapped.snapshot()] == [0, 0]
