"""The wall follower goes round rooms without touching them."""

import math

import numpy as np
import pytest
from sanawm_env.policies import make_policy
from sanawm_env.policies.scripted.wall_follow import follow_wall

from sanawm_env import SanaWMEnv
from sanawm_env.envs.sensors.depth import Depth
from sanawm_env.envs.wrappers import DifferentialDrive
from sanawm_env.tasks import PointNav
from tests.policies.policy_worlds import MODEL, PICTURE

ROOM = np.array([4.0, 3.0])
"""Half its sides, m."""


def look(place, yaw, angles, box):
    """Ranges in a room with a box in it, by rays against rectangles."""
    ways = np.stack([np.cos(yaw + angles), np.sin(yaw + angles)], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ranges = ((np.sign(ways) * ROOM - place) / ways).min(1)
        one, two = (box[0] - place) / ways, (box[1] - place) / ways
    enter, leave = np.minimum(one, two).max(1), np.maximum(one, two).min(1)
    return np.where((enter <= leave) & (enter > 0), np.minimum(ranges, enter), ranges)


def gap(place, box):
    outside = np.maximum(box[0] - place, place - box[1])
    to_box = float(np.linalg.norm(outside.clip(0))) if (outside > 0).any() else float(outside.max())
    return min(float((ROOM - np.abs(place)).min()), to_box)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("fov", [60, 90])
@pytest.mark.parametrize("seconds", [0.25, 0.75])
@pytest.mark.parametrize("box", [[(9, 9), (9.5, 9.5)], [(-0.6, 1.4), (0.6, 2.6)]])
def test_round_a_room(left, fov, seconds, box):
    angles, box = np.radians(np.linspace(-fov / 2, fov / 2, 91)), np.array(box, float)
    place, yaw, turned, gaps = np.zeros(2), 0.0, 0.0, []
    for _ in range(int(200 / seconds)):
        v, w = follow_wall(look(place, yaw, angles, box), angles, left=left)
        assert 0 <= v <= 0.4 and abs(w) <= 0.3
        for _ in range(10):
            yaw += w * seconds / 10
            place = place + v * seconds / 10 * np.array([math.cos(yaw), math.sin(yaw)])
        turned += w * seconds
        gaps.append(gap(place, box))
    assert min(gaps) > 0.18, "a body of the default radius touches nothing"
    assert np.median(gaps[len(gaps) // 4 :]) == pytest.approx(0.8, abs=0.1)
    rounds = turned / (2 * math.pi)
    assert rounds < -2 if left else rounds > 2


def test_what_it_cannot_see_stops_it():
    angles = np.linspace(-0.6, 0.6, 31)
    v, w = follow_wall(np.full(31, np.nan), angles)
    assert v == 0 and w == -0.3
    v, w = follow_wall(np.full(31, -np.inf), angles, left=False)
    assert v == 0 and w == 0.3
    v, w = follow_wall(np.full(31, np.inf), angles)
    assert v == 0.4 and w == 0.3, "no wall at all: it looks for one on its side"


@pytest.mark.parametrize("stop", [False, True])
def test_in_a_world(stop):
    sensors = ["scan", Depth(source=lambda image, _: np.full(image.shape[:2], 1.0))]
    world = SanaWMEnv(MODEL, PICTURE, sensors=sensors, task=PointNav(stop_action=stop))
    env, policy = DifferentialDrive(world), make_policy("scripted:wall_follow", left=False)
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    action = policy.act(observation, info)
    assert action in env.action_space
    # A wall 1 m ahead, a little more than the 0.8 m that it keeps: slowly, and away from its side.
    assert 0 < action[0] < 0.2 and action[1] > 0
    _, _, terminated, _, info = env.step(action)
    assert not terminated and info["base_velocity"] == pytest.approx(action[:2], abs=1e-5)


def test_what_it_needs():
    policy = make_policy("scripted:wall_follow")
    for env, message in (
        (SanaWMEnv(MODEL, PICTURE), "wrap it in .*DifferentialDrive"),
        (DifferentialDrive(SanaWMEnv(MODEL, PICTURE)), r"sensors=\('scan',\)"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.begin(env, *env.reset(seed=0))
    with pytest.raises(ValueError, match="must be positive"):
        make_policy("scripted:wall_follow", distance=0)
