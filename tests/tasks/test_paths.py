"""Drawn ways: length, level, limits, and that an environment can go them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.camera.pose import poses_to_actions
from sanawm_env.tasks import TaskContext
from sanawm_env.tasks.metrics import path_length
from sanawm_env.tasks.paths import thin, travel, wander


def context(world, reach=0.6, turn=0.25):
    return TaskContext(world, (1.0, 0.0), 12, reach, turn, (64, 112))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), turn=st.floats(0, 180))
def test_a_wander_is_level_smooth_and_of_the_asked_length(world, seed, turn):
    way = wander(np.eye(4), context(world), np.random.default_rng(seed), (1.0, 3.0), turn)
    assert len(way) % 12 == 0
    assert 1.0 - 1e-6 <= path_length(np.zeros(3), way) <= 3.0 + 1e-6
    assert np.abs(way[:, 1, 3]).max() < 1e-9 and np.allclose(way[:, 1, 1], 1)
    heading = np.degrees(np.arctan2(way[-1, 0, 2], way[-1, 2, 2]))
    assert abs(heading) <= turn + 1e-6
    actions = poses_to_actions(np.concatenate([np.eye(4)[None], way]), 0.6, 0.25, 12)
    assert np.abs(actions).max() <= 1  # within what the environment's actions can do


def test_travel_ends_at_the_goal_within_the_limits(world):
    goal = wander(np.eye(4), context(world), np.random.default_rng(1), (2.0, 3.0), 90.0)[-1]
    way = travel(np.eye(4), goal, context(world))
    assert np.allclose(way[-1], goal) and len(way) % 12 == 0
    assert np.abs(poses_to_actions(np.concatenate([np.eye(4)[None], way]), 0.6, 0.25, 12)).max() <= 1 + 1e-9


@pytest.mark.parametrize("spacing", [0.2, 0.5, 10.0])
def test_thinned_ways_keep_their_spacing_and_end(world, spacing):
    way = wander(np.eye(4), context(world), np.random.default_rng(2), (3.0, 3.0), 40.0)
    points = np.concatenate([np.zeros((1, 3)), thin(np.eye(4), way, spacing)[:, :3, 3]])
    assert np.array_equal(points[-1], way[-1, :3, 3])
    legs = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert len(legs) == 1 or (legs.min() >= 0.4 * spacing and legs.max() <= 1.6 * spacing)
