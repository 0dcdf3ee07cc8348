"""`SanaWMVecEnv` against Stable-Baselines3's own vector environment over single environments."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from sanawm_env.bridges.infos import info_of_slot
from sanawm_env.bridges.sb3 import HEAVY_INFO, SanaWMVecEnv
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecFrameStack,
    VecMonitor,
    VecTransposeImage,
)

from sanawm_env import SanaWMVectorEnv, WorldModel
from sanawm_env.envs.wrappers import VectorDiscreteNavigation
from sanawm_env.tasks import PointNav
from sanawm_env.world.config import small_config

CONFIG = small_config(height=48, width=64, sigmas=(1.0, 0.0), chunk_frames=1)
MODEL = WorldModel.untrained(CONFIG)
N, F, H, W = 3, 4, CONFIG.height, CONFIG.width
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def make(n=N, leave_out=HEAVY_INFO, steps=3, name="SanaWM-v0", **arguments):
    return SanaWMVecEnv(name, n, leave_out=leave_out, checkpoint=MODEL, max_episode_steps=steps, **arguments)


def dummy(n=N, steps=3, name="SanaWM-v0", **arguments):
    def one():
        return gym.make(name, checkpoint=MODEL, max_episode_steps=steps, **arguments)

    return DummyVecEnv([one] * n)


def same(a, b):
    return data_equivalence(plain(a), plain(b), exact=True)


def plain(data):
    """Without `OrderedDict`, which Stable-Baselines3 gives where we give `dict`."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    return type(data)(plain(value) for value in data) if type(data) in (list, tuple) else data


def light(infos, leave_out=HEAVY_INFO):
    return [{key: value for key, value in info.items() if key not in leave_out} for info in infos]


def actions_of(rng, n=N):
    return rng.uniform(-1, 1, (n, 6)).astype(np.float32)


# -- the same transitions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"obs_mode": "dict"}], ids=str)
def test_transitions_are_those_of_dummy_vec_env(arguments):
    ours, theirs = make(**arguments), dummy(**arguments)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    rng, ends = np.random.default_rng(0), 0
    for envs in (ours, theirs):
        assert envs.seed(5) == [5, 6, 7]
    assert same(ours.reset(), theirs.reset())
    for k in range(8):
        if k == 4:  # in the middle of an episode, with a picture for one slot only, and without seeds
            for envs in (ours, theirs):
                envs.set_options([{}, {"image": PICTURE}, {}])
            assert same(ours.reset(), theirs.reset())
        assert same(light(ours.reset_infos), light(theirs.reset_infos))
        actions = actions_of(rng)
        (*mine, my_infos), (*other, other_infos) = ours.step(actions), theirs.step(actions)
        assert same(tuple(mine), tuple(other)) and same(my_infos, light(other_infos))
        assert mine[1].dtype == np.float32 and mine[2].dtype == bool
        ends += mine[2].sum()
    assert ends == 6


def test_a_task_ends_and_rewards_alike():
    """Reached goals are ends and no time-outs; rewards and their terms come through."""
    task = PointNav(distance=(0.2, 0.5), success_distance=0.15)
    arguments = {"name": "SanaWM/PointNav-v0", "task": task, "steps": 4, "max_translation": 0.3}
    ours, theirs = make(**arguments), dummy(**arguments)
    for envs in (ours, theirs):
        envs.seed(2)
    now, _ = ours.reset(), theirs.reset()
    seen = set()
    for _ in range(10):
        actions = np.zeros((N, 6), np.float32)
        actions[:2, :3] = np.clip(now["goal"][:2] / 0.3, -1, 1)  # the third slot waits for its time to run out
        (*mine, my_infos), (*other, other_infos) = ours.step(actions), theirs.step(actions)
        assert same(tuple(mine), tuple(other)) and same(my_infos, light(other_infos))
        assert same(light(ours.reset_infos), light(theirs.reset_infos))
        now = mine[0]
        seen |= {
            (bool(end), info["success"], info["TimeLimit.truncated"])
            for end, info in zip(mine[2], my_infos, strict=True)
        }
        assert all(set(info["reward_terms"]) == {"progress", "success", "slack"} for info in my_infos)
    assert seen == {(False, False, False), (True, True, False), (True, False, True)}


