"""Contact: how far a robot's body can follow a path before it touches what has been seen of the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Body", "Contact", "free_path", "stop_short"]

Array = NDArray[np.float64]

STEP = 0.01
"""Metres between the places of a path that are looked at; a path is blocked in whole steps."""
GRAIN = 0.005
"""Metres by which a body that is too near already may waver; less than depth is worth, more than points lie apart."""


@dataclass(frozen=True)
class Body:
    """An upright cylinder that carries the camera on its axis; up is -y of frame 0.

    Raises:
        ValueError: A size that no body has; names the fix.
    """

    radius: float = 0.18
    """Metres."""
    height: float = 0.4
    """Metres."""
    camera: float = 0.3
    """Metres of the camera above the body's lowest point."""
    margin: float = 0.0
    """Metres kept beyond the radius, because depth is a guess: more of it blocks more hits and shortens more free
    moves."""

    def __post_init__(self) -> None:
        for name in ("radius", "height"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"a body's {name} must be positive metres; got {value}.")
        if not math.isfinite(self.camera):
            raise ValueError(f"a body's camera must be metres above its lowest point; got {self.camera}.")
        if not (math.isfinite(self.margin) and self.radius + self.margin > 0):
            raise ValueError(f"a body's margin must leave something of its radius {self.radius}; got {self.margin}.")

    @property
    def keep(self) -> float:
        """Metres that the body's axis keeps from points."""
        return self.radius + self.margin


@dataclass(frozen=True)
class Contact:
    """What an episode has felt so far."""

    collisions: int = 0
    """Steps since the reset that met something."""
    collided: bool = False
    """Whether the last one did."""
    clearance: float = math.inf
    """Metres between the body's side and the nearest known point at its height, at the end of the last step."""


def free_path(points: Array, c2w0: Array, c2w: Array, body: Body) -> tuple[float, float]:
    """How much of a path a body can follow.

    It stops before a point comes nearer to its axis, horizontally and at its height, than `body.keep`. A body that is
    nearer already, because it began there or because depth has changed, may move as long as it comes no nearer than
    it has been on this path: it can always back off. Turning on the spot meets nothing.

    Args:
        points: `(M, 3)` known points in the world's axes, m.
        c2w0: `(4, 4)` camera-to-world pose now, m.
        c2w: `(F, 4, 4)` poses of the path's frames; the camera moves straight from each to the next.
        body: What moves.

    Returns:
        Share of the path's length in [0, 1] that is free, and the clearance (m) where that ends: between the body's
        side and the nearest point at its height, negative within the radius, infinite where nothing is known.
    """
    track, along = _track(c2w0, c2w)
    length = float(along[-1])
    share = 1.0
    if length > 0:
        count = math.ceil(length / STEP)
        shares = np.arange(count + 1) / count
        gaps = _gaps(_nearby(points, track, body), _places(track, along, shares), body)
        share = float(shares[_stop(gaps, body.keep)])
    end = _places(track, along, np.array([share]))
    return share, float(_gaps(points, end, body)[0]) - body.radius


def stop_short(c2w0: Array, c2w: Array, share: float) -> Array:
    """The same turns along a part of the path: slower, so that the last frame stands where the part ends.

    A robot that meets something stops there. (Habitat's agents slide along a wall unless `allow_sliding` is off; this
    is that setting off.)

    Args:
        c2w0: `(4, 4)` pose now.
        c2w: `(F, 4, 4)` poses of the path's frames.
        share: Of the path's length, in [0, 1].

    Returns:
        `(F, 4, 4)` poses; with a share of 1 the same ones, bit for bit.
    """
    stopped = np.array(c2w, np.float64)
    if share < 1:
        track, along = _track(c2w0, c2w)
        stopped[:, :3, 3] = _at(track, along, share * along[1:])
    return stopped


def _track(c2w0: Array, c2w: Array) -> tuple[Array, Array]:
    """Positions `(F + 1, 3)` and the metres walked at each."""
    track = np.concatenate([c2w0[None, :3, 3], c2w[:, :3, 3]])
    steps = np.sqrt((np.diff(track, axis=0) ** 2).sum(-1))
    return track, np.concatenate([[0.0], np.cumsum(steps)])


def _places(track: Array, along: Array, shares: Array) -> Array:
    return _at(track, along, shares * along[-1])


def _at(track: Array, along: Array, metres: Array) -> Array:
    """Positions `(N, 3)` so many metres down the track."""
    return np.stack([np.interp(metres, along, track[:, axis]) for axis in range(3)], -1)


def _nearby(points: Array, track: Array, body: Body) -> Array:
    """Those points that a body might touch on a track."""
    low, high = track.min(0), track.max(0)
    below, above = [body.keep, body.height - body.camera, body.keep], [body.keep, body.camera, body.keep]
    return points[((points >= low - below) & (points <= high + above)).all(-1)]


def _gaps(points: Array, places: Array, body: Body) -> Array:
    """`(N,)` horizontal metres from the axis of a body at each place to the nearest point at its height."""
    if not len(points):
        return np.full(len(places), np.inf)
    x, down, z = (points[None, :, axis] - places[:, axis, None] for axis in range(3))
    beside = (down <= body.camera) & (down >= body.camera - body.height)
    return np.sqrt(np.where(beside, x * x + z * z, np.inf).min(-1))


def _stop(gaps: Array, keep: float) -> int:
    """Index of the last place before the body comes nearer than it may."""
    # In whole grains, so that a body along a wall, whose points lie apart, is not held by the next of them; and never
    # less than the grain that it is in, so that pushing again and again gains nothing.
    best = np.maximum.accumulate(gaps)
    near = best < keep
    least = np.where(near, np.floor(np.where(near, best, 0) / GRAIN) * GRAIN, keep)
    blocked = gaps[1:] < least[:-1]
    return int(blocked.argmax()) if blocked.any() else len(gaps) - 1
