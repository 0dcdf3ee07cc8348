"""Gymnasium's own checkers on every id, and lock-step comparisons through them."""

import os
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode
from sanawm_env.bridges.infos import info_of_slot

from sanawm_env import EnvSnapshot, SanaWMVectorEnv

pytestmark = pytest.mark.judge
full_only = pytest.mark.skipif(os.environ.get("SANAWM_JUDGES") != "full", reason="runs in .ci/judges")
# A pose has no bounds, and Gymnasium's own tests allow for these two as well.
UNBOUNDED = (
    "A Box observation space minimum value is -infinity",
    "A Box observation space maximum value is infinity",
)


@pytest.fixture(autouse=True)
def strict():
    """A warning is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in UNBOUNDED:
            warnings.filterwarnings("ignore", f".*{message}")
        yield


def same(a, b):
    return data_equivalence(a, b, exact=True)


def test_check_env(env_id, world):
    env = gym.make(env_id, disable_env_checker=True, **world)
    assert not env.spec.nondeterministic
    check_env(env.unwrapped)


@pytest.mark.parametrize("name", ["SanaWM-v0", "SanaWM/PointNav-v0"])
def test_check_env_with_sensors_and_contact(name, sensing):
    check_env(gym.make(name, disable_env_checker=True, **sensing).unwrapped)


def test_passive_checker_over_an_episode(env_id, world):
    env = gym.make(env_id, max_episode_steps=5, **world)
    assert "PassiveEnvChecker" in str(env)
    env.action_space.seed(0)
    for _ in range(2):
        env.reset(seed=3)
        done = False
        while not done:
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
    env.close()


@full_only
def test_two_made_alike_stay_alike(env_id, small):
    """To the bit over 50 steps, resets included, as Gymnasium asks of its own environments."""
    one, two = (gym.make(env_id, max_episode_steps=20, **small) for _ in range(2))
    one.action_space.seed(0)
    assert same(one.reset(seed=0), two.reset(seed=0))
    for _ in range(50):
        action = one.action_space.sample()
        out = one.step(action)
        assert same(out, two.step(action)) and out[0] in one.observation_space
        if out[2] or out[3]:
            assert same(one.reset(), two.reset())


@full_only
def test_every_render_mode(env_id, world):
    for mode in gym.make(env_id, **world).metadata["render_modes"]:
        if mode == "human":
            continue
        env = gym.make(env_id, render_mode=mode, **world)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        frames = env.render() if mode == "rgb_array_list" else [env.render()]
        assert frames and all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
        env.close()


@full_only
def test_pickle(env_id, world):
    env = gym.make(env_id, **world)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    twin = pickle.loads(pickle.dumps(env))
    action = env.action_space.sample()
    assert same(env.step(action), twin.step(action)) and same(env.reset(), twin.reset())


# -- lock step ------------------------------------------------------------------------------------------------


class Detour(gym.Wrapper):
    """Before each step: take a snapshot, save it, wander off, and come back through the file."""

    def __init__(self, env, path):
        super().__init__(env)
        self.path = path

    def step(self, action):
        here = self.unwrapped.snapshot()
        here.save(self.path)
        for _ in range(2):
            self.unwrapped.step(self.unwrapped.action_space.sample())
        self.unwrapped.restore(EnvSnapshot.load(self.path))
        return self.env.step(action)


class Fork(gym.Wrapper):
    """Each step happens in a fork; the environment that was forked wanders off."""

    def step(self, action):
        (fork,) = self.unwrapped.fork(1)
        self.unwrapped.step(self.unwrapped.action_space.sample())
        self.env = fork
        return self.env.step(action)


class Slot(gym.Env):
    """One slot of a vector environment as an environment, among neighbours that do what they like."""

    def __init__(self, envs, slot):
        self.envs, self.slot = envs, slot
        self.observation_space, self.action_space = envs.single_observation_space, envs.single_action_space
        self.metadata, self.render_mode, self.spec = envs.metadata, envs.render_mode, envs.spec
        envs.reset(seed=99)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        seeds = [seed if slot == self.slot else None for slot in range(self.envs.num_envs)]
        mask = np.arange(self.envs.num_envs) == self.slot
        return self.own(*self.envs.reset(seed=seeds, options={"reset_mask": mask} | (options or {})))

    def step(self, action):
        actions = self.envs.action_space.sample()
        actions[self.slot] = action
        observations, rewards, terminated, truncated, infos = self.envs.step(actions)
        observation, info = self.own(observations, infos)
        flags = bool(terminated[self.slot]), bool(truncated[self.slot])
        return observation, float(rewards[self.slot]), *flags, info

    def own(self, observations, infos):
        if isinstance(observations, dict):
            observation = {key: value[self.slot] for key, value in observations.items()}
        else:
            observation = observations[self.slot]
        return observation, info_of_slot(infos, self.slot)

    def render(self):
        return self.envs.render()[self.slot]


@pytest.mark.parametrize(
    "other", [pytest.param("detour", marks=full_only), pytest.param("fork", marks=full_only), "slot"]
)
def test_check_environments_match(env_id, small, other, tmp_path):
    arguments = small | {"render_mode": "rgb_array"}
    one = gym.make(env_id, **arguments).unwrapped
    if other == "slot":
        two = Slot(gym.make_vec(env_id, 3, "vector_entry_point", **arguments), 1)
        assert isinstance(two.envs, SanaWMVectorEnv)
    else:
        two = gym.make(env_id, **arguments).unwrapped
        two = Detour(two, tmp_path / "here.safetensors") if other == "detour" else Fork(two)
    # A file holds the state and not the frames that led to it, so nothing is said of them until the next step.
    check_environments_match(one, two, num_steps=6, seed=4, info_comparison="equivalence")


@full_only
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.name)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_slots_are_gymnasiums_vector_environments(env_id, small, mode, how):
    """Through ends at different times. In the small world: each copy loads a model of its own."""
    arguments = {"max_episode_steps": 3, **small}
    ours = gym.make_vec(env_id, 2, "vector_entry_point", autoreset_mode=mode, **arguments)
    theirs = gym.make_vec(env_id, 2, how, vector_kwargs={"autoreset_mode": mode}, **arguments)
    try:
        assert ours.single_observation_space == theirs.single_observation_space
        assert same(ours.reset(seed=1), theirs.reset(seed=1))
        ours.action_space.seed(0)
        for k in range(8):
            if k == 1:
                again = {"seed": [8, None], "options": {"reset_mask": np.array([True, False])}}
                assert same(ours.reset(**again), theirs.reset(**again))
            actions = ours.action_space.sample()
            assert same(ours.step(actions), theirs.step(actions))
    finally:
        theirs.close()
