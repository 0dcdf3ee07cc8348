"""How far two paths of one clip are apart, whatever their world frames and scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

__all__ = ["Apart", "apart", "path_length", "similarity"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Apart:
    """The difference of two paths after the similarity transform that fits best."""

    share: float
    """RMS distance of positions, as a share of the path's length; infinite if the path has none."""
    degrees: float
    """Mean angle between rotations."""


def path_length(c2w: Array) -> float:
    """Length of a path `(n, 4, 4)`."""
    return float(np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1).sum())


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation `(3, 3)` and shift `(3,)` that bring one path over another.

    The rotation is the mean of what the poses' rotations say, so that a straight path, about which positions alone
    leave a turn open, has one as well.

    Args:
        source: `(n, 4, 4)` camera-to-world.
        target: `(n, 4, 4)` of the same frames.
    """
    turn = Rotation.from_matrix(target[:, :3, :3] @ np.swapaxes(source[:, :3, :3], 1, 2)).mean().as_matrix()
    moved, wanted = source[:, :3, 3] @ turn.T, target[:, :3, 3]
    a, b = moved - moved.mean(0), wanted - wanted.mean(0)
    scale = float((a * b).sum() / max(float((a * a).sum()), 1e-300))
    return scale, np.asarray(turn), np.asarray(wanted.mean(0) - scale * moved.mean(0))


def apart(source: Array, target: Array) -> Apart:
    """Difference of two paths `(n, 4, 4)` of the same frames."""
    scale, turn, shift = similarity(source, target)
    off = scale * source[:, :3, 3] @ turn.T + shift - target[:, :3, 3]
    length = path_length(target)
    share = float(np.sqrt((off**2).sum(1).mean())) / length if length > 0 else float("inf")
    between = Rotation.from_matrix(np.swapaxes(turn @ source[:, :3, :3], 1, 2) @ target[:, :3, :3])
    return Apart(share if scale > 0 else float("inf"), float(np.rad2deg(between.magnitude().mean())))
