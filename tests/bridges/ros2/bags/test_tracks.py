"""Tracks between their samples, and chains of transforms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import RigidTransform, Rotation

pytest.importorskip("rosbags")

from sanawm_env.bridges.ros2.bags.tracks import BACKWARDS, Disconnected, Track, between, matrix, steady

from tests.bridges.ros2.bags import robots

NOW = np.array([0], np.int64)


def random_pose(rng):
    found = np.eye(4)
    found[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    found[:3, 3] = rng.normal(size=3)
    return found


def still(pose):
    return Track.of([0], [pose])


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_between_two_samples_lies_the_geodesic_of_the_rotation_and_a_straight_line(seed, share):
    rng = np.random.default_rng(seed)
    a, b = random_pose(rng), random_pose(rng)
    track = Track.of([robots.START, robots.START + 10**9], [a, b])
    (found,) = track.at(np.array([robots.START + round(share * 10**9)]))
    whole = Rotation.from_matrix(a[:3, :3]).inv() * Rotation.from_matrix(b[:3, :3])
    part = Rotation.from_matrix(a[:3, :3]) * Rotation.from_rotvec(share * whole.as_rotvec())
    assert np.abs(found[:3, :3] - part.as_matrix()).max() < 1e-6
    assert np.abs(found[:3, 3] - ((1 - share) * a[:3, 3] + share * b[:3, 3])).max() < 1e-6


def test_before_and_after_its_samples_it_rests():
    a, b = np.eye(4), random_pose(np.random.default_rng(0))
    found = Track.of([10, 20], [a, b]).at(np.array([0, 10, 20, 99]))
    assert np.allclose(found[[0, 1]], a) and np.allclose(found[[2, 3]], b)
    assert np.array_equal(still(b).at(np.array([0, 5])), np.stack([b, b]))


def test_samples_in_disorder_and_twice():
    a, b, c = (random_pose(np.random.default_rng(k)) for k in range(3))
    track = Track.of([30, 10, 30], [a, b, c])
    assert track.stamps.tolist() == [10, 30] and np.array_equal(track.poses, np.stack([b, a]))


@given(st.integers(0, 2**32))
def test_chains_over_a_common_ancestor(seed):
    rng = np.random.default_rng(seed)
    base, imu, camera = (random_pose(rng) for _ in range(3))
    tree = {"base": {"odom": still(base)}, "imu": {"base": still(imu)}, "camera": {"base": still(camera)}}
    wanted = (RigidTransform.from_matrix(imu).inv() * RigidTransform.from_matrix(camera)).as_matrix()
    assert np.abs(between(tree, "imu", "camera", NOW)[0] - wanted).max() < 1e-9
    assert np.abs(between(tree, "odom", "camera", NOW)[0] - base @ camera).max() < 1e-9
    back = between(tree, "camera", "odom", NOW)[0]
    assert np.abs(back @ base @ camera - np.eye(4)).max() < 1e-9
    assert np.array_equal(between(tree, "elsewhere", "elsewhere", NOW)[0], np.eye(4))


def test_no_chain_a_circle_and_two_parents():
    tree = {"a": {"b": still(np.eye(4))}, "b": {"c": still(np.eye(4))}}
    with pytest.raises(Disconnected, match="'x' to 'a'; tf knows a, b, c"):
        between(tree, "x", "a", NOW)
    circle = tree | {"c": {"a": still(np.eye(4))}}
    with pytest.raises(ValueError, match="round in a circle: a -> b -> c -> a"):
        between(circle, "x", "a", NOW)
    with pytest.raises(ValueError, match="'a' several parents, 'b' and 'z'"):
        between({"a": {"b": still(np.eye(4)), "z": still(np.eye(4))}}, "x", "a", NOW)


def test_jumps():
    poses = [np.eye(4) for _ in range(10)]
    for index, pose in enumerate(poses):
        pose[0, 3] = 0.1 * index
    stamps = [index * 20_000_000 for index in range(10)]
    assert Track.of(stamps, poses).jump(5.01) is None
    count, how = Track.of(stamps, poses).jump(4.9)
    assert count == 1 and how == "0.10 m in 20 ms"
    poses[6][:3, :3] = Rotation.from_euler("z", 0.5).as_matrix()
    count, how = Track.of(stamps, poses).jump(10.0)
    assert count == 6 and how == "29 degrees in 20 ms"
    assert still(np.eye(4)).jump(1.0) is None


def test_a_clock_that_goes_backwards():
    assert steady([]) == 0 and steady([1, 2, 3]) == 3
    assert steady([10**9, 10**9 - BACKWARDS, 2 * 10**9]) == 3  # disorder
    assert steady([10**9, 2 * 10**9, 10**9, 3 * 10**9]) == 2


def test_no_pose():
    place = robots.make("geometry_msgs/Point", x=1.0, y=0.0, z=float("nan"))
    turn = robots.make("geometry_msgs/Quaternion", x=0.0, y=0.0, z=0.0, w=0.0)
    with pytest.raises(ValueError, match="no pose"):
        matrix(place, turn)
    place.z = 0.0
    with pytest.raises(ValueError, match="no pose"):
        matrix(place, turn)
    turn.w = 1.0
    assert matrix(place, turn)[0, 3] == 1
