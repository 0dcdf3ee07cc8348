"""Bags of robots as other software writes them: messages by rosbags' classes, nothing of the code under test."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

START = 1_700_000_000_000_000_000
"""Nanoseconds since 1970, as a robot's clock has them."""
SIZE = (48, 64)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""Quaternion x, y, z, w of REP-103's optical axes in a body's."""
MOUNT = (0.1, 0.0, 0.3)

Line = tuple[str, str, int, Any]
"""Topic, type, time and message."""


@cache
def store() -> Any:
    return get_typestore(Stores.ROS2_HUMBLE)


def make(name: str, **fields: Any) -> Any:
    package, kind = name.split("/")
    return store().types[f"{package}/msg/{kind}"](**fields)


def header(stamp: int, frame: str) -> Any:
    time = make("builtin_interfaces/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return make("std_msgs/Header", stamp=time, frame_id=frame)


def pose_at(seconds: float) -> tuple[NDArray[np.float64], Rotation]:
    """Where `base_link` is in `odom`: half a metre a second, turning left."""
    angle = 0.2 * seconds
    radius = 0.5 / 0.2
    return np.array([radius * np.sin(angle), radius * (1 - np.cos(angle)), 0.0]), Rotation.from_euler("z", angle)


def camera_at(seconds: float) -> NDArray[np.float64]:
    """`(4, 4)` of the camera in `odom`, optical axes."""
    place, turn = pose_at(seconds)
    found = np.eye(4)
    found[:3, :3] = (turn * Rotation.from_quat(OPTICAL)).as_matrix()
    found[:3, 3] = place + turn.apply(MOUNT)
    return found


def picture(index: int) -> NDArray[np.uint8]:
    """Smooth colours that differ from image to image."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / np.array(SIZE).reshape(2, 1, 1)
    waves = [127 + 100 * np.sin(4 * rows + 3 * k * columns + 0.3 * index + k) for k in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


def image(pixels: NDArray[Any], encoding: str, stamp: int, frame: str = "cam_optical", pad: int = 0) -> Any:
    """`sensor_msgs/Image`, perhaps with bytes that pad each row."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return make(
        "sensor_msgs/Image", header=header(stamp, frame), height=len(pixels), width=pixels.shape[1],
        encoding=encoding, is_bigendian=0, step=data.shape[1], data=data.reshape(-1),
    )  # fmt: skip


def compressed(data: bytes, form: str, stamp: int, frame: str = "cam_optical") -> Any:
    data = np.frombuffer(data, np.uint8)
    return make("sensor_msgs/CompressedImage", header=header(stamp, frame), format=form, data=data)


def camera_info(stamp: int, distortion: Iterable[float] = (), size: tuple[int, int] = SIZE) -> Any:
    k = np.array([60.0, 0, size[1] / 2 - 0.5, 0, 60.0, size[0] / 2 - 0.5, 0, 0, 1])
    roi = make("sensor_msgs/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    p = np.concatenate([k.reshape(3, 3), np.zeros((3, 1))], 1).reshape(-1)
    return make(
        "sensor_msgs/CameraInfo", header=header(stamp, "cam_optical"), height=size[0], width=size[1],
        distortion_model="plumb_bob", d=np.array(list(distortion), float), k=k, r=np.eye(3).reshape(-1), p=p,
        binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def odometry(stamp: int, place: Iterable[float], turn: Rotation, child: str = "base_link") -> Any:
    x, y, z = map(float, place)
    pose = make("geometry_msgs/Pose", position=make("geometry_msgs/Point", x=x, y=y, z=z), orientation=quaternion(turn))
    still = make("geometry_msgs/Vector3", x=0.0, y=0.0, z=0.0)
    twist = make("geometry_msgs/Twist", linear=still, angular=still)
    return make(
        "nav_msgs/Odometry", header=header(stamp, "odom"), child_frame_id=child,
        pose=make("geometry_msgs/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        twist=make("geometry_msgs/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )  # fmt: skip


def quaternion(turn: Rotation) -> Any:
    x, y, z, w = map(float, turn.as_quat())
    return make("geometry_msgs/Quaternion", x=x, y=y, z=z, w=w)


def transform(stamp: int, parent: str, child: str, place: Iterable[float], turn: Rotation) -> Any:
    """`tf2_msgs/TFMessage` of one transform."""
    x, y, z = map(float, place)
    moved = make(
        "geometry_msgs/Transform", translation=make("geometry_msgs/Vector3", x=x, y=y, z=z), rotation=quaternion(turn)
    )
    stamped = make(
        "geometry_msgs/TransformStamped", header=header(stamp, parent), child_frame_id=child, transform=moved
    )
    return make("tf2_msgs/TFMessage", transforms=[stamped])


def mount(child: str = "cam_optical", parent: str = "base_link") -> Line:
    """The camera's static transform."""
    message = transform(START, parent, child, MOUNT, Rotation.from_quat(OPTICAL))
    return "/tf_static", "tf2_msgs/TFMessage", START, message


def images(
    seconds: float = 1.0,
    hz: float = 30.0,
    show: Callable[[int, int], Any] = lambda index, stamp: image(picture(index), "rgb8", stamp),
    topic: str = "/cam/image_raw",
    kind: str = "sensor_msgs/Image",
) -> Iterator[Line]:
    for index in range(round(seconds * hz) + 1):
        stamp = START + round(index * 1e9 / hz)
        yield topic, kind, stamp, show(index, stamp)


def odometries(
    seconds: float = 1.0, hz: float = 50.0, topic: str = "/odom", child: str = "base_link"
) -> Iterator[Line]:
    for index in range(round(seconds * hz) + 1):
        stamp = START + round(index * 1e9 / hz)
        yield topic, "nav_msgs/Odometry", stamp, odometry(stamp, *pose_at(index / hz))


def moving(parent: str, child: str, pose: Callable[[float], tuple[Any, Rotation]], hz: float = 50.0) -> Iterator[Line]:
    """A second of `/tf`."""
    for index in range(round(hz) + 1):
        stamp = START + round(index * 1e9 / hz)
        yield "/tf", "tf2_msgs/TFMessage", stamp, transform(stamp, parent, child, *pose(index / hz))


def transforms() -> Iterator[Line]:
    """The robot's path as tf."""
    return moving("odom", "base_link", pose_at)


def info() -> Line:
    return "/cam/camera_info", "sensor_msgs/CameraInfo", START, camera_info(START)


def write(
    folder: Path, lines: Iterable[Line], storage: StoragePlugin = StoragePlugin.MCAP, in_order: bool = True
) -> Path:
    """A bag of these messages, logged in order of their times."""
    lines = list(lines)
    with Writer(folder, version=8, storage_plugin=storage) as writer:
        connections: dict[tuple[str, str], Any] = {}
        for topic, kind, time, message in sorted(lines, key=lambda line: line[2]) if in_order else lines:
            full = kind.replace("/", "/msg/")
            if (topic, full) not in connections:
                connections[topic, full] = writer.add_connection(topic, full, typestore=store())
            writer.write(connections[topic, full], time, store().serialize_cdr(message, full))
    return folder


def robot(**more: Any) -> list[Line]:
    """Everything that a usual robot records."""
    return [*images(**more), *odometries(more.get("seconds", 1.0)), mount(), info()]
