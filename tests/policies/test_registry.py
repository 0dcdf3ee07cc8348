"""`make_policy`: every name works, and every wrong one is told what would."""

import sys

import numpy as np
import pytest
from sanawm_env.policies import Policy, make_policy, policy_names
from sanawm_env.policies.registry import POLICIES
from sanawm_env.policies.scripted.look_around import LookAround

from tests.policies.policy_worlds import make


@pytest.mark.parametrize("name", POLICIES)
def test_every_name(name):
    policy = make_policy(name)
    assert isinstance(policy, Policy) and name in policy_names()


class Still:
    """A policy of a user's own."""

    def __init__(self, value=0.0):
        self.value = value

    def begin(self, env, observation, info):
        self.shape = env.action_space.shape

    def act(self, observation, info):
        return np.full(self.shape, self.value, np.float32)


def test_a_policy_of_ones_own(monkeypatch):
    module = type(sys)("my_policies")
    module.Still, module.none, module.number, module.still = Still, lambda: None, 3, lambda value=1.0: Still(value)
    module.cls = lambda: Still
    monkeypatch.setitem(sys.modules, "my_policies", module)
    env = make()
    arguments = env.reset(seed=0)
    for name, settings, value in (("Still", {}, 0), ("Still", {"value": 0.5}, 0.5), ("still", {}, 1)):
        policy = make_policy(f"my_policies:{name}", **settings)
        policy.begin(env, *arguments)
        assert np.array_equal(policy.act(*arguments), np.full(6, value, np.float32))
    for name in ("none", "cls"):
        with pytest.raises(ValueError, match="which is no policy; return an object with begin"):
            make_policy(f"my_policies:{name}")
    with pytest.raises(ValueError, match="name a function or class"):
        make_policy("my_policies:number")
    with pytest.raises(ValueError, match="has no 'missing'"):
        make_policy("my_policies:missing")
    assert isinstance(make_policy("sanawm_env.policies.scripted.look_around:LookAround"), LookAround)


def test_an_import_error_inside_a_module_is_its_own(tmp_path, monkeypatch):
    (tmp_path / "broken_policy.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        make_policy("broken_policy:make")


@pytest.mark.parametrize("name", ["follow", "", ":", "random:", None, 3])
def test_no_name(name):
    with pytest.raises(ValueError, match="scripted:follow"):
        make_policy(name)


def test_unknown_names_list_the_known():
    for name in ("scripted:folow", "planner:icem", "random:walk"):
        with pytest.raises(ValueError, match=rf"unknown policy '{name}'; known are .*planner:cem.*sb3:<path>"):
            make_policy(name)
    with pytest.raises(ValueError, match=r"no module 'nowhere'.*random:smooth"):
        make_policy("nowhere:make")


def test_unknown_settings_list_the_known():
    with pytest.raises(ValueError, match="its settings are: seed, memory, spread"):
        make_policy("random:smooth", sped=1)
    with pytest.raises(ValueError, match="its settings are: algorithm, deterministic"):
        make_policy("sb3:model.zip", env=1)
    with pytest.raises(ValueError, match="its settings are: none"):
        make_policy("bc:clone.safetensors", seed=1)
