"""ROS 2 messages of a camera, without ROS: axes, stamps and fields, for bags and for a bridge alike.

Frames are REP-105's `odom` -> `base_link` -> `camera_link` -> `camera_optical_frame`. The first three have REP-103's
axes for bodies (x ahead, y left, z up), the last the optical ones (x right, y down, z ahead), which are ours. The
camera is the robot: `base_link` and `camera_link` are one. `odom` is where the camera began.

A function that makes a message takes `make(name, **fields)`, which knows the classes: `typestore.types[name](**fields)`
of rosbags, or those of rclpy, with arrays turned into what they want.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform, Rotation

if TYPE_CHECKING:
    from sanawm_env.bridges.ros2.robot import LaserScan

__all__ = [
    "BASE",
    "BODY_FROM_OPTICAL",
    "ODOM",
    "OPTICAL",
    "Make",
    "Status",
    "body_poses",
    "camera_info",
    "clock",
    "compressed_image",
    "depth_image",
    "diagnostics",
    "image",
    "laser_scan",
    "nanoseconds",
    "odometry",
    "optical_poses",
    "static_transforms",
    "transforms",
    "twists",
]

Make: TypeAlias = Callable[..., Any]
"""`make("std_msgs/msg/Header", stamp=..., frame_id=...)`: a message."""

ODOM, BASE, CAMERA, OPTICAL = "odom", "base_link", "camera_link", "camera_optical_frame"
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""A point in the body's axes from one in the optical axes: ahead is z, left is -x, up is -y."""


def nanoseconds(index: int, fps: float, start: int = 0) -> int:
    """Time of a frame in whole nanoseconds, rounded once: no error adds up."""
    return start + round(index * 10**9 / Fraction(fps).limit_denominator(10**6))


