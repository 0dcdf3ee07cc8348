"""Planners look at the environment, never touch it, and get to goals."""

import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st
from sanawm_env.policies import make_policy
from sanawm_env.policies.planners import Imagination
from sanawm_env.policies.planners.noise import correlated

from sanawm_env import SanaWMEnv
from sanawm_env.envs.wrappers import DiscreteNavigation, TwistActions
from sanawm_env.tasks import PointNav
from tests.policies.policy_worlds import LIMITS, MODEL, PICTURE, F, make, play

PLANNERS = ["planner:shooting", "planner:cem", "planner:mppi"]
NEAR = PointNav(distance=(0.6, 0.9), bearing_deg=30)
BUDGET = {"frame_budget": 12 * 2 * F + F, "horizon": 2}  # the last for STOP


def near(stop=False, **arguments):
    return make("SanaWM/PointNav-v0", task=PointNav(distance=(0.6, 0.9), bearing_deg=30, stop_action=stop), **arguments)


def first_actions(name, env, n=1, **settings):
    policy = make_policy(name, **BUDGET | settings)
    observation, info = env.reset(seed=1)
    policy.begin(env, observation, info)
    actions = []
    for _ in range(n):
        actions.append(policy.act(observation, info))
        observation, *_, info = env.step(actions[-1])
    return np.array(actions)


@pytest.mark.parametrize("name", PLANNERS)
def test_the_environment_is_never_touched(name):
    env = near()
    observation, info = env.reset(seed=1)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    shown = env.unwrapped.restore(env.unwrapped.snapshot())
    before, rng = env.unwrapped.snapshot(), env.unwrapped.np_random.bit_generator.state
    policy = make_policy(name, **BUDGET)
    policy.begin(env, observation, info)
    policy.act(observation, info)
    after = env.unwrapped.snapshot()
    assert after is before and after.equal(before)
    assert env.unwrapped.np_random.bit_generator.state == rng
    assert data_equivalence(env.unwrapped.restore(after), shown, exact=True)


@pytest.mark.parametrize("name", PLANNERS)
def test_the_same_seed_plans_the_same(name):
    first = first_actions(name, near(), n=2, seed=3)
    assert np.array_equal(first, first_actions(name, near(), n=2, seed=3))
    assert not np.array_equal(first[:1], first_actions(name, near(), seed=4))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2), st.floats(0.5, 1.0))
def test_imagined_rewards_are_those_of_acting(seed, horizon, discount):
    env = near()
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    plans = rng.uniform(-1, 1, (3, horizon, 6)).astype(np.float32)
    imagined = Imagination(env, "test", discount).returns(plans)
    for plan, value in zip(plans, imagined, strict=True):
        [twin] = env.unwrapped.fork(1)
        total = 0.0
        for step, action in enumerate(plan):
            _, reward, terminated, *_ = twin.step(action)
            total += discount**step * reward
            if terminated:
                break
        # Rewards of PointNav depend on poses alone, which batching does not round.
        assert value == pytest.approx(total, abs=1e-6)


def test_what_ends_costs_no_more_frames():
    env = near()
    env.reset(seed=0, options={"goal": [0, 0, 0.4]})
    world = Imagination(env, "test")
    ahead, back = np.zeros((3, 6)), np.zeros((3, 6))
    ahead[:, 2], back[:, 2] = 1, -1
    returns = world.returns(np.stack([ahead, back, ahead]))
    assert world.frames == F * (3 + 1 + 1)
    assert returns[0] == returns[2] == pytest.approx(0.4 + 2.5 - 0.01) and returns[1] < 0


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("stop", [False, True])
def test_frames_stay_within_the_budget(name, stop):
    env = near(stop)
    observation, info = env.reset(seed=1)
    policy = make_policy(name, **BUDGET)
    policy.begin(env, observation, info)
    policy.act(observation, info)
    used = policy.frames
    assert 0.7 * BUDGET["frame_budget"] < used <= BUDGET["frame_budget"]
    policy.act(observation, info)
    assert used < policy.frames <= 2 * BUDGET["frame_budget"]


@pytest.mark.parametrize(("name", "least"), [("shooting", 2), ("mppi", 2), ("cem", 4 * 2)])
@pytest.mark.parametrize("stop", [False, True])
def test_a_budget_that_is_too_small(name, least, stop):
    needed = least * 3 * F + F * stop
    env = near(stop)
    arguments = env.reset(seed=1)
    with pytest.raises(ValueError, match=f"need at least {needed}; raise it"):
        make_policy(f"planner:{name}", horizon=3, frame_budget=needed - 1).begin(env, *arguments)
    make_policy(f"planner:{name}", horizon=3, frame_budget=needed).begin(env, *arguments)


