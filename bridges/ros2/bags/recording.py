"""What a robot recorded: its pictures, its camera, and where that was, out of whatever topics and frames there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.bags.lens import Lens, read_lens
from sanawm_env.bridges.ros2.bags.pictures import COMPRESSED, RAW, is_depth, pixels
from sanawm_env.bridges.ros2.bags.storage import Bag
from sanawm_env.bridges.ros2.bags.tracks import Disconnected, Track, ancestors, between, matrix, stamp_of, steady
from sanawm_env.bridges.ros2.messages import BODY_FROM_OPTICAL, ODOM

__all__ = ["Choices", "Recording", "Way", "read_recording"]

_INFO, _ODOMETRY, _TF = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
_GAP = 0.5
"""Seconds without a pose that are told."""

Tree = dict[str, dict[str, Track]]


@dataclass(frozen=True)
class Choices:
    """Which of several, where a bag leaves a choice. None finds out."""

    image_topic: str | None = None
    """Raw or compressed images."""
    odom_topic: str | None = None
    """Odometry, or tf (`/tf`)."""
    camera_frame: str | None = None
    """Frame of the camera in tf, if not the one that its images name."""
    world_frame: str | None = None
    """Fixed frame for a path out of tf; otherwise `odom`, or whatever stands at the top of tf."""
    max_speed: float = 5.0
    """Metres per second above which two poses are a jump and no motion."""
    ignore_distortion: bool = False
    """Take images of a lens with distortion as they are."""


@dataclass(frozen=True, eq=False)
class Way:
    """The camera's path."""

    source: str
    """Topic, or the frames of tf between which it was found."""
    start: int
    """First moment for which it is known, nanoseconds."""
    end: int
    """Last moment."""
    poses: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    """From moments `(k,)` to poses `(k, 4, 4)` in some fixed frame, optical axes, metres."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A robot's recording, looked through once."""

    bag: Bag
    image_topic: str
    stamps: NDArray[np.int64]
    """`(n,)` of its images, nanoseconds, increasing."""
    lens: Lens | None
    """None where no `CameraInfo` tells."""
    way: Way
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
    odometry = _Samples()
    transforms: dict[tuple[str, str], _Samples] = defaultdict(_Samples)
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
        notes.append(_backwards(f"images of {image_topic}", stamps, count))
    stamps = stamps[:count]
    stamps = stamps[np.concatenate([[True], np.diff(np.maximum.accumulate(stamps)) > 0])]
    camera = (choices.camera_frame or frame).lstrip("/")
    tree: Tree = {}
    for (child, parent), samples in transforms.items():
        tree.setdefault(child, {})[parent] = samples.track(f"tf {parent} -> {child}", notes)
    if odom_topic is not None:
        way = _way_of_odometry(odom_topic, odometry, tree, camera, choices, notes)
    else:
        way = _way_of_tf(tree, camera, choices, notes)
    lens = read_lens(infos, image_topic, size, choices.ignore_distortion, notes)
    return Recording(bag, image_topic, stamps, lens, way, stamped, tuple(notes))


