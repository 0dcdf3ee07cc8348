"""A planar laser scan out of depth: what a robot's lidar would measure where the camera is."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Scan", "laser_scan"]

Array = NDArray[np.float64]

UP = np.array([0.0, -1.0, 0.0])
"""Away from the ground, in the axes of frame 0."""
SURFACE = 1.3
"""Depths of neighbouring pixels that differ by more than this factor belong to different things."""


@dataclass(frozen=True)
class Scan:
    """Settings of the sensor `scan`; the names are those of ROS's `sensor_msgs/LaserScan` where it has one.

    Raises:
        ValueError: A value that cannot be used; names the fix.
    """

    rays: int = 90
    """Number of ranges, at least 2."""
    fov_deg: float | None = None
    """Degrees from the first ray to the last, half of them on each side; None is the picture's own width."""
    range_min: float = 0.1
    """Metres; what is nearer is reported as -inf."""
    range_max: float = 10.0
    """Metres; where nothing is nearer, +inf is reported."""
    below: float = 0.0
    """Metres of the scanned plane below the camera; negative is above it."""
    thickness: float = 0.2
    """Metres of the slab about that plane in which things count."""

    def __post_init__(self) -> None:
        values: dict[str, Any] = {
            name: getattr(self, name) for name in ("range_min", "range_max", "below", "thickness")
        }
        if self.fov_deg is not None:
            values["fov_deg"] = self.fov_deg
        for name, value in values.items():
            if (
                isinstance(value, bool | str)
                or not isinstance(value, int | float | np.number)
                or not math.isfinite(value)
            ):
                raise ValueError(f"scan: {name} must be a finite number; got {value!r}.")
            object.__setattr__(self, name, float(value))
        rays: Any = self.rays
        try:
            whole = operator.index(int(rays) if isinstance(rays, float) and rays.is_integer() else rays)
        except TypeError:
            raise ValueError(f"scan: rays must be a whole number; got {rays!r}.") from None
        object.__setattr__(self, "rays", whole)
        if self.rays < 2:
            raise ValueError(f"scan: rays must be at least 2, the first and the last; got {self.rays}.")
        if self.fov_deg is not None and not 0 < self.fov_deg <= 360:
            raise ValueError(
                f"scan: fov_deg must lie in (0, 360]; got {self.fov_deg:g}. Leave it out for the picture's own width."
            )
        if not 0 < self.range_min < self.range_max:
            raise ValueError(
                f"scan: need 0 < range_min < range_max, metres; got {self.range_min:g} and {self.range_max:g}."
            )
        if self.thickness <= 0:
            raise ValueError(f"scan: thickness must be positive metres; got {self.thickness:g}.")

    def angles(self, intrinsics: ArrayLike, width: int) -> tuple[float, float]:
        """Angle of the first ray and from each to the next, radians.

        Angles are those of REP 103: about the vertical, positive to the left, 0 straight ahead. The first ray is the
        rightmost.

        Args:
            intrinsics: `(4,)` fx, fy, cx, cy, pixels.
            width: Columns of the picture.
        """
        if self.fov_deg is not None:
            fov = math.radians(self.fov_deg)
            return -fov / 2, fov / (self.rays - 1)
        fx, _, cx, _ = np.asarray(intrinsics, np.float64).tolist()
        right, left = math.atan((width - cx) / fx), math.atan(cx / fx)
        return -right, (right + left) / (self.rays - 1)


