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

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.bridges.ros2.bags import pictures
from sanawm_env.bridges.ros2.bags.storage import Bag, open_bag
from sanawm_env.bridges.ros2.bags.tracks import Disconnected, Track, between, matrix, stamp_of
from sanawm_env.bridges.ros2.bags.writer import STORAGES, BagWriter
from sanawm_env.bridges.ros2.robot import START, Frame
from sanawm_env.bridges.ros2.topics import DEPTH, IMAGE, INFO, ODOMETRY, TF, TF_STATIC
from sanawm_env.camera.intrinsics import HALF_PIXEL
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
from sanawm_env.data.formats.registry import FORMATS, Mode, Problem

__all__ = ["check", "detect", "read", "write"]

_MARKER = "metadata.yaml"
_APART = 20_000_000
"""Nanoseconds that a frame and its pose may lie apart."""
_TOPICS = (TF_STATIC, TF, ODOMETRY, INFO, IMAGE, DEPTH)
_ODOMETRY, _TF, _INFO = "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage", "sensor_msgs/msg/CameraInfo"
_KINDS = (pictures.RAW, _INFO, _ODOMETRY, _TF)


def detect(path: Path) -> bool:
    """Whether a bag is there, or bags in its folders."""
    return any("rosbag2_bagfile_information" in _head(each / _MARKER) for each in episode_folders(path, _MARKER)[:1])


def read(path: Path) -> Iterator[Episode]:
    """Episodes of bags with raw images, `CameraInfo` and `Odometry`; frames get the nearest pose within 20 ms.

    Raises:
        ValueError: No bag, a damaged one, or one without what is needed.
    """
    return read_folders(path, _MARKER, _read_one, FORMATS["rosbag"].files)


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
    if storage not in STORAGES:
        raise ValueError(f"unknown storage {storage!r}; known are {', '.join(STORAGES)}.")
    write_folders(path, episodes, mode, _MARKER, lambda folder, each: _write_one(folder, each, storage))


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    return check_folders(path, _MARKER, _read_one, FORMATS["rosbag"].files)


def _write_one(folder: Path, episode: Episode, storage: str) -> None:
    folder.rmdir()  # the writer makes it
    with BagWriter(folder, storage, topics=_TOPICS) as bag:
        for frame in _frames(episode):
            bag.publish(frame)


def _frames(episode: Episode) -> Iterator[Frame]:
    """An episode as a robot's frames.

    Raises:
        ValueError: It has more frames than poses, or fewer.
    """
    speeds = ros.twists(ros.body_poses(episode.c2w), episode.fps)
    depth = None if episode.depth is None else (each for piece in episode.depth for each in piece)
    done = 0
    for rgb in (each for piece in episode.frames for each in piece):
        if done < len(episode):
            yield Frame(
                done,
                ros.nanoseconds(done, episode.fps, START),
                rgb,
                episode.c2w[done],
                episode.intrinsics,
                depth=None if depth is None else next(depth),
                twist=speeds[done],
            )
        done += 1
    if done != len(episode):
        raise ValueError(f"episode {episode.name!r} has {len(episode)} poses and {done} frames; it was cut short.")


@dataclass(frozen=True)
class _BagImages:
    """Images of a topic at given stamps, read anew each time that they are iterated."""

    bag: Bag
    topic: str
    stamps: tuple[int, ...]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        wanted = set(self.stamps)
        for _, _, message in self.bag.messages([self.topic]):
            if stamp_of(message.header) in wanted:
                is_depth = pictures.is_depth(message)
                yield (pictures.depth(message) if is_depth else pictures.pixels(message))[None]


def _read_one(folder: Path) -> Episode:
    facts = load_facts(folder)
    bag = open_bag(folder)
    poses: list[tuple[int, NDArray[np.float64]]] = []
    seen: dict[str, list[int]] = {}
    mounts: dict[str, dict[str, Track]] = defaultdict(dict)
    shown: dict[str, Any] = {}
    base = ros.BASE
    lens = None
    kinds = {topic: bag.topics[topic].kind for topic in bag.of_kind(*_KINDS) if topic != "/tf"}
    for topic, _, message in bag.messages(kinds):
        kind = kinds[topic]
        if kind == _ODOMETRY:
            base = message.child_frame_id
            pose = message.pose.pose
            poses.append((stamp_of(message.header), matrix(pose.position, pose.orientation)))
        elif kind == _TF:
            for each in message.transforms:
                moved = matrix(each.transform.translation, each.transform.rotation)
                mounts[each.child_frame_id][each.header.frame_id] = Track.of([0], [moved])
        elif kind == _INFO:
            lens = lens if lens is not None else message
        else:
            name = "depth" if pictures.is_depth(message) else topic
            shown.setdefault(name, (topic, message.header.frame_id, message.height, message.width))
            seen.setdefault(name, []).append(stamp_of(message.header))
    if bag.damage:  # a part of an episode is none
        raise ValueError(f"{folder} is no readable bag: {' '.join(bag.damage.values())}.")
    colour = next((name for name in seen if name != "depth"), None)
    missing = {"sensor_msgs/Image": colour, "sensor_msgs/CameraInfo": lens, "nav_msgs/Odometry": poses or None}
    if lacks := [kind for kind, found in missing.items() if found is None]:
        raise ValueError(f"the bag has no {', no '.join(lacks)}, which an episode needs; record them too.")
    assert colour is not None and lens is not None
    if np.any(np.asarray(lens.d)):
        raise ValueError("the lens has distortion; rectify the images first (image_proc).")
    topic, frame, height, width = shown[colour]
    try:
        mounted = between(mounts, base, frame, np.zeros(1, np.int64))[0]
    except Disconnected:
        raise ValueError(
            f"no static transform leads from {base!r} to the camera's {frame!r}; record /tf_static too."
        ) from None
    times, stamps = np.array([time for time, _ in poses]), np.array(sorted(seen[colour]))
    nearest = np.abs(times[None] - stamps[:, None]).argmin(1)
    kept = np.abs(times[nearest] - stamps) <= _APART
    if not kept.any():
        raise ValueError(f"no image of {topic} has a pose within {_APART // 10**6} ms; their clocks differ.")
    camera = np.stack([poses[index][1] for index in nearest[kept]]) @ mounted
    chosen = tuple(int(stamp) for stamp in stamps[kept])
    depth = None
    if set(chosen) <= set(seen.get("depth", [])):
        depth = _BagImages(bag, shown["depth"][0], chosen)
    known: dict[str, Any] = {"intrinsics": np.array(lens.k)[[0, 4, 2, 5]] + HALF_PIXEL, "size": (height, width)}
    if not facts:
        apart = np.diff(chosen)
        known |= {
            "name": folder.stem if folder.is_file() else folder.name,
            "fps": float(1e9 / np.median(apart)) if len(apart) else 16.0,
        }
    frames: Iterable[Frames] = _BagImages(bag, topic, chosen)
    return episode_from(facts, frames, camera, depth, **known)


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200)
    except OSError:
        return ""
