"""What a robot recorded: its pictures, its camera, and where that was, out of whatever topics and frames there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.bags.lens import Lens, read_lens
from sanawm_env.bridges.ros2.bags.paths import (
    CameraPath,
    Choices,
    Samples,
    Tree,
    backwards,
    path_of_odometry,
    path_of_tf,
)
from sanawm_env.bridges.ros2.bags.pictures import COMPRESSED, RAW, is_depth, pixels
from sanawm_env.bridges.ros2.bags.storage import Bag
from sanawm_env.bridges.ros2.bags.tracks import matrix, stamp_of, steady

__all__ = ["Choices", "Recording", "read_recording"]

_INFO, _ODOMETRY, _TF = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"


@dataclass(frozen=True, eq=False)
class Recording:
    """A robot's recording, looked through once."""

    bag: Bag
    image_topic: str
    stamps: NDArray[np.int64]
    """`(n,)` of its images, nanoseconds, increasing."""
    lens: Lens | None
    """None where no `CameraInfo` tells."""
    path: CameraPath
    stamped: bool
    """Whether images bear stamps of their own; otherwise the time at which they were logged stands for them."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What a reader of the result has to know."""

    def images(self, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """`(H, W, 3)` RGB of the images with these indices into `stamps`, which may repeat but never go back.

        Raises:
            ValueError: An encoding that is not read here.
        """
        wanted = iter(self.stamps[list(indices)].tolist())
        asked = next(wanted, None)
        for _, logged, message in self.bag.messages([self.image_topic]):
            if asked is None:
                return
            if (stamp_of(message.header) if self.stamped else logged) != asked:
                continue
            shown = pixels(message)
            while True:
                yield shown
                before, asked = asked, next(wanted, None)
                if asked != before:
                    break


def read_recording(bag: Bag, choices: Choices | None = None) -> Recording:
    """Find pictures, lens and path.

    Raises:
        ValueError: Something is missing, ambiguous or unusable; says what there is, and what to do.
    """
    choices, notes = choices or Choices(), []
    image_topic = _image_topic(bag, choices.image_topic)
    odom_topic = _odom_topic(bag, choices.odom_topic)
    of_tf = bag.of_kind(_TF)
    infos: dict[str, Any] = {}
    seen: list[tuple[int, int]] = []  # stamp, time of logging
    frame, size = "", (0, 0)
    odometry = Samples()
    transforms: dict[tuple[str, str], Samples] = defaultdict(Samples)
    wanted = {image_topic, *of_tf, *bag.of_kind(_INFO), *([] if odom_topic is None else [odom_topic])}
    for topic, logged, message in bag.messages(wanted):
        if topic == image_topic:
            if not seen:
                frame, size = message.header.frame_id, pixels(message).shape[:2]
            seen.append((stamp_of(message.header), logged))
        elif topic == odom_topic:
            pose = message.pose.pose
            odometry.add(stamp_of(message.header) or logged, matrix(pose.position, pose.orientation))
            odometry.frame = odometry.frame or message.child_frame_id
        elif topic in of_tf:
            for each in message.transforms:
                place = each.child_frame_id.lstrip("/"), each.header.frame_id.lstrip("/")
                moved = matrix(each.transform.translation, each.transform.rotation)
                stamp = 0 if topic.endswith("tf_static") else stamp_of(each.header)
                transforms[place].add(stamp, moved)
        else:
            infos.setdefault(topic, message)
    lost = image_topic if not seen else odom_topic if odom_topic is not None and not odometry.stamps else None
    if lost is not None:
        raise ValueError(f"nothing of {lost} can be read: {' '.join(bag.damage.values()) or 'its messages are empty.'}")
    stamped = any(stamp for stamp, _ in seen)
    if not stamped:
        notes.append(f"images of {image_topic} have no stamps; the time at which they were logged stands for them.")
    stamps = np.array([given if stamped else logged for given, logged in seen], np.int64)
    if (count := steady(stamps)) < len(stamps):
        notes.append(backwards(f"images of {image_topic}", stamps, count))
    stamps = stamps[:count]
    stamps = stamps[np.concatenate([[True], np.diff(np.maximum.accumulate(stamps)) > 0])]
    camera = (choices.camera_frame or frame).lstrip("/")
    tree: Tree = {}
    for (child, parent), samples in transforms.items():
        tree.setdefault(child, {})[parent] = samples.track(f"tf {parent} -> {child}", notes)
    if odom_topic is not None:
        path = path_of_odometry(odom_topic, odometry, tree, camera, choices, notes)
    else:
        path = path_of_tf(tree, camera, choices, notes)
    lens = read_lens(infos, image_topic, size, choices.ignore_distortion, notes)
    return Recording(bag, image_topic, stamps, lens, path, stamped, tuple(notes))


def _image_topic(bag: Bag, wanted: str | None) -> str:
    """The images' topic.

    Raises:
        ValueError: There is none, there are several, or not the one that is wanted.
    """
    there = bag.of_kind(RAW, COMPRESSED)
    if wanted is not None:
        if wanted not in there:
            raise ValueError(f"the bag has no images on {wanted}; there is {bag.describe()}.")
        return wanted
    found = [topic for topic in there if (message := bag.first(topic)) is not None and not is_depth(message)]
    if not found:
        raise ValueError(f"the bag has no images (sensor_msgs/Image or CompressedImage); there is {bag.describe()}.")
    raw = [topic for topic in found if not (topic.endswith("/compressed") and topic.rpartition("/")[0] in found)]
    if len(raw) > 1:
        raise ValueError(f"the bag has images of several cameras; choose with --image-topic: {', '.join(raw)}.")
    return raw[0]


def _odom_topic(bag: Bag, wanted: str | None) -> str | None:
    """Topic of odometry; None is tf.

    Raises:
        ValueError: There is neither, there are several, or not the one that is wanted.
    """
    found, of_tf = bag.of_kind(_ODOMETRY), bag.of_kind(_TF)
    if wanted is not None:
        if wanted not in (*found, *of_tf):
            raise ValueError(f"the bag has no odometry on {wanted}; there is {bag.describe()}.")
        return wanted if wanted in found else None
    if len(found) > 1:
        raise ValueError(f"the bag has several odometries; choose with --odom-topic: {', '.join([*found, *of_tf])}.")
    if not found and not of_tf:
        raise ValueError(f"the bag has neither nav_msgs/Odometry nor tf; there is {bag.describe()}.")
    return found[0] if found else None
