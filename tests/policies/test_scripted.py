"""Scripted policies do in the world what they say."""

import numpy as np
import pytest
from sanawm_env.policies import make_policy
from sanawm_env.policies.scripted.drive import Drive

from sanawm_env import SanaWMEnv
from sanawm_env.envs.wrappers import DiscreteNavigation, TwistActions
from sanawm_env.tasks import Explore, FollowPath, LoopClosure, PointNav
from tests.policies.policy_worlds import LIMITS, MODEL, PICTURE, make, play


def discrete(name, **arguments):
    return DiscreteNavigation(make(name, **arguments))


# -- follow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_follow_reaches_points(seed, stop):
    env = make("SanaWM/PointNav-v0", task=PointNav(stop_action=stop, bearing_deg=180), obs_mode="pose")
    infos, _, terminated = play(env, make_policy("scripted:follow"), seed)
    assert terminated and infos[-1]["success"] and infos[-1]["spl"] > 0.85


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_follow_reaches_points_by_discrete_actions(seed):
    env = discrete("SanaWM/PointNav-v0", task=PointNav(stop_action=True), obs_mode="pose")
    infos, _, terminated = play(env, make_policy("scripted:follow"), seed)
    assert terminated and infos[-1]["success"] and infos[-1]["spl"] > 0.8


@pytest.mark.parametrize("stop", [False, True])
def test_follow_goes_as_near_as_the_task_asks(stop):
    for distance in (0.08, 0.05, 0.002):
        for name, task in (
            ("PointNav", PointNav(stop_action=stop, success_distance=distance)),
            ("FollowPath", FollowPath(stop_action=stop, success_distance=distance, distance=(1.0, 1.5))),
            ("LoopClosure", LoopClosure(stop_action=stop, success_distance=distance, success_angle_deg=1.0)),
        ):
            env = make(f"SanaWM/{name}-v0", task=task, obs_mode="pose", max_episode_steps=80)
            infos, *_ = play(env, make_policy("scripted:follow"), 0)
            assert infos[-1]["success"], (name, distance)


def test_follow_in_the_goal_form():
    env = make("SanaWM/PointNav-v0", task=PointNav(goal_env=True), obs_mode="pose")
    infos, *_ = play(env, make_policy("scripted:follow"), 3)
    assert infos[-1]["success"] and infos[-1]["spl"] > 0.9


@pytest.mark.parametrize("stop", [False, True])
def test_follow_follows_paths(stop):
    env = make("SanaWM/FollowPath-v0", task=FollowPath(stop_action=stop), obs_mode="pose")
    infos, *_ = play(env, make_policy("scripted:follow"), 0)
    assert infos[-1]["success"] and infos[-1]["progress"] == 1
    assert max(info["deviation"] for info in infos) < 0.1


def test_follow_follows_a_path_through_space():
    # Up, down and with roll: a pose is more than a place.
    path = np.tile(np.eye(4), (3, 1, 1))
    path[:, :3, 3] = [[0.3, -0.4, 0.5], [0.8, 0.2, 0.8], [0.8, 0.9, 0.2]]
    env = make("SanaWM/FollowPath-v0", obs_mode="pose", task=FollowPath(stop_action=True))
    infos, *_ = play(env, make_policy("scripted:follow"), 0, goal=path)
    assert infos[-1]["success"] and np.linalg.norm(infos[-1]["c2w"][:3, 3] - path[-1, :3, 3]) <= 0.1


def test_follow_closes_loops():
    for env in (
        make("SanaWM/LoopClosure-v0"),
        discrete("SanaWM/LoopClosure-v0", task=LoopClosure(out_distance=0.5), max_episode_steps=60),
    ):
        infos, *_ = play(env, make_policy("scripted:follow"), 0)
        assert infos[-1]["success"]


def test_follow_sees_only_the_observation():
    env = make("SanaWM/PointNav-v0", obs_mode="pose")
    policy = make_policy("scripted:follow")
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    elsewhere = {"pose": observation["pose"], "goal": np.float32([-1, 0, 0])}
    assert policy.act(elsewhere, {})[0] < 0 < policy.act({**elsewhere, "goal": np.float32([1, 0, 0])}, {})[0]


def test_follow_needs_a_goal():
    for env in (make("SanaWM/ImageNav-v0"), make(), make("SanaWM/PointNav-v0", task=PointNav(goal_env=True))):
        with pytest.raises(ValueError, match="relative goal in the observation"):
            make_policy("scripted:follow").begin(env, *env.reset(seed=0))
    for bad in ({"gain": 0}, {"gain": 2}, {"reach": -1}):
        with pytest.raises(ValueError, match="gain must lie"):
            make_policy("scripted:follow", **bad)


