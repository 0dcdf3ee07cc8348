"""Which messages a frame is."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sanawm_env.bridges.ros2.robot import Frame, LaserScan
from sanawm_env.bridges.ros2.topics import (
    CLOCK,
    COMPRESSED,
    DEPTH,
    IMAGE,
    INFO,
    ODOMETRY,
    SCAN,
    TF,
    TF_STATIC,
    TYPES,
    frame_messages,
)  # fmt: skip

BARE = [TF, ODOMETRY, INFO, IMAGE, COMPRESSED]


def make(name, /, **fields):
    return SimpleNamespace(type=name, **fields)


@pytest.fixture
def frame():
    rows = np.linspace(0, 255, 16, dtype=np.uint8)
    rgb = np.stack(np.broadcast_arrays(rows[:, None], rows[None], np.uint8(40)), -1)
    scan = LaserScan(np.array([1, np.inf, np.nan], np.float32), -0.4, 0.4, 0.1, 10.0)
    return Frame(3, 2_000_000_001, rgb, np.eye(4), np.array([20.0, 20, 8, 8]), np.ones((16, 16), np.float32), scan)


def test_what_there_is_and_in_which_order(frame):
    messages = dict(frame_messages(make, frame))
    assert list(messages) == [*BARE, DEPTH, SCAN]
    assert all(messages[topic].type == TYPES[topic] for topic in messages)
    assert set(TYPES) == {*messages, CLOCK, TF_STATIC}
    stamps = [each.header.stamp for topic, each in messages.items() if topic != TF]
    assert {(stamp.sec, stamp.nanosec) for stamp in stamps} == {(2, 1)}
    bare = Frame(0, 10**9, frame.rgb, np.eye(4), frame.intrinsics)
    assert [topic for topic, _ in frame_messages(make, bare)] == BARE


def test_what_nobody_wants_is_not_made(frame):
    made = []

    def noted(name, /, **fields):
        made.append(name)
        return make(name, **fields)

    assert [topic for topic, _ in frame_messages(noted, frame, lambda topic: topic == SCAN)] == [SCAN]
    assert "sensor_msgs/msg/Image" not in made and "sensor_msgs/msg/CompressedImage" not in made


def test_pictures_and_scans(frame):
    messages = dict(frame_messages(make, frame))
    compressed = messages[COMPRESSED]
    assert "jpeg" in compressed.format
    seen = np.asarray(Image.open(io.BytesIO(compressed.data.tobytes())).convert("RGB"), int)
    assert np.abs(seen - frame.rgb).mean() < 6  # red runs down and green across: channels are where they belong
    scan = messages[SCAN]
    assert scan.angle_max == pytest.approx(0.4) and scan.range_max == 10 and scan.header.frame_id == "camera_link"
    np.testing.assert_array_equal(scan.ranges, frame.scan.ranges)
    assert messages[INFO].k.reshape(3, 3)[:2, 2].tolist() == [7.5, 7.5]  # ROS counts from a pixel's centre
