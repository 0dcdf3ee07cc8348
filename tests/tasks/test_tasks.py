"""Every task: its contract, its goal, its end, its metrics."""

import copy
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sanawm_env
from sanawm_env import SanaWMEnv, SanaWMVectorEnv
from sanawm_env.camera.pose import poses_to_actions
from sanawm_env.registration import TASK_NAMES
from sanawm_env.tasks import TASKS, Explore, FollowPath, ImageNav, LoopClosure, PointNav, get_task

STILL = [0.0] * 6
FORWARD = [0, 0, 1, 0, 0, 0]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(a, b)


def pose(x, z, yaw=0.0):
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s, x], [0, 1, 0, 0], [-s, 0, c, z], [0, 0, 0, 1]])


def test_every_task_has_an_id():
    assert tuple(TASKS) == TASK_NAMES
    assert all(f"SanaWM/{name}-v0" in gym.registry for name in TASKS)


@pytest.mark.parametrize("mode", ["frame", "dict", "pose"])
@pytest.mark.parametrize("name", TASKS)
def test_check_env(world, name, mode):
    env = gym.make(f"SanaWM/{name}-v0", checkpoint=world, obs_mode=mode, obs_size=(36, 56))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    # Poses have no bounds, which the checker wonders about.
    assert not [str(each.message) for each in found if "infinity" not in str(each.message)]


@pytest.mark.parametrize("name", TASKS)
def test_a_restored_moment_goes_on_alike(world, name, tmp_path):
    env = SanaWMEnv(world, task=name)
    env.reset(seed=4)
    rng = np.random.default_rng(0)
    for _ in range(2):
        env.step(rng.uniform(-1, 1, 6))
    env.snapshot().save(tmp_path / "moment")
    here, fork = env.snapshot(), env.fork(1)[0]
    actions = rng.uniform(-1, 1, (2, 6))
    first = [env.step(action) for action in actions]
    assert same([fork.step(action)[1:] for action in actions][-1][3], first[-1][4])
    for moment in (here, tmp_path / "moment"):
        env.restore(moment)
        for (obs, reward, done, _, info), action in zip(first, actions, strict=True):
            again = env.step(action)
            assert same(again[0], obs) and again[1] == reward and again[2] == done and same(again[4], info)


@pytest.mark.parametrize("name", TASKS)
def test_slots_are_single_environments(world, name):
    envs = SanaWMVectorEnv(3, world, task=name, max_episode_steps=3, exact=True)
    singles = [SanaWMEnv(world, task=name, max_episode_steps=3) for _ in range(3)]
    observations, _ = envs.reset(seed=[5, 6, 7])
    mine = [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(1)
    for _ in range(3):
        for i in range(3):
            assert same({key: value[i] for key, value in observations.items()}, mine[i])
        actions = rng.uniform(-1, 1, (3, 6)).astype(np.float32)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for i, env in enumerate(singles):
            mine[i], reward, done, cut, info = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, done, cut)
            assert infos["success"][i] == info["success"]
            for term, value in info["reward_terms"].items():
                assert infos["reward_terms"][term][i] == value


def test_the_task_leaves_the_world_of_a_seed_alone(world):
    plain, _ = SanaWMEnv(world).reset(seed=9)
    assert all(same(SanaWMEnv(world, task=name).reset(seed=9)[0]["image"], plain) for name in TASKS)


# -- PointNav -----------------------------------------------------------------------------------------------


def test_point_nav_ends_at_the_goal_with_spl_1_on_the_straight_way(world):
    env = SanaWMEnv(world, task="PointNav", max_translation=0.5)
    obs, info = env.reset(seed=0, options={"goal": [0, 0, 1.0]})
    assert obs["goal"].tolist() == [0, 0, 1] and info["distance_to_goal"] == 1 and info["spl"] == 0
    obs, reward, done, _, info = env.step(FORWARD)
    assert not done and obs["goal"] == pytest.approx([0, 0, 0.5]) and reward == pytest.approx(0.5 - 0.01)
    _, reward, done, truncated, info = env.step(FORWARD)
    assert done and not truncated and info["success"] is True
    assert info["spl"] == pytest.approx(1) and info["soft_spl"] == pytest.approx(1)
    assert reward == pytest.approx(0.5 - 0.01 + 2.5)


