"""A world as a robot with a camera: what it sees frame by frame, and what takes it further, live or into a bag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.messages import body_poses, nanoseconds, twists

__all__ = ["START", "Backend", "Frame", "LaserScan", "frames_of"]

START = 10**9
"""Stamp of frame 0, nanoseconds: time 0 means "none" to ROS."""


class LaserScan(NamedTuple):
    """One sweep, counter-clockwise from the right, as REP-117 and `sensor_msgs/LaserScan` have it."""

    ranges: NDArray[np.float32]
    """`(rays,)` metres; -inf is too near, +inf nothing in reach, NaN where the sensor cannot look."""
    angle_min: float
    """Of the first ray, radians; left of ahead is positive."""
    angle_increment: float
    """Radians from ray to ray."""
    range_min: float
    """Metres."""
    range_max: float
    """Metres."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One pixel frame of a world."""

    index: int
    """Frames since the robot was switched on; resets and restores do not turn it back."""
    stamp: int
    """Simulated time, whole nanoseconds."""
    rgb: NDArray[np.uint8]
    """`(H, W, 3)`."""
    c2w: NDArray[np.float64]
    """`(4, 4)` pose of the camera, OpenCV axes, metres, relative to where its episode began."""
    intrinsics: NDArray[np.float64]
    """`(4,)` fx, fy, cx, cy in pixels; (0, 0) is the corner of the upper left one, as in `camera.intrinsics`."""
    depth: NDArray[np.float32] | None = None
    """`(H, W)` metres along the optical axis, +inf where nothing is near."""
    scan: LaserScan | None = None
    twist: NDArray[np.float64] = field(default_factory=lambda: np.zeros(6))
    """`(6,)` velocity since the frame before in the body's own axes, m/s and rad/s (`messages.twists`)."""


class Backend(Protocol):
    """Where the frames of one robot go."""

    def publish(self, frame: Frame) -> None:
        """Send or write one frame; stamps increase from call to call."""

    def close(self) -> None:
        """Finish; nothing is published afterwards. Closing twice is no error."""


def frames_of(
    info: Mapping[str, Any],
    intrinsics: NDArray[Any],
    first_index: int,
    fps: float,
    *,
    before: NDArray[np.float64] | None = None,
    scan_range: tuple[float, float] = (0.1, 10.0),
    last_only: bool = False,
) -> list[Frame]:
    """Frames of a step. Depth and scan belong to the last one, and to no other.

    Args:
        info: Of one world's `step` or `reset`, with `frames` and `frame_c2w`, perhaps `depth`, `scan` and
            `scan_angles`.
        intrinsics: `(4,)` fx, fy, cx, cy.
        first_index: `Frame.index` of the first of them.
        fps: Frames per second.
        before: `(4, 4)` pose of the frame before, from which the first twist is measured; None is standing still.
        scan_range: Least and greatest range of the laser, metres.
        last_only: The last frame alone, which is all that is new after `reset` and `restore`.
    """
    rgb, c2w = np.asarray(info["frames"]), np.asarray(info["frame_c2w"], np.float64)
    if last_only:
        rgb, c2w = rgb[-1:], c2w[-1:]
    path = np.concatenate([(c2w[0] if before is None else before)[None], c2w])
    speeds = twists(body_poses(path), fps)[1:]
    last = len(rgb) - 1
    camera = np.asarray(intrinsics, np.float64)
    return [
        Frame(
            first_index + i,
            nanoseconds(first_index + i, fps, START),
            rgb[i],
            c2w[i],
            camera,
            np.asarray(info["depth"], np.float32) if i == last and "depth" in info else None,
            _scan(info, scan_range) if i == last and "scan" in info else None,
            speeds[i],
        )
        for i in range(len(rgb))
    ]


def _scan(info: Mapping[str, Any], scan_range: tuple[float, float]) -> LaserScan:
    ranges, angles = np.asarray(info["scan"], np.float32), np.asarray(info["scan_angles"], np.float64)
    ranges = np.where(info.get("scan_seen", True), ranges, np.float32(np.nan))
    increment = float(angles[-1] - angles[0]) / max(1, len(angles) - 1)
    return LaserScan(ranges, float(angles[0]), increment, *scan_range)
