"""Random policies: reproducible, inside the space, and as random as they say."""

import numpy as np
import pytest
from gymnasium import wrappers
from sanawm_env.policies import make_policy

from sanawm_env.envs.wrappers import DiscreteNavigation
from sanawm_env.tasks import PointNav
from tests.policies.policy_worlds import make


def actions(policy, env, n=50):
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    return [policy.act(observation, info) for _ in range(n)]


ENVS = {
    "delta": lambda: make(),
    "stop": lambda: make(task=PointNav(stop_action=True)),
    "discrete": lambda: DiscreteNavigation(make(task=PointNav(stop_action=True))),
}


@pytest.mark.parametrize(
    ("name", "space"),
    [*(("random:uniform", space) for space in ENVS), ("random:smooth", "delta"), ("random:smooth", "stop")],
)
def test_reproducible_and_inside(name, space):
    env = ENVS[space]()
    first, again = (actions(make_policy(name, seed=3), env) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, actions(make_policy(name, seed=4), env))
    assert all(action in env.action_space for action in first)
    policy = make_policy(name, seed=3)
    assert not np.array_equal(actions(policy, env), actions(policy, env))  # another episode, other actions


def test_uniform_leaves_the_environments_space_alone():
    env = make()
    env.action_space.seed(0)
    alone = env.action_space.sample()
    env.action_space.seed(0)
    actions(make_policy("random:uniform"), env)
    assert np.array_equal(alone, env.action_space.sample())


def test_stop():
    env = ENVS["stop"]()
    assert any(action[6] > 0 for action in actions(make_policy("random:uniform"), env))
    assert all(action[6] < 0 for action in actions(make_policy("random:uniform", stop=False), env))
    assert all(action[6] < 0 for action in actions(make_policy("random:smooth"), env))
    rescaled = wrappers.RescaleAction(ENVS["stop"](), np.float32(0), np.float32(1))
    assert all(action[6] == 0 for action in actions(make_policy("random:uniform", stop=False), rescaled))
    drawn = actions(make_policy("random:uniform", stop=False), ENVS["discrete"](), 100)
    assert set(map(int, drawn)) == {1, 2, 3}


def test_uniform_takes_any_space():
    env = make(action_mode="keys", max_translation=None, max_rotation=None)
    assert all(action in env.action_space for action in actions(make_policy("random:uniform"), env))


def test_smooth_has_its_memory_and_spread():
    env = make()
    seconds = env.unwrapped.step_seconds
    values = np.array(actions(make_policy("random:smooth", memory=1.0, spread=0.2), env, 4000))
    assert values.std() == pytest.approx(0.2, rel=0.1)
    kept = np.mean([np.corrcoef(values[:-1, i], values[1:, i])[0, 1] for i in range(6)])
    assert kept == pytest.approx(np.exp(-seconds), abs=0.03)


def test_bad_settings():
    for bad in ({"memory": 0}, {"spread": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            make_policy("random:smooth", **bad)