def test_a_detour_lowers_spl(world):
    env = SanaWMEnv(world, task="PointNav", max_translation=0.5)
    env.reset(seed=0, options={"goal": [0, 0, 1.0]})
    for action in ([0, 0, -1, 0, 0, 0], FORWARD, FORWARD):
        env.step(action)
    info = env.step(FORWARD)[4]
    assert info["success"] and info["spl"] == pytest.approx(0.5) and info["path_length"] == pytest.approx(2)


def test_drawn_goals_are_ahead_at_the_asked_distance(world):
    env = SanaWMEnv(world, task=PointNav(distance=(1.5, 2.0), bearing_deg=30), obs_mode="pose")
    goals = np.stack([env.reset(seed=seed)[0]["goal"] for seed in range(20)])
    far = np.linalg.norm(goals, axis=1)
    assert far.min() >= 1.5 - 1e-6 and far.max() <= 2.0 + 1e-6 and np.ptp(far) > 0.2
    assert np.abs(np.degrees(np.arctan2(goals[:, 0], goals[:, 2]))).max() <= 30 + 1e-4
    assert np.abs(goals[:, 1]).max() < 1e-6


def test_stop_ends_the_episode_and_only_then_success_counts(world):
    env = SanaWMEnv(world, task=PointNav(stop_action=True), max_translation=0.5)
    assert env.action_space.shape == (7,)
    env.reset(seed=0, options={"goal": [0, 0, 0.5]})
    *_, done, _, info = env.step([*FORWARD, -1])
    assert not done and not info["success"] and info["distance_to_goal"] == pytest.approx(0)
    *_, done, _, info = env.step([1, 1, 1, 1, 1, 1, 1])  # whatever the motion is, STOP stands still
    assert done and info["success"] and info["spl"] == pytest.approx(1)
    env.reset(seed=0)
    *_, done, _, info = env.step([*STILL, 1])
    assert done and not info["success"] and info["spl"] == 0


def test_goal_form_is_a_goal_env(world):
    task = PointNav(goal_env=True)
    env = SanaWMEnv(world, task=task, obs_mode="pose", max_translation=0.5)
    obs, _ = env.reset(seed=0, options={"goal": [0, 0, 0.5]})
    assert set(obs) == {"observation", "achieved_goal", "desired_goal"}
    goal, rewards = obs["desired_goal"], []
    for action in (STILL, FORWARD):
        obs, reward, done, _, info = env.step(action)
        assert reward == env.compute_reward(obs["achieved_goal"], goal, info)
        rewards.append((reward, done))
    assert rewards == [(-1.0, False), (0.0, True)]
    many = env.compute_reward(np.zeros((4, 3)), np.array([[0, 0, d] for d in (0, 0.1, 0.3, 9)]), [{}] * 4)
    assert many.tolist() == [0, 0, -1, -1]
    dense = PointNav(goal_env=True, goal_reward="dense")
    assert dense.compute_reward(np.zeros(3), np.array([0, 3.0, 4.0]), {}) == -5


def test_compute_reward_exists_in_the_goal_form_only(world):
    assert not hasattr(SanaWMEnv(world, task="PointNav"), "compute_reward")
    assert hasattr(copy.deepcopy(SanaWMEnv(world, task=PointNav(goal_env=True))), "compute_reward")


# -- ImageNav -----------------------------------------------------------------------------------------------


def test_the_goal_image_is_what_the_hidden_way_shows(world):
    env = SanaWMEnv(world, task="ImageNav", max_translation=0.5, max_rotation=0.3)
    goal = pose(0.3, 1.2, 0.4)
    obs, _ = env.reset(seed=2, options={"goal": goal})
    image = obs["goal_image"]
    actions = [STILL]
    from sanawm_env.tasks.paths import travel

    way = travel(np.eye(4), goal, env.simulation.runner.context)
    actions = poses_to_actions(np.concatenate([np.eye(4)[None], way]), 0.5, 0.3, env.frames_per_step)
    for action in actions:
        obs, _, done, _, info = env.step(np.clip(action, -1, 1))
    # The same world, the same motions and noise: the same picture, up to rounding of actions into poses.
    assert done and info["distance_to_goal"] < 1e-6 and info["angle_to_goal"] < 1e-3
    assert np.abs(obs["image"].astype(int) - image).max() <= 2


