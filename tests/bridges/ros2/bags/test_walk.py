"""A world along a path and under a policy are the same robot."""

import numpy as np
import pytest
from sanawm_env.bridges.ros2.bags.walk import frames_along, frames_under, scan_range, sense_with

from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.envs.sensors.depth import Depth
from sanawm_env.envs.sensors.scan import Scan

SENSORS = (Depth(source=lambda image, intrinsics: 1 + image[..., 0] / np.float32(100)), Scan(rays=9, range_max=3.0))


class Forward:
    def begin(self, env, observation, info):
        self.steps = 0

    def act(self, observation, info):
        self.steps += 1
        return np.array([0, 0, 1, 0, 0.5, 0], np.float32)


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained()


def test_the_same_frames_and_the_same_sensors(world):
    env = SanaWMEnv(world, sensors=SENSORS)
    played = list(frames_under(env, Forward(), 3, 2, scan_range(SENSORS)))
    c2w = np.stack([frame.c2w for frame in played])
    env.reset(seed=3)
    walked = list(
        frames_along(
            world,
            env.snapshot().state,
            c2w,
            sense=sense_with(world, SENSORS),
            scan_range=scan_range(SENSORS),
            sigmas=env.sigmas,
        )
    )
    assert len(played) == len(walked) == 1 + 2 * env.frames_per_step
    for a, b in zip(played, walked, strict=True):
        assert (a.index, a.stamp) == (b.index, b.stamp)
        assert np.array_equal(a.rgb, b.rgb) and np.array_equal(a.intrinsics, b.intrinsics)
        assert np.allclose(a.twist, b.twist) and (a.depth is None) == (b.depth is None) == (a.scan is None)
        if a.depth is not None:
            assert a.scan is not None and b.scan is not None and a.scan[3:] == b.scan[3:] == (0.1, 3.0)
            assert np.array_equal(a.depth, b.depth) and np.array_equal(a.scan.ranges, b.scan.ranges, equal_nan=True)
            assert np.allclose(a.scan[1:3], b.scan[1:3])
    assert [frame.index for frame in walked if frame.scan is not None] == [0, env.frames_per_step, len(walked) - 1]
    assert np.abs(walked[-1].twist[0] - env.max_translation / env.step_seconds) < 5e-3  # ahead, m/s


def test_an_episode_that_ends(world):
    env = SanaWMEnv(world, max_episode_steps=1)
    assert len(list(frames_under(env, Forward(), 0, 5))) == 1 + env.frames_per_step


def test_velocities_at_another_rate(world):
    env = SanaWMEnv(world)
    env.reset(seed=0)
    c2w = np.tile(np.eye(4), (5, 1, 1))
    c2w[:, 2, 3] = 0.05 * np.arange(5)
    stamps = 10**9 + 100_000_000 * np.arange(5)
    frames = list(frames_along(world, env.snapshot().state, c2w, stamps=stamps, rate=10.0))
    assert [frame.stamp for frame in frames] == stamps.tolist()
    assert [frame.twist[0] for frame in frames] == pytest.approx([0, 0.5, 0.5, 0.5, 0.5])


def test_no_sensors(world):
    assert sense_with(world, ()) is None and scan_range(()) == (0.1, 10.0)
    with pytest.raises(ValueError, match="unknown sensor 'radar'"):
        sense_with(world, ["radar"])