def laser_scan(
    depth: NDArray[np.floating], intrinsics: ArrayLike, c2w: ArrayLike, scan: Scan
) -> tuple[NDArray[np.float32], float, float]:
    """Measure along a horizontal fan of rays.

    Each ray looks at the strip of the picture where its upright half-plane is seen, about a pixel at a time and
    between the pixels, and reports the nearest of the points there that lie in the slab. The fan is level whatever
    the camera's pitch and roll are: up is -y of frame 0, and straight ahead is where the camera looks, projected
    into the horizontal plane.

    Args:
        depth: `(H, W)` z-depth, m; infinite where nothing is near, NaN where nothing is known.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels of `depth`.
        c2w: `(4, 4)` camera-to-world pose relative to frame 0, m.
        scan: Settings.

    Returns:
        Horizontal distances `(rays,)` float32 from the camera, m, as REP 117 has them: -inf nearer than `range_min`;
        +inf where the ray can be followed to `range_max` and meets nothing; NaN where it meets nothing but cannot be
        followed, because it leaves the picture or passes behind something above or below the slab. Then the angle of
        the first ray and from each to the next, radians (`Scan.angles`).

    Raises:
        ValueError: Arrays of other shapes.
    """
    z, camera, pose = np.asarray(depth, np.float64), np.asarray(intrinsics, np.float64), np.asarray(c2w, np.float64)
    if z.ndim != 2 or not z.size or camera.shape != (4,) or pose.shape != (4, 4):
        raise ValueError(
            f"a scan needs depth (H, W), intrinsics (4,) and c2w (4, 4); got {z.shape}, {camera.shape}, {pose.shape}."
        )
    first, increment = scan.angles(camera, z.shape[1])
    azimuth: Array = first + increment * np.arange(scan.rays, dtype=np.float64)
    step = 1 / float(camera[:2].max())
    elevation = _elevations(scan, step)

    distance = _distances(z, camera, pose[:3, :3], azimuth, elevation)  # (rays, E + 1)
    seen = distance[:, :-1]
    # Where the slab is thinner than a pixel at that distance, the pixel that it lies in counts.
    pixel = seen * step / np.cos(elevation[:-1]) ** 2
    with np.errstate(invalid="ignore"):  # infinitely far, straight ahead
        off = np.abs(seen * np.tan(elevation[:-1]) + scan.below)
        inside = (seen <= scan.range_max) & (off <= np.maximum(scan.thickness, pixel) / 2)
    nearest = np.where(inside, seen, np.inf).min(1)

    ranges = np.where(distance[:, -1] >= scan.range_max, np.inf, np.nan)
    ranges = np.where(np.isfinite(nearest), nearest, ranges)
    ranges = np.where(nearest < scan.range_min, -np.inf, ranges)
    return ranges.astype(np.float32), first, increment


def _elevations(scan: Scan, step: float) -> Array:
    """Angles `(E + 1,)` above the horizon that reach the slab, and last the one that leads to its far end."""
    low, high = -scan.below - scan.thickness / 2, -scan.below + scan.thickness / 2
    lowest = math.atan2(low, scan.range_min if low < 0 else scan.range_max)
    highest = math.atan2(high, scan.range_min if high > 0 else scan.range_max)
    count = max(2, math.ceil((highest - lowest) / step) + 1)
    return np.append(np.linspace(lowest, highest, count), math.atan2(-scan.below, scan.range_max))


def _distances(z: Array, camera: Array, turn: Array, azimuth: Array, elevation: Array) -> Array:
    """Horizontal distances `(A, E)` to what is seen along directions; NaN outside the picture, infinite for the sky."""
    ahead = _level(turn[:, 2])
    if ahead is None:  # straight up or down: ahead is where the top, or the bottom, of the picture points
        ahead = _level(turn[:, 1] * (1 if turn[1, 2] < 0 else -1))
    assert ahead is not None
    left = np.cross(UP, ahead)
    level = np.cos(azimuth)[:, None] * ahead + np.sin(azimuth)[:, None] * left  # (A, 3)
    ray = level[:, None] + np.tan(elevation)[:, None] * UP  # one metre along the ground
    # Sums of products instead of a matmul, whose last bits depend on the number of rays.
    x, y, forward = ((ray * turn[:, i]).sum(-1) for i in range(3))
    fx, fy, cx, cy = camera
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = fx * x / forward + cx, fy * y / forward + cy
    height, width = z.shape
    edge = 1e-6  # rounding must not push the last ray of the picture's own width outside
    inside = (forward > 0) & (u >= -edge) & (u <= width + edge) & (v >= -edge) & (v <= height + edge)
    u, v = np.where(inside, u, 0.0), np.where(inside, v, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        nearness = _between_pixels(1 / np.where(z > 0, z, np.nan), u, v)
        return np.where(inside, 1 / (nearness * forward), np.nan)


def _level(direction: Array) -> Array | None:
    """The horizontal part of a direction, of unit length; None where there is none."""
    flat = direction - UP * (direction @ UP)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-6 else None


def _between_pixels(nearness: Array, u: Array, v: Array) -> Array:
    """Inverse depth at places of the picture.

    On a plane it is linear in u and v, so that it is exact between the pixels; but across an edge it would put a
    surface where there is none, and there the pixel's own value stands.
    """
    height, width = nearness.shape
    column, row = np.floor(u - 0.5).astype(int), np.floor(v - 0.5).astype(int)
    column, row = column.clip(0, max(width - 2, 0)), row.clip(0, max(height - 2, 0))
    right, down = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
    a, b, c, d = nearness[row, column], nearness[row, right], nearness[down, column], nearness[down, right]
    s, t = u - 0.5 - column, v - 0.5 - row
    smooth = np.maximum.reduce([a, b, c, d]) <= SURFACE * np.minimum.reduce([a, b, c, d])
    own = np.where(t < 0.5, np.where(s < 0.5, a, b), np.where(s < 0.5, c, d))
    return np.where(smooth, (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d), own)
