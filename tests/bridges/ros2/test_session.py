"""Robots of one model: time that only increases, moments by name, forks."""

import numpy as np
import pytest
from sanawm_env.bridges.ros2.session import SNAPSHOTS, Session, check_namespace, namespaces_of

from sanawm_env import WorldModel
from sanawm_env.envs.vector_env import SanaWMVectorEnv

AHEAD = np.array([0.4, 0, 0, 0, 0, 0.2])


@pytest.fixture(scope="module")
def model():
    return WorldModel.untrained()


@pytest.fixture
def session(model):
    envs = SanaWMVectorEnv(2, model, autoreset_mode="Disabled", chunk_frames=1, episode_seconds=None)
    session = Session(envs, ["world_0", "world_1"], seed=3)
    session.begin()
    return session


def pixels(frames):
    return np.stack([frame.rgb for frame in frames])


def both(session, twist=AHEAD):
    return session.step(dict.fromkeys(session.namespaces, twist))


def test_frames_follow_each_other_and_twists_are_those_asked_for(session):
    first, second = both(session), both(session)
    frames = first["world_0"] + second["world_0"]
    assert [frame.index for frame in frames] == list(range(1, len(frames) + 1))
    assert {frame.stamp - 10**9 - round(frame.index * 1e9 / session.fps) for frame in frames} == {0}
    assert session.now == frames[-1].stamp
    for frame in frames:
        np.testing.assert_allclose(frame.twist, AHEAD, atol=1e-6)
    assert not np.array_equal(pixels(first["world_0"]), pixels(first["world_1"]))  # seeds 3 and 4


def test_time_goes_on_through_resets_and_the_same_seed_is_the_same_world(session):
    began = both(session)
    now = session.now
    frame = session.reset("world_0")
    assert frame.stamp > now and np.allclose(frame.c2w, np.eye(4)) and not frame.twist.any()
    again = both(session)
    np.testing.assert_array_equal(pixels(again["world_0"]), pixels(began["world_0"]))
    assert not np.array_equal(pixels(again["world_1"]), pixels(began["world_1"]))  # which just went on
    session.seeds["world_0"] = 99
    assert not np.array_equal(session.reset("world_0").rgb, frame.rgb)


def test_a_moment_can_be_had_again_also_by_another_robot(session):
    both(session)
    session.snapshot("world_0", "here")
    expected, now = both(session), session.now
    frame = session.restore("world_1", "here")
    assert frame.stamp > now
    found = both(session)
    np.testing.assert_array_equal(pixels(found["world_1"]), pixels(expected["world_0"]))
    assert found["world_1"][0].twist == pytest.approx(AHEAD, abs=1e-6)  # no leap from where it was before


def test_a_fork_goes_on_like_its_origin(session):
    both(session)
    frame = session.fork("world_1", "/twin/")
    assert session.namespaces == ("world_0", "world_1", "twin") and frame.stamp == session.now
    found = both(session)
    np.testing.assert_array_equal(pixels(found["twin"]), pixels(found["world_1"]))
    session.reset("twin")
    assert len(both(session)) == 3


def test_refusals_change_nothing(session):
    both(session)
    now = session.now
    for bad in (
        lambda: session.restore("world_0", "nowhere"),
        lambda: session.snapshot("world_0", ""),
        lambda: session.fork("world_0", "world_1"),
        lambda: session.fork("world_0", "9lives"),
        lambda: session.reset("elsewhere"),
    ):
        with pytest.raises(ValueError):
            bad()
    assert session.now == now and session.namespaces == ("world_0", "world_1")
    for i in range(SNAPSHOTS):
        session.snapshot("world_0", str(i))
    with pytest.raises(ValueError, match="one of their names"):
        session.snapshot("world_0", "one more")
    session.snapshot("world_1", "0")


def test_speeds_beyond_the_worlds_own_are_slowed(session):
    found = both(session, np.array([1e3, 0, 0, 0, 0, 0]))
    assert found["world_0"][0].twist[0] == pytest.approx(session.top_speeds[0], rel=1e-4)


def test_namespaces():
    assert namespaces_of(1) == [""] and namespaces_of(1, "/a/b/") == ["a/b"]
    assert namespaces_of(2) == ["world_0", "world_1"] and namespaces_of(2, "lab") == ["lab/world_0", "lab/world_1"]
    assert check_namespace("/robot1/") == "robot1"
    for bad in ("", "1a", "a__b", "a-b", "a//b", "ä", "a_"):
        with pytest.raises(ValueError, match="no namespace"):
            check_namespace(bad)
    with pytest.raises(ValueError, match="at least one"):
        namespaces_of(0)


def test_two_wheels_do_not_slip_and_other_robots_may(model):
    asked = np.array([0.2, 0.3, -0.1, 0, 0, 0.2])
    for holonomic, expected in ((False, asked * [1, 0, 0, 0, 0, 1]), (True, asked)):
        envs = SanaWMVectorEnv(1, model, autoreset_mode="Disabled", chunk_frames=1, episode_seconds=None)
        session = Session(envs, [""], holonomic=holonomic)
        session.begin()
        np.testing.assert_allclose(session.step({"": asked})[""][-1].twist, expected, atol=1e-5)


def test_wheels_gain_speed_as_fast_as_they_can(model):
    envs = SanaWMVectorEnv(1, model, autoreset_mode="Disabled", chunk_frames=1, episode_seconds=None)
    session = Session(envs, [""], accelerations=(0.4, 1.0))
    session.begin()
    speeds = [session.step({"": np.array([0.25, 0, 0, 0, 0, 0])})[""][-1].twist[0] for _ in range(4)]
    assert speeds == pytest.approx([0.1, 0.2, 0.25, 0.25], abs=1e-5)  # steps of a quarter of a second
    session.reset("")
    assert session.step({"": np.array([0.25, 0, 0, 0, 0, 0])})[""][-1].twist[0] == pytest.approx(0.1, abs=1e-5)