def test_goals_are_relabelled_through_the_bridge():
    envs = make(2, name="SanaWM/PointNav-v0", task=PointNav(goal_env=True), obs_mode="pose")
    assert envs.has_attr("compute_reward") and set(envs.observation_space) == set(envs.reset())
    goals = np.zeros((5, 3), np.float32)
    (rewards,) = envs.env_method("compute_reward", goals, goals + np.float32(0.5), [{}] * 5, indices=[0])
    assert rewards.tolist() == [-1] * 5
    assert [r.tolist() for r in envs.env_method("compute_reward", goals, goals, [{}] * 5)] == [[0] * 5] * 2


def test_slots_end_at_different_times():
    ours, theirs = make(), dummy()
    for envs in (ours, theirs):
        envs.seed(0)
        envs.reset()
        envs.step(np.zeros((N, 6), np.float32))
        envs.env_method("reset", seed=9, indices=1)
    rng = np.random.default_rng(1)
    for k in range(5):
        actions = actions_of(rng)
        (*mine, my_infos), (*other, other_infos) = ours.step(actions), theirs.step(actions)
        assert same(tuple(mine), tuple(other)) and same(my_infos, light(other_infos))
        assert mine[2].tolist() == [[False] * 3, [True, False, True], [False, True, False]][k % 3]
        for slot in range(N):
            assert ("terminal_observation" in my_infos[slot]) == mine[2][slot]
            assert my_infos[slot]["TimeLimit.truncated"] is bool(mine[2][slot])
            assert my_infos[slot]["frame_index"] in (4, 8, 12)  # not the 0 of the reset
            assert not any(key.startswith(("_", "final_")) for key in my_infos[slot])


def test_heavy_info_is_kept_on_request():
    for leave_out, keys in (((), set(HEAVY_INFO)), (("frame_c2w", "c2w"), {"frames"})):
        envs = make(leave_out=leave_out)
        envs.reset()
        infos = envs.step(np.zeros((N, 6)))[3]
        assert all(set(info) & {*HEAVY_INFO, *leave_out} == keys for info in infos)
        assert infos[0]["frames"].shape == (F, H, W, 3)
    with pytest.raises(ValueError, match=r"write \('frames',\)"):
        make(leave_out="frames")


def test_seeds_and_options_count_once():
    envs = make(2)
    envs.seed(3)
    first = envs.reset()
    assert not same(envs.reset(), first)
    envs.seed(3)
    envs.set_options({"image": PICTURE})
    pictured = envs.reset()
    assert np.array_equal(pictured[0], pictured[1])
    envs.seed(3)
    assert same(envs.reset(), first)


# -- under Stable-Baselines3's wrappers -----------------------------------------------------------------------


def test_their_wrappers_work_alike():
    def wrap(envs):
        return VecTransposeImage(VecFrameStack(VecMonitor(VecCheckNan(envs, raise_exception=True)), 2))

    ours, theirs = wrap(make()), wrap(dummy())
    rng = np.random.default_rng(0)
    for envs in (ours, theirs):
        envs.seed(0)
    assert same(ours.reset(), theirs.reset()) and ours.observation_space.shape == (6, H, W)
    for _ in range(4):
        actions = actions_of(rng)
        (*mine, my_infos), (*other, other_infos) = ours.step(actions), theirs.step(actions)
        assert same(tuple(mine), tuple(other))
        for info in my_infos + other_infos:
            if "episode" in info:
                assert info["episode"].pop("t") >= 0
        assert same(my_infos, light(other_infos))
    assert ours.env_is_wrapped(VecMonitor) == [False] * N  # as DummyVecEnv: it asks for wrappers of the environments


