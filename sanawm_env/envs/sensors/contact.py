"""Contact of an upright body with what the depth shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Body", "Contact", "free_path", "stop_short"]


@dataclass(frozen=True)
class Body:
    """An upright cylinder that carries the camera."""

    radius: float = 0.18
    """Metres."""
    height: float = 0.4
    """Metres."""
    camera: float = 0.3
    """Metres of the camera above the body's lowest point."""


@dataclass(frozen=True)
class Contact:
    """What a body has touched since the episode began."""

    collisions: int = 0
    """Steps that collided."""
    collided: bool = False
    """Whether the last step did."""
    clearance: float = math.inf
    """Metres between the body and the nearest thing that was seen, at the end of the last step."""


def free_path(
    points: NDArray[np.floating], c2w0: NDArray[np.float64], c2w: NDArray[np.float64], body: Body
) -> tuple[float, float]:
    """Share of the path's length that keeps the radius, and the clearance (m) at the end of that share.

    Args:
        points: `(M, 3)` in the world's axes.
        c2w0: `(4, 4)` pose before.
        c2w: `(F, 4, 4)` poses of the step.
        body: Who moves.
    """
    centres = np.concatenate([c2w0[None, :3, 3], c2w[:, :3, 3]])
    if not len(points):
        return 1.0, math.inf
    low = centres[:, 1] + body.camera
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    clear = np.empty(len(centres))
    for i, centre in enumerate(centres):
        beside = (points[:, 1] < low[i]) & (points[:, 1] > low[i] - body.height)
        flat = np.hypot(points[beside, 0] - centre[0], points[beside, 2] - centre[2])
        clear[i] = flat.min(initial=math.inf) - body.radius
    hit = np.flatnonzero(clear[1:] < 0)
    if not len(hit) or steps[-1] == 0:
        return 1.0, float(clear[-1])
    return float(steps[hit[0]] / steps[-1]), float(clear[hit[0]])


def stop_short(c2w0: NDArray[np.float64], c2w: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The same rotations, with positions that run along the same path only up to `share` of its length."""
    centres = np.concatenate([c2w0[None, :3, 3], c2w[:, :3, 3]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    stopped = c2w.copy()
    for axis in range(3):
        stopped[:, axis, 3] = np.interp(share * length[1:], length, centres[:, axis])
    return stopped
