"""Metres for paths that have none: pictures alone say nothing about size, so somebody must.

Each way gives metres for a unit of the path, how sure that is, and where it comes from; none of them guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.annotation.structure.solve import Solution
from sanawm_env.data.episode import Frames

__all__ = [
    "DepthModel",
    "NoScale",
    "Scale",
    "ScaleSource",
    "from_camera_height",
    "from_depth",
    "from_distance",
    "from_positions",
    "read_positions",
    "umeyama",
]

Array = NDArray[np.float64]

DepthModel: TypeAlias = Callable[[Frames], NDArray[np.floating[Any]]]
"""`(H, W, 3)` uint8 RGB to z-depth `(H, W)`, metres; what is not finite or not positive is left out."""

_MOMENTUM = 0.99
"""Of the moving average over frames, as SANA-WM's annotation has it."""
_KEPT = 80.0
"""Percentile of residuals that the second fit of positions keeps."""
_FLOOR_TILT = 35.0
"""Degrees between a floor's normal and the camera's mean downward axis."""
_FLOOR_THICK = 0.03
"""Distance from the floor, as a share of the camera's height, within which points lie on it."""
_FLOOR_WIDE = 0.25
"""Standard deviation of a floor's points across, as a share of the camera's height."""
_FLOOR_POINTS = 15


class NoScale(ValueError):
    """The scale could not be found; says why."""


@dataclass(frozen=True)
class Scale:
    """Metres for a unit of a path."""

    factor: float
    """Metres per unit."""
    uncertainty: float
    """One standard deviation, as a share of the factor."""
    source: str
    """Where it comes from."""


ScaleSource: TypeAlias = Callable[[Solution, Sequence[Frames], float], Scale]
"""From a solution, its mapped frames (work pictures) and the video time of its first frame (s); raises `NoScale`."""


def from_camera_height(metres: float) -> ScaleSource:
    """The camera's height over the floor, which is sought among the mapped points."""
    _positive("camera height", metres)

    def scale(solution: Solution, frames: Sequence[Frames], begin: float) -> Scale:
        if solution.model is None:
            raise NoScale("no point was mapped, so there is no floor")
        heights, share = _floor(solution.model.points, solution.c2w)
        usual = float(np.median(heights))
        spread = float(np.std(heights) / usual)
        if spread > 0.25:
            raise NoScale(f"the camera's height over the floor varies by {spread:.0%} of itself")
        return Scale(
            metres / usual,
            float(np.hypot(spread, _FLOOR_THICK)),
            f"camera height of {metres:g} m, {share:.0%} of the points",
        )

    return scale


def from_distance(first: int, last: int, metres: float) -> ScaleSource:
    """The distance between the cameras of two frames of each clip."""
    _positive("distance", metres)

    def scale(solution: Solution, frames: Sequence[Frames], begin: float) -> Scale:
        if max(first, last) >= len(solution.c2w):
            raise NoScale(f"it has no frame {max(first, last)}")
        apart = float(np.linalg.norm(solution.c2w[first, :3, 3] - solution.c2w[last, :3, 3]))
        spread = max(solution.figures.get("halves_apart", [0.02]))
        if not apart > 0:
            raise NoScale(f"the cameras of frames {first} and {last} are at one place")
        return Scale(metres / apart, float(spread), f"{metres:g} m between frames {first} and {last}")

    return scale


def from_depth(model: DepthModel, name: str = "depth model") -> ScaleSource:
    """A depth model of the user's: per frame the factor that minimises `w (s a - b)^2`, `w = 1 / b`, then averaged.

    `a` is the depth of a mapped point in the path's unit and `b` what the model says. The average over frames moves
    with momentum 0.99, without a bias towards the first frame.
    """

    def scale(solution: Solution, frames: Sequence[Frames], begin: float) -> Scale:
        if solution.model is None:
            raise NoScale("no point was mapped, so there is no depth to compare")
        found: list[float] = []
        for place, frame in enumerate(frames):
            rows, seen = solution.model.seen[place]
            c2w = solution.model.c2w[place]
            if len(rows) < 8:
                continue
            depth = np.asarray(model(frame), float)
            if depth.shape != frame.shape[:2]:
                raise ValueError(
                    f"{name} gave depth of {depth.shape} for a picture of {frame.shape[:2]}; give one value a pixel."
                )
            ours = ((solution.model.points[rows] - c2w[:3, 3]) @ c2w[:3, :3])[:, 2]
            x, y = np.clip(seen.astype(int), 0, [frame.shape[1] - 1, frame.shape[0] - 1]).T
            theirs = depth[y, x]
            good = np.isfinite(theirs) & (theirs > 0) & (ours > 0)
            if good.sum() >= 8:
                found.append(_weighted(ours[good], theirs[good]))
        if not found:
            raise NoScale(f"{name} says nothing about the mapped points")
        factor = _moving(found)
        return Scale(factor, float(np.std(found) / factor), f"{name}, {len(found)} frames")

    return scale


def from_positions(times: Array, positions: Array, name: str) -> ScaleSource:
    """Positions over time (odometry, GPS), seconds from the video's first frame and metres, by robust Umeyama."""

    def scale(solution: Solution, frames: Sequence[Frames], begin: float) -> Scale:
        at = begin + np.arange(len(solution.c2w)) / 16.0
        inside = (at >= times[0]) & (at <= times[-1])
        if inside.sum() < 8:
            raise NoScale(f"{name} covers {inside.sum()} of its frames; look at the clocks")
        wanted = np.stack([np.interp(at[inside], times, positions[:, axis]) for axis in range(3)], 1)
        length = float(np.linalg.norm(np.diff(wanted, axis=0), axis=1).sum())
        if length < 0.1:
            raise NoScale(f"{name} moves by {length:.2f} m, which says nothing")
        factor, left = umeyama(solution.c2w[inside, :3, 3], wanted)
        reach = float(np.sqrt(((wanted - wanted.mean(0)) ** 2).sum(1).mean()))
        if left > 0.3 * reach:
            raise NoScale(f"{name} and the path of the camera are {left / reach:.0%} of its extent apart")
        return Scale(factor, left / reach, f"{name}, {left:.2f} m from the path")

    return scale