def test_noise_is_as_correlated_as_it_says():
    noise = correlated(np.random.default_rng(0), 4000, 3, 0.8)
    assert noise.std(axis=(0, 2)) == pytest.approx(np.ones(3), abs=0.03)
    for step, wanted in ((1, 0.8), (2, 0.64)):
        assert np.mean(noise[:, 0] * noise[:, step]) == pytest.approx(wanted, abs=0.03)


def reached(policy, seeds):
    infos = [play(near(max_episode_steps=5, obs_mode="pose"), policy, seed)[0] for seed in seeds]
    return [run[-1]["success"] for run in infos], [run[-1]["distance_to_goal"] for run in infos]


@pytest.mark.parametrize("name", ["planner:cem", "planner:mppi"])
def test_they_reach_goals_that_chance_does_not(name):
    seeds = range(3)
    found, left = reached(make_policy(name, frame_budget=24 * 2 * F, horizon=2), seeds)
    lucky, missed = reached(make_policy("random:uniform"), seeds)
    assert sum(found) >= 2 and sum(found) > sum(lucky)
    assert np.mean(left) < 0.5 * np.mean(missed)


def test_they_stop_at_the_goal():
    env = near(stop=True)
    for name in PLANNERS:
        policy = make_policy(name, **BUDGET)
        observation, info = env.reset(seed=0, options={"goal": [0, 0, 0.1]})
        policy.begin(env, observation, info)
        assert policy.act(observation, info)[6] > 0
        observation, info = env.reset(seed=0, options={"goal": [0, 0, 0.9]})
        policy.begin(env, observation, info)
        assert policy.act(observation, info)[6] < 0


def test_shooting_plans_discrete_actions():
    env = DiscreteNavigation(near(stop=True, obs_mode="pose"))
    policy = make_policy("planner:shooting", frame_budget=12 * 2 * F, horizon=2, hold=1)
    infos, _, terminated = play(env, policy, seed=0, goal=[0, 0, 0.5])
    assert terminated and infos[-1]["success"]
    for name in ("planner:cem", "planner:mppi"):
        with pytest.raises(ValueError, match="use planner:shooting"):
            make_policy(name).begin(env, *env.reset(seed=0))


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 3), (2, 5)])
def test_stop_has_the_ends_of_its_space(name, low, high):
    env = wrappers.RescaleAction(near(stop=True), np.float32(low), np.float32(high))
    for goal, end in ((0.9, low), (0.1, high)):
        policy = make_policy(name, **BUDGET)
        observation, info = env.reset(seed=0, options={"goal": [0, 0, goal]})
        policy.begin(env, observation, info)
        action = policy.act(observation, info)
        assert action in env.action_space and action[6] == end
        assert env.step(action)[2] == (end == high)


def test_twists_and_rescaled_actions():
    for wrap in (TwistActions, lambda env: wrappers.RescaleAction(env, np.float32(-3), np.float32(3))):
        env = wrap(near())
        assert all(action in env.action_space for action in first_actions("planner:mppi", env))
        # What is imagined through the wrapper is what happens.
        env.reset(seed=1)
        action = env.action_space.sample()
        value = Imagination(env, "test").returns(action[None, None])
        assert value[0] == pytest.approx(env.step(action)[1], abs=1e-6)


def test_where_they_cannot_plan():
    refusals = [
        (make(), "has no task"),
        (SanaWMEnv(MODEL, PICTURE, task=NEAR, action_mode="per_frame", **LIMITS), "action_mode='delta'"),
        (wrappers.StickyAction(near(), 0.5), "cannot imagine through StickyAction"),
        (wrappers.ClipAction(near()), "bounded size"),
    ]
    for env, message in refusals:
        with pytest.raises(ValueError, match=message):
            make_policy("planner:cem").begin(env, *env.reset(seed=0))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("shooting", {"horizon": 0}),
        ("shooting", {"hold": 0}),
        ("cem", {"iterations": 0}),
        ("cem", {"elite": 1.0}),
        ("cem", {"least_spread": 0}),
        ("cem", {"memory": 1}),
        ("mppi", {"temperature": 0}),
        ("mppi", {"memory": 1}),
        ("mppi", {"horizon": 0}),
    ],
)
def test_bad_settings(name, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_policy(f"planner:{name}", **bad)
    env = near()
    with pytest.raises(ValueError, match="discount must lie"):
        make_policy(f"planner:{name}", discount=0).begin(env, *env.reset(seed=0))