def test_gymnasiums_vector_wrappers_keep_their_infos():
    inner = gym.make_vec("SanaWM-v0", N, checkpoint=MODEL, max_episode_steps=3, autoreset_mode="SameStep")
    envs = SanaWMVecEnv(RecordEpisodeStatistics(inner))
    assert envs.env_is_wrapped(RecordEpisodeStatistics, 1) == [True]
    assert envs.env_is_wrapped(Monitor) == [False] * N
    envs.reset()
    for k in range(1, 7):
        infos = envs.step(np.zeros((N, 6)))[3]
        assert [info.get("episode", {}).get("l") for info in infos] == [None if k % 3 else 3] * N
        assert all("episode" not in info for info in envs.reset_infos)


def test_discrete_actions():
    inner = SanaWMVectorEnv(2, MODEL, autoreset_mode="SameStep", max_translation=0.3, max_rotation=0.2)
    envs = SanaWMVecEnv(VectorDiscreteNavigation(inner))
    assert envs.action_space == gym.spaces.Discrete(4)
    envs.reset()
    infos = envs.step(np.array([1, 2]))[3]
    assert np.allclose(infos[0]["c2w"][:3, 3], [0, 0, 0.25]) and infos[1]["c2w"][0, 2] < 0
    with pytest.raises(ValueError, match="slot 1"):
        envs.step(np.array([1, 7]))


def test_images():
    envs = make(2, render_mode="rgb_array", steps=50)
    observations = envs.reset()
    assert same(list(envs.get_images()), list(observations)) and envs.render().shape == (2 * H, W, 3)
    assert same(envs.env_method("render", indices=[1]), [observations[1]])
    assert envs.metadata["render_fps"] == envs.get_attr("metadata")[0]["render_fps"] == CONFIG.fps / F
    assert make(2).get_images() == [None, None]


def test_learns_and_evaluates():
    envs = VecMonitor(make(2))
    model = PPO("CnnPolicy", envs, n_steps=4, batch_size=4, n_epochs=1, policy_kwargs={"net_arch": [8]}, seed=0)
    model.learn(16)
    assert len(model.ep_info_buffer) == 4 and model.ep_info_buffer[0]["l"] == 3
    _, lengths = evaluate_policy(model, envs, n_eval_episodes=3, return_episode_rewards=True)
    assert lengths == [3, 3, 3]


# -- slots as environments ------------------------------------------------------------------------------------


def test_methods_of_slots():
    envs = make(steps=50)
    envs.seed(0)
    envs.reset()
    envs.step(actions_of(np.random.default_rng(0)))
    here = envs.env_method("snapshot")
    assert [moment.elapsed_steps for moment in here] == [1, 1, 1]
    (wide,) = envs.env_method("fork", 4, indices=2)
    assert wide.num_envs == 4 and wide.snapshot(3).equal(here[2])
    envs.step(np.zeros((N, 6)))
    ((observation, info),) = envs.env_method("restore", here[0], indices=[1])
    assert np.array_equal(observation, here[0].frames[-1]) and info["frame_index"] == F
    now = envs.env_method("snapshot", indices=[0, 1])
    assert now[1].equal(here[0]) and now[0].elapsed_steps == 2
    ((observation, _),) = envs.env_method("reset", seed=4, options={"image": PICTURE}, indices=2)
    other = make(1)
    other.seed(4)
    other.set_options({"image": PICTURE})
    assert np.array_equal(other.reset()[0], observation)
    with pytest.raises(AttributeError, match="compute_reward"):
        envs.env_method("compute_reward", 0, 0, {})


def test_attributes():
    envs = make()
    envs.seed(1)
    envs.reset()
    assert envs.get_attr("frames_per_step") == [F] * N and envs.get_attr("np_random_seed", [2, 0]) == [3, 1]
    assert envs.get_attr("observation_space", 0) == [envs.observation_space]
    assert envs.get_attr("action_space") == [envs.action_space] * N
    assert [state.slots for state in envs.get_attr("state")] == [1, 1, 1]
    assert envs.get_attr("spec")[0].id == "SanaWM-v0" and not envs.has_attr("compute_reward")
    envs.set_attr("max_episode_steps", 1)
    assert envs.step(np.zeros((N, 6)))[2].all()
    envs.set_attr("note", "mine")
    assert envs.get_attr("note", 1) == ["mine"]
    with pytest.raises(ValueError, match="share one environment"):
        envs.set_attr("note", "other", indices=[0])
    for call in (envs.get_attr, envs.env_method):
        with pytest.raises(AttributeError, match="nothing"):
            call("nothing")
    with pytest.raises(ValueError, match=r"0\.\.2"):
        envs.env_method("snapshot", indices=3)
    envs.close()
    envs.close()