def body_poses(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(..., 4, 4)` of `base_link` in `odom`, from poses of the camera relative to where it began."""
    found: NDArray[np.float64] = BODY_FROM_OPTICAL @ c2w @ BODY_FROM_OPTICAL.T
    return found


def optical_poses(body: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `body_poses` undoes."""
    found: NDArray[np.float64] = BODY_FROM_OPTICAL.T @ body @ BODY_FROM_OPTICAL
    return found


def twists(body: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """`(F, 6)` velocity of the body in its own axes, m/s and rad/s, from the frame before; 0 at first."""
    moved = RigidTransform.from_matrix(np.linalg.inv(body[:-1]) @ body[1:]).as_exp_coords()
    # The constant velocity that leads from pose to pose; scipy puts the rotation first.
    return np.concatenate([np.zeros((1, 6)), np.roll(moved, 3, axis=-1) * fps])


def header(make: Make, stamp: int, frame: str) -> Any:
    """`std_msgs/Header`.

    Args:
        make: See `Make`.
        stamp: Nanoseconds.
        frame: In which the data is.
    """
    return make("std_msgs/msg/Header", stamp=_time(make, stamp), frame_id=frame)


def clock(make: Make, stamp: int) -> Any:
    """`rosgraph_msgs/Clock`: simulated time now, nanoseconds."""
    return make("rosgraph_msgs/msg/Clock", clock=_time(make, stamp))


def image(make: Make, frame: NDArray[np.uint8], stamp: int) -> Any:
    """`sensor_msgs/Image` of encoding rgb8 from `(H, W, 3)`."""
    return _image(make, np.ascontiguousarray(frame, np.uint8), stamp, "rgb8")


def depth_image(make: Make, depth: NDArray[np.float32], stamp: int) -> Any:
    """`sensor_msgs/Image` of encoding 32FC1 (REP-118) from `(H, W)` in metres."""
    return _image(make, np.ascontiguousarray(depth, "<f4"), stamp, "32FC1")


def compressed_image(make: Make, frame: NDArray[np.uint8], stamp: int, quality: int = 90) -> Any:
    """`sensor_msgs/CompressedImage`: a JPEG of `(H, W, 3)`, labelled as image_transport's compressed plug-in does."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header(make, stamp, OPTICAL),
        format="rgb8; jpeg compressed bgr8",
        data=np.asarray(data, np.uint8).reshape(-1),
    )


def _image(make: Make, pixels: NDArray[Any], stamp: int, encoding: str) -> Any:
    height, width = pixels.shape[:2]
    data = pixels.reshape(-1).view(np.uint8)
    return make(
        "sensor_msgs/msg/Image",
        header=header(make, stamp, OPTICAL),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=data.size // height,
        data=data,
    )


def camera_info(make: Make, intrinsics: NDArray[np.float64], size: tuple[int, int], stamp: int) -> Any:
    """`sensor_msgs/CameraInfo` of a pinhole camera `(4,)` fx, fy, cx, cy; as in ROS, (0, 0) is a pixel's centre."""
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    k = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
    region = make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(make, stamp, OPTICAL),
        height=int(size[0]),
        width=int(size[1]),
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.concatenate([k.reshape(3, 3), np.zeros((3, 1))], 1).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def laser_scan(make: Make, scan: LaserScan, stamp: int) -> Any:
    """`sensor_msgs/LaserScan` in the body's frame: all rays at one moment, without intensities."""
    ranges = np.asarray(scan.ranges, np.float32)
    return make(
        "sensor_msgs/msg/LaserScan",
        header=header(make, stamp, CAMERA),
        angle_min=float(scan.angle_min),
        angle_max=float(scan.angle_min + scan.angle_increment * (len(ranges) - 1)),
        angle_increment=float(scan.angle_increment),
        time_increment=0.0,
        scan_time=0.0,
        range_min=float(scan.range_min),
        range_max=float(scan.range_max),
        ranges=ranges,
        intensities=np.zeros(0, np.float32),
    )


class Status(NamedTuple):
    """An entry of `/diagnostics`."""

    name: str
    """Whose."""
    level: int
    """0 is OK, 1 a warning, 2 an error."""
    text: str
    """In words."""
    values: Mapping[str, Any]
    """Facts."""


def diagnostics(make: Make, entries: Sequence[Status], stamp: int) -> Any:
    """`diagnostic_msgs/DiagnosticArray`."""
    statuses = [
        make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=level,
            name=name,
            message=text,
            hardware_id="",
            values=[make("diagnostic_msgs/msg/KeyValue", key=key, value=str(value)) for key, value in values.items()],
        )
        for name, level, text, values in entries
    ]
    return make("diagnostic_msgs/msg/DiagnosticArray", header=header(make, stamp, ""), status=statuses)


def odometry(make: Make, body: NDArray[np.float64], twist: NDArray[np.float64], stamp: int) -> Any:
    """`nav_msgs/Odometry` of `base_link` in `odom`.

    Args:
        make: See `Make`.
        body: `(4, 4)`, see `body_poses`.
        twist: `(6,)`, see `twists`.
        stamp: Nanoseconds.
    """
    position = make("geometry_msgs/msg/Point", **_xyz(body[:3, 3]))
    pose = make("geometry_msgs/msg/Pose", position=position, orientation=_quaternion(make, body))
    linear, angular = (make("geometry_msgs/msg/Vector3", **_xyz(part)) for part in (twist[:3], twist[3:]))
    velocity = make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
    certain = np.zeros(36)
    return make(
        "nav_msgs/msg/Odometry",
        header=header(make, stamp, ODOM),
        child_frame_id=BASE,
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=certain),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=velocity, covariance=certain),
    )


def transforms(make: Make, body: NDArray[np.float64], stamp: int) -> Any:
    """`tf2_msgs/TFMessage` for `/tf`: `base_link` in `odom`."""
    return make("tf2_msgs/msg/TFMessage", transforms=[_transform(make, body, stamp, ODOM, BASE)])


def static_transforms(make: Make, stamp: int) -> Any:
    """`tf2_msgs/TFMessage` for `/tf_static`: from the body to the optical axes, all in one message."""
    mounted = [
        _transform(make, np.eye(4), stamp, BASE, CAMERA),
        _transform(make, BODY_FROM_OPTICAL, stamp, CAMERA, OPTICAL),
    ]
    return make("tf2_msgs/msg/TFMessage", transforms=mounted)


def _transform(make: Make, matrix: NDArray[np.float64], stamp: int, parent: str, child: str) -> Any:
    moved = make("geometry_msgs/msg/Vector3", **_xyz(matrix[:3, 3]))
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(make, stamp, parent),
        child_frame_id=child,
        transform=make("geometry_msgs/msg/Transform", translation=moved, rotation=_quaternion(make, matrix)),
    )


def _time(make: Make, stamp: int) -> Any:
    return make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)


def _xyz(vector: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(value) for name, value in zip("xyz", vector, strict=True)}


def _quaternion(make: Make, matrix: NDArray[np.float64]) -> Any:
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    return make("geometry_msgs/msg/Quaternion", x=float(x), y=float(y), z=float(z), w=float(w))
