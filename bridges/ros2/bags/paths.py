"""The camera's path out of odometry or tf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.bags.tracks import Disconnected, Track, ancestors, between, steady
from sanawm_env.bridges.ros2.messages import BODY_FROM_OPTICAL, ODOM

__all__ = ["CameraPath", "Choices", "Samples", "Tree", "backwards", "path_of_odometry", "path_of_tf"]

_GAP = 0.5
"""Seconds without a pose that are told."""

Tree: TypeAlias = "dict[str, dict[str, Track]]"
"""By child, then by parent: see `tracks.between`."""


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
class CameraPath:
    """The camera's path."""

    source: str
    """Topic, or the frames of tf between which it was found."""
    start: int
    """First moment for which it is known, nanoseconds."""
    end: int
    """Last moment."""
    poses: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    """From moments `(k,)` to poses `(k, 4, 4)` in some fixed frame, optical axes, metres."""


class Samples:
    """Poses of a frame as they come in."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.poses: list[NDArray[np.float64]] = []
        self.frame = ""
        """Its name, where messages tell it."""

    def add(self, stamp: int, pose: NDArray[np.float64]) -> None:
        """Append one, `(4, 4)` at a time in nanoseconds."""
        self.stamps.append(stamp)
        self.poses.append(pose)

    def track(self, name: str, notes: list[str]) -> Track:
        """All of them up to where the clock goes backwards."""
        count = steady(self.stamps)
        if count < len(self.stamps):
            notes.append(backwards(name, np.array(self.stamps), count))
        return Track.of(self.stamps[:count], self.poses[:count])


def path_of_odometry(
    topic: str, samples: Samples, tree: Tree, camera: str, choices: Choices, notes: list[str]
) -> CameraPath:
    """The path of a camera on a body whose odometry is known.

    Args:
        topic: Of the odometry.
        samples: Its poses, and the body's frame.
        tree: What tf knows: where the camera sits on the body.
        camera: The camera's frame.
        choices: See there.
        notes: Takes what was assumed, and what was left out.

    Raises:
        ValueError: tf is in disorder.
    """
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

    return CameraPath(topic, int(track.stamps[0]), int(track.stamps[-1]), poses)


def path_of_tf(tree: Tree, camera: str, choices: Choices, notes: list[str]) -> CameraPath:
    """The path of a camera that tf alone tells; arguments as in `path_of_odometry`.

    Raises:
        ValueError: tf does not know the camera, nothing moves it, or tf is in disorder.
    """
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

    return CameraPath(f"tf {fixed} -> {camera}", start, end, poses)


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


def backwards(name: str, stamps: NDArray[np.int64], count: int) -> str:
    """A note that a clock goes backwards after so many of these stamps."""
    return (
        f"the clock of {name} goes backwards by {(stamps[:count].max() - stamps[count]) / 1e9:.1f} s after "
        f"{count} of {len(stamps)} messages; those that follow are left out."
    )
