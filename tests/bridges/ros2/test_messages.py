"""Axes, stamps and velocities of ROS messages, by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from sanawm_env.bridges.ros2 import messages as ros
from scipy.spatial.transform import Rotation


def _make(name: str, **fields: Any) -> Any:
    return SimpleNamespace(type=name, **fields)


def test_axes_of_the_body() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [1, 2, 3]  # 1 right, 2 down, 3 ahead
    pose[:3, :3] = Rotation.from_rotvec([0, 0.3, 0]).as_matrix()  # turned to the right
    body = ros.body_poses(pose)
    assert np.allclose(body[:3, 3], [3, -1, -2])  # ahead, left, up
    assert np.allclose(Rotation.from_matrix(body[:3, :3]).as_rotvec(), [0, 0, -0.3])  # yaw counts to the left
    assert np.allclose(ros.optical_poses(body), pose)


def test_the_optical_frame_is_mounted_as_rep_103_says() -> None:
    message = ros.static_transforms(_make, 10**9)
    body, optical = message.transforms
    assert (body.header.frame_id, body.child_frame_id) == ("base_link", "camera_link")
    assert (optical.header.frame_id, optical.child_frame_id) == ("camera_link", "camera_optical_frame")
    turn = optical.transform.rotation
    found = np.array([turn.x, turn.y, turn.z, turn.w])
    assert np.allclose(found * np.sign(found[3]), np.array([-0.5, 0.5, -0.5, 0.5]))


def test_stamps_are_whole_and_do_not_drift() -> None:
    assert ros.nanoseconds(1, 16) == 62_500_000
    assert ros.nanoseconds(30 * 3600, 30) == 3600 * 10**9
    assert ros.nanoseconds(3, 30, start=10**9) == 10**9 + 100_000_000
    stamp = ros.image(_make, np.zeros((2, 3, 3), np.uint8), 5_000_000_007).header.stamp
    assert (stamp.sec, stamp.nanosec) == (5, 7)


def test_twists_give_the_motion_in_the_bodys_axes() -> None:
    """A circle to the left at 2 m/s and 0.5 rad/s: the twist is the same at every frame."""
    angles = 0.5 * np.arange(9) / 16
    body = np.tile(np.eye(4), (9, 1, 1))
    body[:, :3, :3] = Rotation.from_rotvec(np.stack([0 * angles, 0 * angles, angles], 1)).as_matrix()
    body[:, 0, 3], body[:, 1, 3] = 4 * np.sin(angles), 4 * (1 - np.cos(angles))
    found = ros.twists(body, 16)
    assert not found[0].any()
    assert np.allclose(found[1:], [2, 0, 0, 0, 0, 0.5])


def test_pictures() -> None:
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    message = ros.image(_make, frame[:, ::-1], 0)
    assert (message.encoding, message.height, message.width, message.step) == ("rgb8", 2, 4, 12)
    assert np.array_equal(message.data.reshape(2, 4, 3), frame[:, ::-1])
    deep = ros.depth_image(_make, np.full((2, 4), 1.5), 0)
    assert (deep.encoding, deep.step) == ("32FC1", 16) and np.array_equal(deep.data.view("<f4"), np.full(8, 1.5))
    lens = ros.camera_info(_make, np.array([50.0, 49, 31, 23]), (48, 64), 0)
    assert lens.k.tolist() == [50, 0, 31, 0, 49, 23, 0, 0, 1]
    assert lens.p.tolist() == [50, 0, 31, 0, 0, 49, 23, 0, 0, 0, 1, 0]