def test_info_of_slot():
    infos = {
        "a": np.array([1, 2]), "_a": np.array([True, True]),
        "b": np.array([None, "x"], dtype=object), "_b": np.array([False, True]),
        "terms": {"p": np.array([0.5, 0.0]), "_p": np.array([True, False])}, "_terms": np.array([True, False]),
        "episode": {"r": np.array([1.0, 2.0])}, "_episode": np.array([False, True]),
        "v": np.arange(4.0).reshape(2, 2), "_v": np.array([True, True]),
    }  # fmt: skip
    first, second = info_of_slot(infos, 0), info_of_slot(infos, 1, leave_out=["v"])
    assert same(first, {"a": 1, "terms": {"p": 0.5}, "v": np.array([0.0, 1.0])}) and type(first["a"]) is int
    assert second == {"a": 2, "b": "x", "episode": {"r": 2.0}}
    first["v"][:] = 9
    assert infos["v"][0, 0] == 0


# -- bad input ------------------------------------------------------------------------------------------------


def test_bad_actions_change_nothing():
    envs = make()
    with pytest.raises(ResetNeeded, match="reset"):
        envs.step(np.zeros((N, 6)))
    with pytest.raises(ValueError, match="step_async"):
        envs.step_wait()
    envs.reset()
    before = envs.env_method("snapshot")
    bad = np.zeros((N, 6), np.float32)
    bad[1, 2] = np.nan
    for actions, says in (
        (np.zeros((2, 6)), r"must be 3, one per slot, .*\(6,\).*\(2, 6\)"),
        (np.zeros(6), r"must be 3"),
        (bad, "slot 1: .*NaN.*check the policy"),
        (np.full((N, 6), 2.0), "slot 0: .*clip"),
        (np.zeros((N, 5)), r"slot 0: .*\(6,\)"),
    ):
        with pytest.raises(ValueError, match=says):
            envs.step(actions)
    with pytest.raises(ValueError, match="step_async"):
        envs.step_wait()  # nothing bad is left waiting
    assert all(a.equal(b) for a, b in zip(before, envs.env_method("snapshot"), strict=True))


def test_bad_options():
    envs = make()
    with pytest.raises(ValueError, match="3, one per slot; got 2"):
        envs.set_options([{}, {}])
    envs.set_options([{}, {"picture": 1}, {}])
    with pytest.raises(ValueError, match="slot 1: unknown reset option 'picture'"):
        envs.reset()
    envs.set_options()
    envs.reset()


def test_bad_arguments():
    single = gym.make("SanaWM-v0", checkpoint=MODEL)
    inner = SanaWMVectorEnv(2, MODEL, autoreset_mode="SameStep")
    for error, says, arguments in (
        (ValueError, "autoreset_mode='SameStep'", {"envs": SanaWMVectorEnv(2, MODEL)}),
        (ValueError, "num_envs, chunk_frames", {"envs": inner, "num_envs": 2, "chunk_frames": 1}),
        (ValueError, "SameStep", {"envs": "SanaWM-v0", "checkpoint": MODEL, "autoreset_mode": "NextStep"}),
        (TypeError, "make_vec_env", {"envs": single}),
        (TypeError, "make_vec_env", {"envs": SyncVectorEnv([lambda: gym.make("CartPole-v1")])}),
        (gym.error.Error, "SanaWM", {"envs": "SanaWM/Nothing-v0"}),
    ):
        with pytest.raises(error, match=says):
            SanaWMVecEnv(**arguments)
