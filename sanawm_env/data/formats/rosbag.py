"""ROS 2 bags (MCAP, or sqlite3), a bag for each episode, without ROS.

| Topic | Type | |
|---|---|---|
| `/camera/image_raw` | `sensor_msgs/Image` | rgb8, every frame |
| `/camera/camera_info` | `sensor_msgs/CameraInfo` | with each frame |
| `/camera/depth/image_raw` | `sensor_msgs/Image` | 32FC1 in metres, if there is depth |
| `/odom` | `nav_msgs/Odometry` | pose and velocity of `base_link` |
| `/tf`, `/tf_static` | `tf2_msgs/TFMessage` | `odom` -> `base_link` -> `camera_link` -> `camera_optical_frame` |

Axes and stamps are those of `sanawm_env.bridges.ros2.messages`; the first frame is at 1 s, since time 0 means "none" to
ROS. `episode.json` beside the bag holds the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from scipy.spatial.transform import Rotation

from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.facts import episode_from
from sanawm_env.data.formats.common.folders import (
    check_folders,
    episode_folders,
    load_facts,
    read_folders,
    refuse_options,
    write_folders,
)
from sanawm_env.data.formats.registry import Mode, Problem

__all__ = ["check", "detect", "read", "write"]

_MARKER = "metadata.yaml"
_START = 10**9
"""Stamp of the first frame, nanoseconds."""
_APART = 20_000_000
"""Nanoseconds that a frame and its pose may lie apart."""
_STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_IMAGE, _DEPTH, _INFO = "/camera/image_raw", "/camera/depth/image_raw", "/camera/camera_info"
_TYPES = {
    _IMAGE: "sensor_msgs/msg/Image",
    _INFO: "sensor_msgs/msg/CameraInfo",
    "/odom": "nav_msgs/msg/Odometry",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
}
_CHANNELS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "mono8": [0, 0, 0]}


@cache
def _types() -> Typestore:
    """Message types of Jazzy; parsing them takes a second."""
    return get_typestore(Stores.ROS2_JAZZY)


def detect(path: Path) -> bool:
    """Whether a bag is there, or bags in its folders."""
    return any("rosbag2_bagfile_information" in _head(each / _MARKER) for each in episode_folders(path, _MARKER)[:1])


def read(path: Path) -> Iterator[Episode]:
    """Episodes of bags with raw images, `CameraInfo` and `Odometry`; frames get the nearest pose within 20 ms.

    Raises:
        ValueError: No bag, a damaged one, or one without what is needed.
    """
    return read_folders(path, _MARKER, _read_one)


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write a bag for each episode.

    Args:
        path: Folder of the bags.
        episodes: What to write.
        mode: See `Mode`.
        **options: `storage`, `mcap` (default) or `sqlite3`.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: Unknown options, or episodes whose frames do not fit their poses.
    """
    storage = options.pop("storage", "mcap")
    refuse_options("rosbag", options)
    if storage not in _STORAGES:
        raise ValueError(f"unknown storage {storage!r}; known are {', '.join(_STORAGES)}.")
    write_folders(path, episodes, mode, _MARKER, lambda folder, each: _write_one(folder, each, _STORAGES[storage]))


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    return check_folders(path, _MARKER, _read_one)


def _write_one(folder: Path, episode: Episode, storage: StoragePlugin) -> None:
    types = _types()

    def make(name: str, **fields: Any) -> Any:
        return types.types[name](**fields)

    folder.rmdir()  # the writer makes it
    kinds = _TYPES if episode.depth is None else {**_TYPES, _DEPTH: _TYPES[_IMAGE]}
    body = ros.body_poses(episode.c2w)
    speeds = ros.twists(body, episode.fps)
    depth = None if episode.depth is None else (each for piece in episode.depth for each in piece)
    done = 0
    with Writer(folder, version=9, storage_plugin=storage) as bag:
        topics = {
            topic: bag.add_connection(topic, kind, typestore=types, offered_qos_profiles=[_qos(topic == "/tf_static")])
            for topic, kind in kinds.items()
        }

        def put(topic: str, stamp: int, message: Any) -> None:
            bag.write(topics[topic], stamp, types.serialize_cdr(message, kinds[topic]))

        put("/tf_static", _START, ros.static_transforms(make, _START))
        for piece in episode.frames:
            for frame in piece:
                if done < len(episode):
                    stamp = ros.nanoseconds(done, episode.fps, _START)
                    put("/tf", stamp, ros.transforms(make, body[done], stamp))
                    put("/odom", stamp, ros.odometry(make, body[done], speeds[done], stamp))
                    put(_INFO, stamp, ros.camera_info(make, episode.intrinsics, episode.size, stamp))
                    put(_IMAGE, stamp, ros.image(make, frame, stamp))
                    if depth is not None:
                        put(_DEPTH, stamp, ros.depth_image(make, next(depth), stamp))
                done += 1
    if done != len(episode):
        raise ValueError(f"episode {episode.name!r} has {len(episode)} poses and {done} frames; it was cut short.")


def _qos(latched: bool) -> Qos:
    never = QosTime(2147483647, 4294967295)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability, never, never,
        QosLiveliness.AUTOMATIC, never, False,
    )  # fmt: skip


