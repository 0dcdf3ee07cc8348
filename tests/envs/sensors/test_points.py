"""Points of depth pictures, against scenes whose geometry is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.envs.sensors.points import depth_points, seen_points

K = np.array([40.0, 44.0, 20.5, 12.0])


def moved(*action):
    return geodesic(np.eye(4), action_to_delta(np.array(action, float), 1.0, 1.0), 1)[0]


@given(st.tuples(*[st.floats(-1, 1)] * 6), st.integers(0, 23), st.integers(0, 40), st.floats(0.2, 30))
def test_a_point_projects_onto_its_pixel(action, row, column, z):
    c2w, depth = moved(*action), np.full((24, 41), np.inf)
    depth[row, column] = z
    (point,) = depth_points(depth, K, c2w)
    x, y, back = np.linalg.inv(c2w)[:3, :3] @ (point - c2w[:3, 3])
    assert back == pytest.approx(z)
    assert (x / back * K[0] + K[2], y / back * K[1] + K[3]) == pytest.approx((column + 0.5, row + 0.5))


def test_only_known_depth_counts():
    depth = np.array([[1.0, np.inf, np.nan], [0.0, -1.0, 2.0]])
    assert sorted(depth_points(depth, K, np.eye(4))[:, 2]) == [1.0, 2.0]


@pytest.mark.parametrize("stride", [1, 2])
def test_pixels_that_hang_between_two_surfaces_are_dropped_and_edges_stay(stride):
    edge = np.array([[1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]]).repeat(6, 0)
    whole = edge.repeat(stride, 0).repeat(stride, 1)
    z = depth_points(whole, K, np.eye(4), stride=stride)[:, 2]
    assert set(z) == {1.0, 3.0} and len(z) == 6 * 6
    assert len(depth_points(edge, K, np.eye(4), jump=np.inf)) == edge.size
    upright = depth_points(whole.T, K, np.eye(4), stride=stride)[:, 2]
    assert set(upright) == {1.0, 3.0}


def test_a_stride_takes_some_of_the_same_points():
    depth = np.random.default_rng(0).uniform(1, 2, (24, 41))
    some, all_ = (depth_points(depth, K, moved(0, 1, 0, 0.3, 0, 0), stride=s, jump=np.inf) for s in (2, 1))
    np.testing.assert_array_equal(some.reshape(12, 21, 3), all_.reshape(24, 41, 3)[::2, ::2])


def test_a_thing_before_the_sky_keeps_its_edges_and_loses_its_blur():
    row = np.array([[np.inf, np.inf, 5.0, 1.0, 1.0, 1.0, 5.0, np.inf]]).repeat(3, 0)
    assert set(depth_points(row, K, np.eye(4))[:, 2]) == {1.0}


@pytest.mark.parametrize("degrees", [20, 45, 80])
def test_slanted_walls_stay_whole(degrees):
    slope = np.tan(np.radians(degrees))
    x = (np.arange(41) + 0.5 - K[2]) / K[0]
    depth = (slope / (x + slope))[None].repeat(24, 0)  # the plane z = 1 - x / slope
    depth[depth <= 0] = np.inf
    points = depth_points(depth, K, np.eye(4))
    near = (depth < 1.2).sum()
    assert (points[:, 2] < 1.2).sum() == near
    np.testing.assert_allclose(points[:, 0] / slope + points[:, 2], 1, atol=1e-9)


def test_what_frame_0_showed_stays_known():
    depth, disparity = np.full((24, 41), 2.0), np.full((12, 41), 0.5)
    disparity[0] = 0  # sky
    c2w = moved(0, 0, 0, 0, 1.0, 0)
    now, both = seen_points(depth, K, c2w), seen_points(depth, K, c2w, disparity)
    np.testing.assert_array_equal(both[: len(now)], now)
    first = both[len(now) :]
    assert len(first) == 11 * 41
    np.testing.assert_allclose(first[:, 2], 2.0)
    assert first[:, 1].max() == pytest.approx((23 - K[3]) / K[1] * 2)  # the middle of two rows of the picture
    assert len(seen_points(depth, K, c2w, np.empty((0, 0)))) == len(now)


def test_some_of_the_points_have_the_same_bits():
    depth = np.random.default_rng(0).uniform(1, 1.05, (24, 41))
    c2w, half = moved(0.1, 0.2, 0.3, 0.1, 0.5, 0), depth.copy()
    half[12:] = np.inf
    whole = depth_points(depth, K, c2w, jump=np.inf)
    np.testing.assert_array_equal(depth_points(half, K, c2w, jump=np.inf), whole[: 12 * 41])