# -- the others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [False, True])
def test_orbit_keeps_its_distance(left):
    env = make(max_episode_steps=12)
    infos, *_ = play(env, make_policy("scripted:orbit", radius=1.5, degrees_per_second=60, left=left))
    centre = np.array([0, 0, 1.5])
    for info in infos:
        away = centre - info["c2w"][:3, 3]
        assert np.linalg.norm(away) == pytest.approx(1.5, abs=1e-5)
        assert np.allclose(info["c2w"][:3, 2], away / 1.5, atol=1e-5)  # it looks at the centre
    assert (infos[1]["c2w"][0, 3] < 0) == left
    # 60 degrees a second for 3 s, within the limits of 0.4 m and 0.4 rad a step: chords of 0.39 m.
    assert np.allclose(infos[-1]["c2w"][:3, 3], [0, 0, 3], atol=1e-4)


def test_orbit_slows_down_at_the_limits():
    infos, *_ = play(make(max_episode_steps=4), make_policy("scripted:orbit", radius=4, degrees_per_second=200))
    places = [info["c2w"][:3, 3] for info in infos]
    assert np.allclose(np.linalg.norm(np.diff(places, axis=0), axis=1), 0.4, atol=1e-5)
    assert np.allclose(np.linalg.norm(np.array(places) - [0, 0, 4], axis=1), 4, atol=1e-4)


def test_look_around():
    infos, *_ = play(make(max_episode_steps=6), make_policy("scripted:look_around", degrees_per_second=60, left=True))
    assert all(np.allclose(info["c2w"][:3, 3], 0) for info in infos)
    assert np.allclose(infos[-1]["c2w"][:3, 2], [-1, 0, 0], atol=1e-5)  # 6 steps of a quarter of a second: 90 degrees
    infos, *_ = play(DiscreteNavigation(make(max_episode_steps=9)), make_policy("scripted:look_around"))
    assert np.allclose(infos[-1]["c2w"][:3, 2], [1, 0, 0], atol=1e-5)


def explored(policy, wrap=lambda env: env, steps=40):
    """Views seen; the task and the controls are the environment's, and no frame is generated."""
    env = wrap(make("SanaWM/Explore-v0"))
    env.reset(seed=0)
    task, controls = env.unwrapped.task, env.unwrapped.simulation.controls
    pose = np.eye(4)
    episode = task.follow(env.unwrapped.snapshot().task, pose[None])
    policy.begin(env, task.observe(episode, pose), {})
    for _ in range(steps):
        action = policy.act(task.observe(episode, pose), {})
        poses, _ = controls.move(pose[None], [None], [env.action(action) if wrap is DiscreteNavigation else action])
        episode, pose = task.follow(episode, poses[0]), poses[0, -1]
    return task.measure(episode, pose, None)["views"]


def test_frontier_sees_more_than_wandering():
    for steps in (40, 80):
        wandering = [explored(make_policy("random:smooth", seed=seed), steps=steps) for seed in range(3)]
        assert explored(make_policy("scripted:frontier"), steps=steps) > max(1.3 * np.mean(wandering), max(wandering))
    assert explored(make_policy("scripted:frontier"), DiscreteNavigation, 60) > 12  # all around, and on


def test_frontier_turns_back_where_nothing_counts():
    env = make("SanaWM/Explore-v0", obs_mode="pose", task=Explore(world_radius=1.0))
    policy = make_policy("scripted:frontier", patience=1.0)
    infos, *_ = play(env, policy)
    away = [np.abs(info["c2w"][[0, 2], 3]).max() for info in infos]
    outside = [distance >= 1 for distance in away]
    assert any(outside) and not all(outside[outside.index(True) :])


# -- where they cannot act ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scripted:orbit", "random:smooth"])
def test_some_need_pose_deltas(name):
    env = DiscreteNavigation(make())
    with pytest.raises(ValueError, match="take the discrete wrapper off"):
        make_policy(name).begin(env, *env.reset(seed=0))


def test_actions_that_nobody_can_give():
    keys = SanaWMEnv(MODEL, PICTURE, action_mode="keys")
    for env in (keys, TwistActions(make())):
        with pytest.raises(ValueError, match="action_mode='delta'"):
            make_policy("scripted:look_around").begin(env, *env.reset(seed=0))


def test_drive_keeps_the_direction():
    env = make(task=PointNav(stop_action=True))
    drive = Drive.of(env, "test")
    assert drive.max_translation == LIMITS["max_translation"] and drive.stops and not drive.discrete
    action = drive.move([0.8, 0, 0.4], [0, 0.1, 0])
    assert np.allclose(action, [1, 0, 0.5, 0, 0.125, 0, -1]) and action in env.action_space
    assert np.allclose(drive.stop(), [0, 0, 0, 0, 0, 0, 1])
    assert np.allclose(drive.move([0, 0, 0.1]), [0, 0, 0.25, 0, 0, 0, -1])