def umeyama(source: Array, target: Array) -> tuple[float, float]:
    """Scale of the similarity between positions `(n, 3)`, refitted on the 80 % nearest, and the RMS that is left."""
    keep = np.ones(len(source), bool)
    factor = left = 0.0
    for _ in range(2):
        a, b = source[keep] - source[keep].mean(0), target[keep] - target[keep].mean(0)
        u, values, v = np.linalg.svd(b.T @ a / len(a))
        signs = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
        turn = u @ np.diag(signs) @ v
        factor = float((values * signs).sum() / max(float((a**2).sum(1).mean()), 1e-300))
        off = factor * (source - source[keep].mean(0)) @ turn.T + target[keep].mean(0) - target
        away = np.linalg.norm(off, axis=1)
        left = float(np.sqrt((away[keep] ** 2).mean()))
        keep = away <= np.percentile(away, _KEPT)
    return factor, left


def read_positions(path: str | Path, *, gps: bool = False) -> tuple[Array, Array]:
    """Lines `t x y z ...` (seconds, metres; TUM's are such), or with `gps` `t latitude longitude altitude`.

    Returns:
        Times `(n,)` from the first one on, and positions `(n, 3)` in metres.

    Raises:
        ValueError: Other lines.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check the path.")
    try:
        text = path.read_text(encoding="utf-8").replace(",", " ")
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        table = np.array([[float(word) for word in row[:4]] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path} must have lines of numbers, t x y z: {error}.") from None
    if table.ndim != 2 or table.shape[1] != 4 or len(table) < 3 or not (np.diff(table[:, 0]) > 0).all():
        raise ValueError(f"{path} must have at least three lines t x y z of rising t; got {table.shape}.")
    positions = table[:, 1:]
    if gps:
        if np.abs(positions[:, 0]).max() > 90 or np.abs(positions[:, 1]).max() > 180:
            raise ValueError(f"{path} has no latitudes and longitudes in degrees; its columns are t lat lon alt.")
        metres = 111_320.0  # per degree of latitude, WGS 84's mean
        north, east = positions[:, 0] - positions[0, 0], positions[:, 1] - positions[0, 1]
        east = east * np.cos(np.deg2rad(positions[0, 0]))
        positions = np.stack([metres * east, metres * north, positions[:, 2] - positions[0, 2]], 1)
    return table[:, 0] - table[0, 0], positions


def _weighted(ours: Array, theirs: Array) -> float:
    weight = 1 / theirs
    factor = float((weight * ours * theirs).sum() / (weight * ours**2).sum())
    off = np.abs(factor * ours / theirs - 1)  # once more without the worst fifth: edges of depth
    good = off <= np.percentile(off, _KEPT)
    return float((weight * ours * theirs)[good].sum() / (weight * ours**2)[good].sum())


def _moving(values: Sequence[float]) -> float:
    mean = weight = 0.0
    for value in values:
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * value
        weight = _MOMENTUM * weight + (1 - _MOMENTUM)
    return mean / weight


def _floor(points: Array, c2w: Array) -> tuple[Array, float]:
    """Heights `(F,)` of the cameras over the floor, in the path's unit, and the share of points that lie on it."""
    down = c2w[:, :3, 1].mean(0)
    down /= np.linalg.norm(down)
    below = points[(points - c2w[:, :3, 3].mean(0)) @ down > 0]
    rng = np.random.default_rng(0)
    best: tuple[int, Array] = (0, np.zeros(4))
    for _ in range(800 if len(below) >= _FLOOR_POINTS else 0):
        a, b, c = below[rng.choice(len(below), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        size = np.linalg.norm(normal)
        if size < 1e-12:
            continue
        normal = normal / size * np.sign(normal @ down)
        height = float(np.median((a - c2w[:, :3, 3]) @ normal))
        if height <= 0 or normal @ down < np.cos(np.deg2rad(_FLOOR_TILT)):
            continue
        off = (points - a) @ normal
        on = int((np.abs(off) < _FLOOR_THICK * height).sum())
        through = int((off > 4 * _FLOOR_THICK * height).sum())
        if through <= 0.1 * on and on > best[0]:  # nothing is under a floor
            best = on, np.append(normal, normal @ a)
    if best[0] < _FLOOR_POINTS:
        raise NoScale(f"no floor was found: {best[0]} points lie on the best plane, {_FLOOR_POINTS} are needed")
    height = float(np.median(best[1][3] - c2w[:, :3, 3] @ best[1][:3]))
    on_floor = points[np.abs(points @ best[1][:3] - best[1][3]) < _FLOOR_THICK * height]
    _, spread, axes = np.linalg.svd(on_floor - on_floor.mean(0))
    if spread[1] / np.sqrt(len(on_floor)) < _FLOOR_WIDE * height:
        raise NoScale("no floor was found: the best plane is a strip of some wall")
    normal = axes[2] * np.sign(axes[2] @ down)
    return (on_floor.mean(0) - c2w[:, :3, 3]) @ normal, best[0] / len(points)


def _positive(name: str, metres: float) -> None:
    if not (np.isfinite(metres) and metres > 0):
        raise ValueError(f"the {name} must be a positive number of metres; got {metres}.")