def test_looking_another_way_is_no_success(world):
    env = SanaWMEnv(world, task=ImageNav(success_distance=1.0), max_translation=0.5)
    env.reset(seed=2, options={"goal": pose(0, 0.5, np.pi / 2)})
    *_, done, _, info = env.step(FORWARD)
    assert info["distance_to_goal"] < 1e-6 and info["angle_to_goal"] == pytest.approx(90) and not done


def test_slots_with_ways_of_different_length_get_their_own_images(world):
    goals = [{"goal": pose(0, d)} for d in (0.5, 3.0, 1.6)]
    envs = SanaWMVectorEnv(3, world, task="ImageNav", exact=True)
    observations, _ = envs.reset(seed=[1, 2, 3], options={"per_slot": goals})
    for i in range(3):
        single, _ = SanaWMEnv(world, task="ImageNav").reset(seed=i + 1, options=goals[i])
        assert np.array_equal(observations["goal_image"][i], single["goal_image"])


# -- FollowPath ---------------------------------------------------------------------------------------------


def test_following_the_path_succeeds(world):
    env = SanaWMEnv(world, task=FollowPath(ahead=2), max_translation=0.5)
    path = np.stack([pose(0, 0.5), pose(0, 1.0), pose(0, 1.5)])
    obs, info = env.reset(seed=0, options={"goal": path})
    assert obs["waypoints"].shape == (2, 6) and obs["waypoints"][:, 2].tolist() == [0.5, 1.0]
    assert info["distance_to_goal"] == pytest.approx(1.5) and info["progress"] == 0
    progress = []
    for _ in range(3):
        obs, _, done, _, info = env.step(FORWARD)
        progress.append(info["progress"])
    assert progress == pytest.approx([1 / 3, 2 / 3, 1]) and done and info["success"]
    assert info["spl"] == pytest.approx(1) and info["deviation"] == pytest.approx(0, abs=1e-9)


def test_waypoints_cannot_be_skipped(world):
    env = SanaWMEnv(world, task="FollowPath", max_translation=1.0)
    env.reset(seed=0, options={"goal": np.stack([pose(1, 0), pose(0, 1)])})
    *_, done, _, info = env.step(FORWARD)  # straight to the last
    assert not done and info["progress"] == 0 and info["deviation"] == pytest.approx(0, abs=1e-9)


def test_a_waypoint_passed_inside_a_step_counts(world):
    env = SanaWMEnv(world, task="FollowPath", max_translation=1.0)
    env.reset(seed=0, options={"goal": np.stack([pose(0, 0.5), pose(0, 1.0)])})
    assert env.step(FORWARD)[4]["progress"] == 1


# -- Explore and LoopClosure --------------------------------------------------------------------------------


def test_turning_round_sees_every_sector(world):
    env = SanaWMEnv(world, task=Explore(target_views=12, sectors=12), max_rotation=np.pi / 6)
    obs, info = env.reset(seed=0)
    assert obs["visited"].tolist() == [1] + [0] * 11 and info["views"] == 1
    for _ in range(11):
        obs, _, done, _, info = env.step([0, 0, 0, 0, 1, 0])
    assert info["coverage"] == 1 and done and info["success"] and obs["visited"].all()
    assert "spl" not in info


def test_visited_begins_with_the_present_heading_and_goes_right(world):
    env = SanaWMEnv(world, task=Explore(sectors=4), max_rotation=np.pi / 2)
    env.reset(seed=0)
    obs = env.step([0, 0, 0, 0, 1, 0])[0]  # to the right: what lies to the left is seen
    assert obs["visited"].tolist() == [1, 0, 0, 1]


def test_a_loop_closes_only_after_having_been_out(world):
    env = SanaWMEnv(world, task=LoopClosure(out_distance=1.0), max_translation=1.0)
    obs, info = env.reset(seed=0)
    assert obs["home"].tolist() == [0] * 6 and obs["out"].tolist() == [0] and info["distance_to_goal"] == 2
    assert not env.step(STILL)[2]
    obs, _, done, _, info = env.step(FORWARD)
    assert obs["out"].tolist() == [1] and obs["home"][2] == -1 and info["distance_to_goal"] == 1 and not done
    obs, _, done, _, info = env.step([0, 0, -1, 0, 0, 0])
    assert done and info["success"] and info["spl"] == pytest.approx(1) and info["revisit_psnr"] < 100