class _Samples:
    """Poses of a frame as they come in."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.poses: list[NDArray[np.float64]] = []
        self.frame = ""

    def add(self, stamp: int, pose: NDArray[np.float64]) -> None:
        self.stamps.append(stamp)
        self.poses.append(pose)

    def track(self, name: str, notes: list[str]) -> Track:
        """All of them up to where the clock goes backwards."""
        count = steady(self.stamps)
        if count < len(self.stamps):
            notes.append(_backwards(name, np.array(self.stamps), count))
        return Track.of(self.stamps[:count], self.poses[:count])


# -- topics -----------------------------------------------------------------------------------------------


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


# -- paths ------------------------------------------------------------------------------------------------


def _way_of_odometry(topic: str, samples: _Samples, tree: Tree, camera: str, choices: Choices, notes: list[str]) -> Way:
    track = _without_jumps(samples.track(topic, notes), topic, choices.max_speed, notes)
    _tell_gaps(track, topic, notes)
    base = samples.frame.lstrip("/")
    turn = np.eye(4)
    try:
        if not base or not camera:
            raise Disconnected("a frame has no name")
        mounted = between(tree, base, camera, track.stamps[:1])[0]
        turn = _optical(camera, track.poses[0] @ mounted if base == camera else mounted, notes)
    except Disconnected:
        camera, turn = base, BODY_FROM_OPTICAL
        notes.append(
            f"tf does not tell where the camera sits on {base or 'the body'!r} (record /tf_static); assuming that it "
            "looks along the body's x axis, from the body's origin."
        )

    def poses(stamps: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = track.at(stamps) @ between(tree, base, camera, stamps) @ turn
        return found

    return Way(topic, int(track.stamps[0]), int(track.stamps[-1]), poses)


def _way_of_tf(tree: Tree, camera: str, choices: Choices, notes: list[str]) -> Way:
    names = sorted({*tree, *(parent for parents in tree.values() for parent in parents)})
    if camera not in names:
        raise ValueError(
            f"tf does not know the images' frame {camera!r}; choose one with --camera-frame: {', '.join(names)}."
        )
    chain = ancestors(tree, camera)
    fixed = choices.world_frame or (ODOM if ODOM in chain else chain[-1])
    if fixed not in chain:
        raise ValueError(f"{fixed!r} is no frame above the camera's; choose --world-frame of {', '.join(chain[1:])}.")
    chain = chain[: chain.index(fixed) + 1]
    edges = {(child, parent): tree[child][parent] for child, parent in pairwise(chain)}
    moving = {}
    for (child, parent), track in edges.items():
        if len(track.stamps) > 1:
            name = f"tf {parent} -> {child}"
            track = tree[child][parent] = _without_jumps(track, name, choices.max_speed, notes)
            _tell_gaps(track, name, notes)
            moving[name] = track
    if not moving:
        raise ValueError(f"nothing between {fixed!r} and {camera!r} moves in tf; record /tf, or odometry.")
    start = max(int(track.stamps[0]) for track in moving.values())
    end = min(int(track.stamps[-1]) for track in moving.values())
    turn = _optical(camera, between(tree, fixed, camera, np.array([start]))[0], notes)

    def poses(stamps: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = between(tree, fixed, camera, stamps) @ turn
        return found

    return Way(f"tf {fixed} -> {camera}", start, end, poses)


def _optical(frame: str, pose: NDArray[np.float64], notes: list[str]) -> NDArray[np.float64]:
    """From optical axes to those of a camera's frame: some drivers stamp images with the body's axes.

    Args:
        frame: Its name; REP-103 ends the optical ones in `_optical`.
        pose: `(4, 4)` of it in a frame whose z axis is up.
        notes: Takes what was assumed.
    """
    if "optical" in frame or pose[2, 2] < 0.7:
        return np.eye(4)
    notes.append(f"the z axis of {frame!r} points up, which is no optical one; taking x for the camera's axis.")
    return BODY_FROM_OPTICAL


def _without_jumps(track: Track, name: str, max_speed: float, notes: list[str]) -> Track:
    found = track.jump(max_speed)
    if found is None:
        return track
    count, how = found
    after = (track.stamps[count - 1] - track.stamps[0]) / 1e9
    notes.append(
        f"{name} jumps by {how}, {after:.1f} s after its beginning (lost, or set anew?); what follows is left out. A "
        "robot that is as fast needs a higher --max-speed."
    )
    return track.until(count)


def _tell_gaps(track: Track, name: str, notes: list[str]) -> None:
    seconds = np.diff(track.stamps) / 1e9
    if len(seconds) and seconds.max() > _GAP:
        at = (track.stamps[int(seconds.argmax())] - track.stamps[0]) / 1e9
        notes.append(
            f"{name} is silent for {seconds.max():.1f} s, {at:.1f} s after its beginning; a straight way fills it."
        )


def _backwards(name: str, stamps: NDArray[np.int64], count: int) -> str:
    return (
        f"the clock of {name} goes backwards by {(stamps[:count].max() - stamps[count]) / 1e9:.1f} s after "
        f"{count} of {len(stamps)} messages; those that follow are left out."
    )