@dataclass(frozen=True)
class _BagImages:
    """Images of a topic at given stamps, read anew each time that they are iterated."""

    folder: Path
    topic: str
    stamps: tuple[int, ...]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        wanted = set(self.stamps)
        with _opened(self.folder) as reader:
            for connection, _, raw in reader.messages(
                [each for each in reader.connections if each.topic == self.topic]
            ):
                message: Any = reader.deserialize(raw, connection.msgtype)
                if _stamp(message) in wanted:
                    yield _pixels(message)[None]


@contextmanager
def _opened(folder: Path) -> Iterator[AnyReader]:
    try:
        with AnyReader([folder], default_typestore=_types()) as reader:
            yield reader
    except (AnyReaderError, OSError) as error:
        raise ValueError(f"{folder} is no readable bag: {error}.") from error


def _read_one(folder: Path) -> Episode:
    facts = load_facts(folder)
    poses: list[tuple[int, NDArray[np.float64]]] = []
    seen: dict[str, list[int]] = {}
    mounts: dict[str, tuple[str, NDArray[np.float64]]] = {}
    shown: dict[str, Any] = {}
    base = ros.BASE
    lens = None
    with _opened(folder) as reader:
        for connection, _, raw in reader.messages():
            kind = connection.msgtype
            if kind not in _TYPES.values() or connection.topic == "/tf":
                continue
            message: Any = reader.deserialize(raw, kind)
            if kind == "nav_msgs/msg/Odometry":
                base = message.child_frame_id
                pose = message.pose.pose
                poses.append((_stamp(message), _matrix(pose.position, pose.orientation)))
            elif kind == "tf2_msgs/msg/TFMessage":
                for each in message.transforms:
                    moved = _matrix(each.transform.translation, each.transform.rotation)
                    mounts[each.child_frame_id] = (each.header.frame_id, moved)
            elif kind == "sensor_msgs/msg/CameraInfo":
                lens = lens if lens is not None else message
            else:
                name = "depth" if message.encoding == "32FC1" else connection.topic
                shown.setdefault(name, (connection.topic, message.header.frame_id, message.height, message.width))
                seen.setdefault(name, []).append(_stamp(message))
    colour = next((name for name in seen if name != "depth"), None)
    missing = {"sensor_msgs/Image": colour, "sensor_msgs/CameraInfo": lens, "nav_msgs/Odometry": poses or None}
    if lacks := [kind for kind, found in missing.items() if found is None]:
        raise ValueError(f"the bag has no {', no '.join(lacks)}, which an episode needs; record them too.")
    assert colour is not None and lens is not None
    if np.any(np.asarray(lens.d)):
        raise ValueError("the lens has distortion; rectify the images first (image_proc).")
    topic, frame, height, width = shown[colour]
    times, stamps = np.array([time for time, _ in poses]), np.array(sorted(seen[colour]))
    nearest = np.abs(times[None] - stamps[:, None]).argmin(1)
    kept = np.abs(times[nearest] - stamps) <= _APART
    if not kept.any():
        raise ValueError(f"no image of {topic} has a pose within {_APART // 10**6} ms; their clocks differ.")
    camera = np.stack([poses[index][1] for index in nearest[kept]]) @ _mounted(mounts, frame, base)
    chosen = tuple(int(stamp) for stamp in stamps[kept])
    depth = None
    if set(chosen) <= set(seen.get("depth", [])):
        depth = _BagImages(folder, shown["depth"][0], chosen)
    known: dict[str, Any] = {"intrinsics": np.array(lens.k)[[0, 4, 2, 5]], "size": (height, width)}
    if not facts:
        apart = np.diff(chosen)
        known |= {"name": folder.name, "fps": float(1e9 / np.median(apart)) if len(apart) else 16.0}
    frames: Iterable[Frames] = _BagImages(folder, topic, chosen)
    return episode_from(facts, frames, camera, depth, **known)


def _mounted(mounts: dict[str, tuple[str, NDArray[np.float64]]], frame: str, base: str) -> NDArray[np.float64]:
    """Where the camera sits on the body, through the static transforms."""
    found, at = np.eye(4), frame
    for _ in range(len(mounts) + 1):
        if at == base:
            return found
        if at not in mounts:
            break
        at, moved = mounts[at]
        found = moved @ found
    raise ValueError(f"no static transform leads from {base!r} to the camera's {frame!r}; record /tf_static too.")


def _pixels(message: Any) -> NDArray[Any]:
    data = np.asarray(message.data, np.uint8).reshape(message.height, message.step)
    if message.encoding == "32FC1":
        depth = data[:, : 4 * message.width].copy().view(">f4" if message.is_bigendian else "<f4")
        return depth.astype(np.float32)
    if message.encoding not in _CHANNELS:
        raise ValueError(f"images of encoding {message.encoding!r} cannot be read; convert them to rgb8.")
    channels = 1 if message.encoding == "mono8" else 3
    pixels = data[:, : channels * message.width].reshape(message.height, message.width, channels)
    return pixels[..., _CHANNELS[message.encoding]]


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def _matrix(position: Any, turn: Any) -> NDArray[np.float64]:
    found = np.eye(4)
    found[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    found[:3, 3] = position.x, position.y, position.z
    return found


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200)
    except OSError:
        return ""