def test_a_world_that_forgot_does_not_close_the_loop(world):
    env = SanaWMEnv(world, task=LoopClosure(out_distance=1.0, min_psnr=99.0), max_translation=1.0)
    env.reset(seed=0)
    env.step(FORWARD)
    assert not env.step([0, 0, -1, 0, 0, 0])[2]


# -- the guard, and what is refused -------------------------------------------------------------------------


def test_the_drift_guard_truncates(world):
    env = SanaWMEnv(world, task=PointNav(drift_limit=0.05))
    env.reset(seed=0)
    *_, done, truncated, info = env.step(FORWARD)  # an untrained world decays at once
    assert info["drift"] > 0.05 and truncated and not done


@pytest.mark.parametrize(
    ("task", "goal", "words"),
    [
        ("PointNav", [0, 0, 99.0], "outside the world"),
        ("PointNav", [0, np.nan, 1], "goal must be a position"),
        ("PointNav", [0, 1], "goal must be a position"),
        ("PointNav", "there", "goal must be a position"),
        ("ImageNav", pose(0, 99.0), "outside the world"),
        ("ImageNav", np.eye(3), "must have shape"),
        ("FollowPath", np.stack([pose(0, 1), pose(0, 99)]), "outside the world"),
        ("Explore", [0, 0, 1], "Explore has no goal"),
        ("LoopClosure", np.eye(4), "where the episode begins"),
        (None, [0, 0, 1], "no task, hence no goal"),
    ],
)
def test_bad_goals_are_refused_and_the_episode_goes_on(world, task, goal, words):
    env = SanaWMEnv(world, task=task)
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ValueError, match=words):
        env.reset(seed=1, options={"goal": goal})
    assert env.snapshot().equal(before)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PointNav(success_distance=0),
        lambda: PointNav(distance=(3, 1)),
        lambda: PointNav(distance=(1, 50)),
        lambda: PointNav(bearing_deg=200),
        lambda: PointNav(goal_reward="shaped"),
        lambda: PointNav(drift_limit=2),
        lambda: ImageNav(goal_env=True),
        lambda: ImageNav(turn_deg=-1),
        lambda: FollowPath(spacing=-1),
        lambda: Explore(target_views=10**9),
        lambda: LoopClosure(success_distance=2.0),
        lambda: LoopClosure(min_psnr=float("nan")),
        lambda: get_task("PointNavigation"),
    ],
)
def test_bad_settings_are_refused_when_the_task_is_made(make):
    with pytest.raises(ValueError):
        make()


def test_moments_of_another_task_are_refused(world):
    point, plain = SanaWMEnv(world, task="PointNav"), SanaWMEnv(world)
    point.reset(seed=0), plain.reset(seed=0)
    for moment in (plain.snapshot(), SanaWMEnv(world, task="Explore")):
        if isinstance(moment, SanaWMEnv):
            moment.reset(seed=0)
            moment = moment.snapshot()
        with pytest.raises(ValueError, match="begin an episode there"):
            point.restore(moment)
    obs, info = point.reset(seed=5, options={"state": plain.snapshot()})
    assert "goal" in obs and info["path_length"] == 0
    plain.restore(point.snapshot())  # a world without a task takes any
    assert plain.snapshot().task is None


def test_stop_action_needs_delta_actions(world):
    with pytest.raises(ValueError, match="stop_action needs action_mode 'delta'"):
        SanaWMEnv(world, task=PointNav(stop_action=True), action_mode="keys")


def test_planning_copies_do_not_touch_the_environment(world):
    env = SanaWMEnv(world, task="PointNav", max_translation=0.5)
    env.reset(seed=0, options={"goal": [0, 0, 0.5]})
    before = env.snapshot()
    copies = SanaWMVectorEnv.of(env, 2)
    rewards = [copies.step(np.array([FORWARD, STILL], np.float32))[1] for _ in range(2)]  # the first ends and goes on
    assert rewards[0][0] == pytest.approx(0.5 - 0.01 + 2.5) and rewards[0][1] == pytest.approx(-0.01)
    assert env.snapshot().equal(before)


def test_names_resolve_without_loading_torch():
    assert sanawm_env.registration.TASK_NAMES == tuple(TASKS)
