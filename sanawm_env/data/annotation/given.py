"""Poses that come with the pictures: checked against what the pictures show, in particular for the usual mistakes.

Files of poses do not say what their numbers mean. Read with another camera's axes, or backwards, the same numbers are
another motion, which the followed points contradict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.annotation.structure.agreement import path_length
from sanawm_env.data.annotation.structure.gates import Limits, check_lens, check_path, check_pictures, look_figures
from sanawm_env.data.annotation.structure.motion import bearings
from sanawm_env.data.annotation.structure.solve import Solution
from sanawm_env.data.annotation.structure.tracks import Tracks, shared
from sanawm_env.data.formats.common.facts import from_first

__all__ = ["READINGS", "check_given", "explained"]

Array = NDArray[np.float64]

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])

READINGS: Mapping[str, Any] = {
    "as they are": lambda c2w: c2w,
    "with OpenGL's axes (+y up, -z ahead)": lambda c2w: c2w @ _FLIP,
    "as world to camera": np.linalg.inv,
    "as world to camera with OpenGL's axes": lambda c2w: np.linalg.inv(c2w) @ _FLIP,
}
"""What numbers can mean, by name."""

MOST_PAIRS = 40
_SHIFT = 0.02
"""Least move of the points between two frames that are compared, as a share of the width."""
_FITS = 3.0
"""Pixels by which a point may miss its epipolar line."""
_EXPLAINED = 0.6
"""Share of points that right poses explain at least."""
_BETTER = 0.1
"""Another reading must explain so much more."""


def check_given(tracks: Tracks, c2w: Array, intrinsics: Array, limits: Limits | None = None) -> Solution:
    """Poses that were given, or the reasons against them.

    Args:
        tracks: Of the clip.
        c2w: `(F, 4, 4)` camera-to-world, OpenCV axes, one for each frame, or so it is said.
        intrinsics: `(4,)` in pixels of the work picture.
        limits: Of what is accepted.
    """
    limits = limits or Limits()
    figures: dict[str, Any] = look_figures(tracks) | {"poses": "given"}
    still = path_length(c2w) == 0
    figures["motion"] = "turns only" if still else "moves"
    wrong = check_pictures(figures, limits) + check_lens(intrinsics, *tracks.size, limits)
    more, rough = check_path(c2w, limits)
    figures |= more
    pairs = _pairs(tracks)
    figures["pairs"] = len(pairs)
    if not pairs:
        wrong.append("its points move too little, or are lost too soon, to check the poses by")
        return Solution(from_first(c2w), intrinsics, figures, tuple(wrong + rough))
    shares = {name: explained(tracks, pairs, read(c2w), intrinsics) for name, read in READINGS.items()}
    figures["explained"] = shares
    own = shares["as they are"]
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > own + _BETTER and shares[best] > _EXPLAINED:
        wrong.append(
            f"the poses explain {own:.0%} of what moves in the pictures, and {shares[best]:.0%} when read {best}: "
            "convert them first"
        )
    elif own < _EXPLAINED:
        wrong.append(
            f"the poses explain {own:.0%} of what moves in the pictures, and {_EXPLAINED:.0%} are needed: another "
            "clock, another lens, or poses of something else"
        )
    return Solution(from_first(c2w), intrinsics, figures, tuple(wrong + rough))


def explained(tracks: Tracks, pairs: list[tuple[int, int]], c2w: Array, intrinsics: Array) -> float:
    """Share of followed points that lie near their epipolar lines and in front of both cameras."""
    fits: list[NDArray[np.bool_]] = []
    for i, j in pairs:
        a, b = shared(tracks, i, j)
        between = np.linalg.inv(c2w[j]) @ c2w[i]
        fits.append(
            _fits(
                bearings(tracks.points[i][a], intrinsics),
                bearings(tracks.points[j][b], intrinsics),
                between,
                intrinsics,
            )
        )
    return float(np.concatenate(fits).mean())


def _fits(here: Array, there: Array, between: Array, intrinsics: Array) -> NDArray[np.bool_]:
    limit = _FITS / intrinsics[:2].mean()
    turned, shift = here @ between[:3, :3].T, between[:3, 3]
    size = np.linalg.norm(shift)
    if size < 1e-9:
        return np.asarray(np.linalg.norm(turned - there, axis=1) < limit)
    # The angle of each ray to the plane of the other and the baseline.
    normal = np.cross(shift / size, turned)
    lean = np.linalg.norm(normal, axis=1)
    off = np.abs((normal * there).sum(1)) / np.maximum(lean, 1e-6)
    # Depths along both rays, from s turned + shift = t there; a point at infinity may err to either side.
    cross = np.cross(turned, there)
    base = np.maximum((cross**2).sum(1), 1e-12)
    first = (np.cross(there, shift) * cross).sum(1) / base
    second = (np.cross(turned, shift) * cross).sum(1) / base
    far = np.sqrt(base) < limit
    return np.asarray((off < limit) & (far | ((first > 0) & (second > 0))))


def _pairs(tracks: Tracks) -> list[tuple[int, int]]:
    """Pairs of frames between which the points move enough, spread over the clip."""
    found = []
    for i in range(0, len(tracks) - 1, max(len(tracks) // MOST_PAIRS, 1)):
        for j in range(i + 1, min(i + 33, len(tracks))):
            a, b = shared(tracks, i, j)
            if len(a) < 12:
                break
            if np.median(np.linalg.norm(tracks.points[i][a] - tracks.points[j][b], axis=1)) > _SHIFT * tracks.size[1]:
                found.append((i, j))
                break
    return found
