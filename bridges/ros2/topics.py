"""What a frame is on topics: one list, for the live bridge and for bags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.bridges.ros2.robot import Frame

from sanawm_env.camera.intrinsics import HALF_PIXEL

__all__ = [
    "CLOCK",
    "COMPRESSED",
    "DEPTH",
    "IMAGE",
    "INFO",
    "ODOMETRY",
    "SCAN",
    "TF",
    "TF_STATIC",
    "TYPES",
    "frame_messages",
]

CLOCK, TF_STATIC = "clock", "tf_static"
IMAGE, COMPRESSED, INFO, DEPTH = (
    "camera/image_raw",
    "camera/image_raw/compressed",
    "camera/camera_info",
    "camera/depth/image_raw",
)
SCAN, ODOMETRY, TF = "scan", "odom", "tf"

TYPES = {
    CLOCK: "rosgraph_msgs/msg/Clock",
    TF_STATIC: "tf2_msgs/msg/TFMessage",
    TF: "tf2_msgs/msg/TFMessage",
    ODOMETRY: "nav_msgs/msg/Odometry",
    INFO: "sensor_msgs/msg/CameraInfo",
    IMAGE: "sensor_msgs/msg/Image",
    COMPRESSED: "sensor_msgs/msg/CompressedImage",
    DEPTH: "sensor_msgs/msg/Image",
    SCAN: "sensor_msgs/msg/LaserScan",
}
"""Message types by topic, relative to the robot's namespace; the clock is everybody's."""


def frame_messages(
    make: ros.Make, frame: Frame, wanted: Callable[[str], bool] = lambda topic: True
) -> Iterator[tuple[str, Any]]:
    """Topics and messages of one frame, in the order in which they are to be sent: where the robot is comes first.

    Args:
        make: See `messages.Make`.
        frame: What the robot sees.
        wanted: Which topics; a message that nobody wants is not made.
    """
    stamp, size = frame.stamp, (frame.rgb.shape[0], frame.rgb.shape[1])
    body = ros.body_poses(frame.c2w)
    if wanted(TF):
        yield TF, ros.transforms(make, body, stamp)
    if wanted(ODOMETRY):
        yield ODOMETRY, ros.odometry(make, body, frame.twist, stamp)
    if wanted(INFO):
        yield INFO, ros.camera_info(make, frame.intrinsics - HALF_PIXEL, size, stamp)
    if wanted(IMAGE):
        yield IMAGE, ros.image(make, frame.rgb, stamp)
    if wanted(COMPRESSED):
        yield COMPRESSED, ros.compressed_image(make, frame.rgb, stamp)
    if frame.depth is not None and wanted(DEPTH):
        yield DEPTH, ros.depth_image(make, frame.depth, stamp)
    if frame.scan is not None and wanted(SCAN):
        yield SCAN, ros.laser_scan(make, frame.scan, stamp)
