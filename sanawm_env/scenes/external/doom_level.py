"""The geometry of a Doom level, from what ViZDoom says of its sectors: free ground, and exact depth by casting rays.

Lengths are map units; x is east, y north, z up. Floors and ceilings are level, walls upright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sanawm_env.scenes.external.source import Array

__all__ = ["Ground", "Level"]

HEAD = 60.0
"""Map units between floor and ceiling that a player needs."""
_CROSSINGS = 64
"""Lines that a ray may cross."""


@dataclass(frozen=True, eq=False)
class Level:
    """Lines and the sectors on both sides of them."""

    lines: Array
    """(N, 4) x1, y1, x2, y2."""
    sides: NDArray[np.int64]
    """(N, 2) sectors of a line, in no order; -1 where there is none."""
    blocking: NDArray[np.bool_]
    """(N,) whether nobody may cross it."""
    floor: Array
    """(S,) height of each sector's floor."""
    ceiling: Array
    """(S,) and of its ceiling."""

    @classmethod
    def read(cls, sectors: Sequence[Any]) -> Level:
        """From `GameState.sectors`."""
        sides: dict[tuple[float, float, float, float], list[int]] = {}
        blocking: dict[tuple[float, float, float, float], bool] = {}
        for number, sector in enumerate(sectors):
            for line in sector.lines:
                ends = (line.x1, line.y1, line.x2, line.y2)
                blocking[ends] = bool(line.is_blocking)
                found = sides.setdefault(ends, [])
                if number not in found:
                    found.append(number)
        # A line with the same sector on both sides is decoration.
        pairs = [[*each, -1][:2] for each in sides.values()]
        return cls(
            np.array(list(sides), dtype=np.float64),
            np.array(pairs, dtype=np.int64),
            np.array(list(blocking.values())),
            np.array([sector.floor_height for sector in sectors], dtype=np.float64),
            np.array([sector.ceiling_height for sector in sectors], dtype=np.float64),
        )

    def grounds(self) -> NDArray[np.int64]:
        """(S,) which connected piece of level ground each sector belongs to."""
        a, b = self.sides.T
        room = np.minimum(self.ceiling[a], self.ceiling[b]) - np.maximum(self.floor[a], self.floor[b])
        way = (b >= 0) & ~self.blocking & (self.floor[a] == self.floor[b]) & (room >= HEAD)
        count = len(self.floor)
        graph = coo_array((np.ones(way.sum()), (a[way], b[way])), shape=(count, count))
        found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
        return found

    def sector_at(self, x: float, y: float) -> int:
        """The sector of a place, -1 outside of all."""
        cross = _crosses(self.lines, np.array([[x, y]]))[0]
        counts = np.bincount(self.sides[cross].ravel() + 1, minlength=len(self.floor) + 1)[1:]
        odd = np.flatnonzero(counts % 2)
        return int(odd[0]) if len(odd) else -1

    def depth(self, place: Array, angle: float, intrinsics: Array, height: int, width: int) -> Array:
        """Z-depth (height, width) seen from a place, map units; infinite where a ray leaves the level.

        Args:
            place: (3,) x, y, z of the camera.
            angle: Radians, counter-clockwise from east.
            intrinsics: (4,) fx, fy, cx, cy px.
            height: Rows, px.
            width: Columns, px.
        """
        fx, fy, cx, cy = intrinsics
        ahead, right = np.array([np.cos(angle), np.sin(angle)]), np.array([np.sin(angle), -np.cos(angle)])
        rays = ahead + ((np.arange(width) + 0.5 - cx) / fx)[:, None] * right
        order, far = self._crossings(place[:2], rays)
        slope = ((np.arange(height) + 0.5 - cy) / fy)[:, None]  # of a row, downwards
        out = np.full((height, width), np.inf)
        here = np.full(width, self.sector_at(place[0], place[1]))
        top, bottom = np.full(width, -np.inf), np.full(width, np.inf)  # slopes that are still open
        for near in range(order.shape[1]):
            lines, z = order[:, near], far[:, near]
            a, b = self.sides[lines].T
            mine = (here >= 0) & np.isfinite(z) & ((a == here) | (b == here)) & (top < bottom)
            if not mine.any():
                if not np.isfinite(z).any():
                    break
                continue
            z = np.where(mine, z, 1.0)
            beyond = np.where(a == here, b, a)
            floor, ceiling = place[2] - self.floor[here], place[2] - self.ceiling[here]
            low, high = np.minimum(bottom, floor / z), np.maximum(top, ceiling / z)
            with np.errstate(divide="ignore"):
                on_floor = mine & (slope >= low) & (slope < bottom)
                out = np.where(on_floor, floor / slope, out)
                on_ceiling = mine & (slope <= high) & (slope > top)
                out = np.where(on_ceiling, ceiling / slope, out)
            open_low = np.where(beyond < 0, -np.inf, np.minimum(low, (place[2] - self.floor[beyond]) / z))
            open_high = np.where(beyond < 0, np.inf, np.maximum(high, (place[2] - self.ceiling[beyond]) / z))
            on_wall = mine & (slope < low) & (slope > high) & ((slope >= open_low) | (slope <= open_high))
            out = np.where(on_wall, z, out)
            bottom, top = np.where(mine, open_low, bottom), np.where(mine, open_high, top)
            here = np.where(mine, beyond, here)
        return out

    def _crossings(self, place: Array, rays: Array) -> tuple[NDArray[np.int64], Array]:
        """Lines that each of (W, 2) rays crosses, the nearest first, and how far away: (W, K) both."""
        start, along = self.lines[:, :2] - place, self.lines[:, 2:] - self.lines[:, :2]
        across = rays[:, None, 0] * along[:, 1] - rays[:, None, 1] * along[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            far = (start[:, 0] * along[:, 1] - start[:, 1] * along[:, 0]) / across
            share = (start[:, 0] * rays[:, None, 1] - start[:, 1] * rays[:, None, 0]) / across
        hit = (np.abs(across) > 1e-9) & (far > 1e-3) & (share >= 0) & (share <= 1)
        far = np.where(hit, far, np.inf)
        order = np.argsort(far, axis=1, kind="stable")[:, :_CROSSINGS]
        return order, np.take_along_axis(far, order, axis=1)


class Ground:
    """A connected piece of level ground; a `scenes.motion.Space` in metres, with +z north."""

    def __init__(self, level: Level, sectors: NDArray[np.bool_], unit: float, margin: float) -> None:
        """Take its border.

        Args:
            level: The level.
            sectors: (S,) which of its sectors are part of it.
            unit: Map units of a metre.
            margin: Metres that the player's body is wider than a camera.
        """
        inside = np.concatenate([sectors, [False]])[level.sides]  # side -1 is the last
        border = inside[:, 0] != inside[:, 1]
        self._border = level.lines[border] / unit
        self._walls = level.lines[border | (inside.all(1) & level.blocking)] / unit
        self._margin = margin
        x, z = self._border[:, [0, 2]], self._border[:, [1, 3]]
        self.bounds = (float(x.min()), float(x.max()), float(z.min()), float(z.max()))

    def clearance(self, points: Array) -> Array:
        """Metres from points (..., 3) to the border, less the margin; negative outside. Heights do not count."""
        flat = points[..., [0, 2]].reshape(-1, 2)
        start, along = self._walls[:, :2], self._walls[:, 2:] - self._walls[:, :2]
        away = flat[:, None] - start
        share = ((away * along).sum(-1) / np.square(along).sum(-1).clip(1e-12)).clip(0, 1)
        distance = np.linalg.norm(away - share[..., None] * along, axis=-1).min(1)
        inside = _crosses(self._border, flat).sum(1) % 2 == 1
        found: Array = (np.where(inside, distance, -distance) - self._margin).reshape(points.shape[:-1])
        return found


def _crosses(lines: Array, points: Array) -> NDArray[np.bool_]:
    """Whether the way east from each of (P, 2) points crosses each of (N, 4) lines: (P, N)."""
    x1, y1, x2, y2 = lines.T
    x, y = points[:, :1], points[:, 1:]
    at = x1 + (x2 - x1) * (y - y1) / np.where(y1 == y2, 1.0, y2 - y1)
    found: NDArray[np.bool_] = ((y1 > y) != (y2 > y)) & (x < at)
    return found
