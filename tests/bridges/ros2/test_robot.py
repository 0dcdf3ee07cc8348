"""From a step's info to frames."""

import numpy as np
import pytest
from sanawm_env.bridges.ros2.robot import START, frames_of
from scipy.spatial.transform import Rotation

F, H, W = 4, 2, 3


@pytest.fixture
def info():
    c2w = np.tile(np.eye(4), (F, 1, 1))
    c2w[:, 2, 3] = 0.1 * np.arange(1, F + 1)  # ahead by 0.1 m a frame
    frames = np.arange(F * H * W * 3, dtype=np.uint8).reshape(F, H, W, 3)
    return {"frames": frames, "frame_c2w": c2w}


def test_frames_have_their_times_pictures_and_speeds(info):
    frames = frames_of(info, np.array([50, 50, 1.5, 1]), 16, 16.0, before=np.eye(4))
    assert [frame.index for frame in frames] == [16, 17, 18, 19]
    assert [frame.stamp - START for frame in frames] == [10**9 + i * 62_500_000 for i in range(F)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, info["frames"][i])
        np.testing.assert_array_equal(frame.c2w, info["frame_c2w"][i])
        np.testing.assert_allclose(frame.twist, [1.6, 0, 0, 0, 0, 0], atol=1e-12)
        assert frame.depth is None and frame.scan is None


def test_without_a_frame_before_the_first_stands_still(info):
    first, second, *_ = frames_of(info, np.ones(4), 0, 16.0)
    assert not first.twist.any() and second.twist[0] == pytest.approx(1.6)


def test_a_turn_is_a_speed_too(info):
    info["frame_c2w"][0, :3, :3] = Rotation.from_rotvec([0, -0.05, 0]).as_matrix()  # to the left
    (frame,) = frames_of({key: value[:1] for key, value in info.items()}, np.ones(4), 0, 16.0, before=np.eye(4))
    assert frame.twist[5] == pytest.approx(0.8)


def test_depth_and_scan_are_the_last_frames(info):
    info |= {"depth": np.ones((H, W)), "scan": np.array([1, np.nan, 2.0]), "scan_angles": np.array([-0.4, 0, 0.4])}
    *others, last = frames_of(info, np.ones(4), 0, 16.0, scan_range=(0.2, 5.0))
    assert all(frame.depth is None and frame.scan is None for frame in others)
    assert last.depth.dtype == np.float32 and last.scan.ranges.dtype == np.float32
    assert last.scan[1:] == pytest.approx((-0.4, 0.4, 0.2, 5.0))
    info |= {"scan": np.array([1, np.inf, np.inf]), "scan_seen": np.array([True, False, True])}
    *_, last = frames_of(info, np.ones(4), 0, 16.0)
    np.testing.assert_array_equal(last.scan.ranges, np.float32([1, np.nan, np.inf]))


def test_the_last_alone(info):
    (frame,) = frames_of(info, np.ones(4), 7, 16.0, last_only=True)
    assert frame.index == 7 and not frame.twist.any()
    np.testing.assert_array_equal(frame.rgb, info["frames"][-1])
