"""Gymnasium's own wrappers work on our environments, as docs/how-to/wrappers.md says."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.wrappers import vector

from sanawm_env import WorldModel
from sanawm_env.envs.wrappers import DiscreteNavigation, TwistActions
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
F = 4


def make(name="SanaWM-v0", **arguments):
    return gym.make(name, checkpoint=MODEL, image=PICTURE, **arguments)


def make_vec(name="SanaWM-v0", **arguments):
    return gym.make_vec(name, num_envs=2, checkpoint=MODEL, image=PICTURE, **arguments)


def roll(env, steps=2):
    """Every observation of a short episode, each in the declared space."""
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    seen = [observation]
    for _ in range(steps):
        observation, *_ = env.step(env.action_space.sample())
        seen.append(observation)
    assert all(observation in env.observation_space for observation in seen)
    return seen


def test_resize_grey_stack():
    env = wrappers.ResizeObservation(make(), (16, 24))
    env = wrappers.GrayscaleObservation(env)
    env = wrappers.FrameStackObservation(env, 3)
    seen = roll(env)
    assert seen[-1].shape == (3, 16, 24) and seen[-1].dtype == np.uint8
    assert np.array_equal(seen[1][-1], seen[2][-2]) and np.array_equal(seen[0][0], seen[0][2])


def test_time_limit():
    env = wrappers.TimeLimit(make(max_episode_steps=-1), 2)
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(2)] == [False, True]


def test_filter_and_transform_and_flatten():
    env = make("SanaWM/PointNav-v0")
    assert set(roll(wrappers.FilterObservation(env, ["pose", "goal"]))[0]) == {"pose", "goal"}
    space = env.observation_space["goal"]
    polar = wrappers.TransformObservation(env, lambda o: o["goal"] * np.float32(2), space)
    assert np.array_equal(roll(polar)[0], 2 * roll(env)[0]["goal"])
    flat = wrappers.FlattenObservation(wrappers.FilterObservation(env, ["pose", "goal"]))
    assert roll(flat)[0].shape == (10,)


def test_actions():
    env = make(max_translation=0.5, max_rotation=0.4)
    roll(wrappers.RescaleAction(env, np.float32(-2), np.float32(2)))
    clipped = wrappers.ClipAction(env)
    clipped.reset(seed=0)
    assert np.isclose(clipped.step(np.full(6, 9, np.float32))[-1]["c2w"][2, 3], 0.5)
    # Theirs over ours.
    assert roll(wrappers.FrameStackObservation(DiscreteNavigation(env), 2))[0].shape == (2, 32, 48, 3)
    assert roll(wrappers.NormalizeReward(TwistActions(env)))[0].shape == (32, 48, 3)


def test_statistics():
    env = wrappers.RecordEpisodeStatistics(make("SanaWM/PointNav-v0", max_episode_steps=2))
    env.reset(seed=0)
    rewards = [env.step(env.action_space.sample()) for _ in range(2)]
    assert rewards[-1][-1]["episode"]["r"] == pytest.approx(sum(r[1] for r in rewards), abs=1e-5)


def test_record_video(tmp_path):
    pytest.importorskip("moviepy", reason="Gymnasium's RecordVideo writes with moviepy")
    av = pytest.importorskip("av")
    env = wrappers.RecordVideo(
        make(render_mode="rgb_array", max_episode_steps=3),
        str(tmp_path),
        episode_trigger=lambda _: True,
        disable_logger=True,
    )
    env.reset(seed=0)
    while not env.step(env.action_space.sample())[3]:
        pass
    env.close()
    [video] = tmp_path.glob("*.mp4")
    with av.open(str(video)) as container:
        assert len(list(container.decode(video=0))) == 4
        # One frame per step, at the speed of the world.
        assert float(container.streams.video[0].average_rate) == pytest.approx(16 / F)


def test_vector_wrappers():
    envs = make_vec()
    assert roll(vector.ResizeObservation(envs, (16, 24)))[0].shape == (2, 16, 24, 3)
    assert roll(vector.GrayscaleObservation(envs))[0].shape == (2, 32, 48)
    task = make_vec("SanaWM/PointNav-v0")
    assert set(roll(vector.FilterObservation(task, ["goal"]))[0]) == {"goal"}
    assert roll(vector.FlattenObservation(vector.FilterObservation(task, ["goal", "pose"])))[0].shape == (2, 10)
