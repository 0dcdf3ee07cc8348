"""Relative poses against composition of matrices."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.tasks.metrics import angle_between, motion_between, path_length, seen_from

number = st.floats(-3, 3)
vector = st.tuples(number, number, number)


def pose(place, turn):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), place
    return matrix


@given(vector, vector, vector, vector)
def test_motion_leads_from_one_pose_to_the_other(a, b, c, d):
    start, end = pose(a, b), pose(c, d)
    motion = motion_between(start, end)
    assert np.allclose(start @ pose(motion[:3], motion[3:]), end, atol=1e-9)
    assert np.isclose(np.degrees(np.linalg.norm(motion[3:])), angle_between(start, end), atol=1e-4)


@given(vector, vector, vector)
def test_points_come_back_from_the_camera_s_frame(a, b, point):
    camera = pose(a, b)
    assert np.allclose((camera @ [*seen_from(camera, point), 1])[:3], point, atol=1e-9)


def test_path_length_counts_the_way_not_the_displacement():
    there = [pose((0, 0, 1), (0, 0, 0)), pose((0, 0, 0), (0, 0, 0))]
    assert path_length(np.zeros(3), np.stack(there)) == 2.0


def test_a_slot_has_the_same_bits_alone_and_beside_others():
    rng = np.random.default_rng(0)
    ways = np.stack([[pose(rng.normal(size=3), rng.normal(size=3)) for _ in range(13)] for _ in range(9)])
    starts, lasts, gone = ways[:, 0], ways[:, -1], path_length(ways[:, 0, :3, 3], ways)
    motions = motion_between(starts, lasts)
    for i in range(9):
        alone = slice(i, i + 1)
        assert np.array_equal(motion_between(starts[alone], lasts[alone])[0], motions[i])
        assert np.array_equal(motion_between(starts[i], lasts[i]), motions[i])
        assert path_length(starts[alone, :3, 3], ways[alone])[0] == gone[i]
        assert path_length(starts[i, :3, 3], ways[i]) == gone[i]


def test_a_half_turn_and_no_turn():
    still = motion_between(pose((1, 2, 3), (0, 0.3, 0)), pose((1, 2, 3), (0, 0.3, 0)))
    assert np.abs(still).max() < 1e-12
    assert angle_between(np.eye(4), pose((0, 0, 0), (0, np.pi, 0))) == 180.0
