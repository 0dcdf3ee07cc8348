"""Landmarks: points in space that a recovered camera is placed by, and their depths."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["Landmarks", "Sighting"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

Sighting = tuple[int, Index, Array]
"""A frame, the landmarks seen in it, and `(N, 2)` where: x / z and y / z in its camera."""

MIN_INVERSE_DEPTH = 1e-3
"""1/m; whatever is farther than a kilometre counts as that far."""
MAX_INVERSE_DEPTH = 20.0
_NOISE = 0.5
"""Pixels by which a sighting errs."""
_GUESS_SPREAD = 0.5
"""How far, as a share of itself, a guessed inverse depth may be off."""
_ROUNDS = 3


class Landmarks:
    """Landmarks by bearing and inverse depth in the frame where each was found (its anchor)."""

    def __init__(self) -> None:
        self.anchor: Index = np.zeros(0, dtype=np.int64)
        """`(N,)` frame of the anchor."""
        self.bearing: Array = np.zeros((0, 3))
        """`(N, 3)` x / z, y / z, 1 in the anchor's camera."""
        self.inverse: Array = np.zeros(0)
        """`(N,)` present inverse depth, 1/m."""
        self.guess: Array = np.zeros(0)
        """`(N,)` inverse depth at first."""
        self.known: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        """`(N,)` depth was given and is not to be refined."""
        self.misses: Index = np.zeros(0, dtype=np.int64)
        """`(N,)` frames in a row in which it did not fit the camera."""

    def add(self, anchor: int, bearing: Array, inverse: Array, *, known: bool) -> Index:
        """Adds landmarks found in one frame; returns their numbers."""
        begin, count = len(self.anchor), len(inverse)
        inverse = np.clip(inverse, MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)
        self.anchor = np.concatenate([self.anchor, np.full(count, anchor)])
        self.bearing = np.concatenate([self.bearing, np.column_stack([bearing, np.ones(count)])])
        self.inverse = np.concatenate([self.inverse, inverse])
        self.guess = np.concatenate([self.guess, inverse])
        self.known = np.concatenate([self.known, np.full(count, known)])
        self.misses = np.concatenate([self.misses, np.zeros(count, dtype=np.int64)])
        return np.arange(begin, begin + count)

    def places(self, poses: Array, which: Index) -> Array:
        """`(N, 3)` positions in the frame of the first camera, from `(F, 4, 4)` camera-to-world poses."""
        at = poses[self.anchor[which]]
        return np.einsum("nij,nj->ni", at[:, :3, :3], self.bearing[which] / self.inverse[which, None]) + at[:, :3, 3]

    def refine(self, poses: Array, which: Index, sightings: deque[Sighting], focal: float) -> None:
        """Fits the depths that were guessed to where the landmarks were seen, poses held fixed.

        A few robust Gauss-Newton rounds on each inverse depth, drawn to its first guess: while the camera only
        turns nothing else says how far a point is.

        Args:
            poses: `(F, 4, 4)` camera-to-world; NaN where not recovered.
            which: Landmarks that are in view.
            sightings: Of the frames to fit.
            focal: Pixels of focal length, to weigh sightings by.
        """
        which = which[~self.known[which]]
        if not len(which):
            return
        row = np.full(len(self.anchor), -1)
        row[which] = np.arange(len(which))
        at, ray, inverse = poses[self.anchor[which]], self.bearing[which], self.inverse[which].copy()
        guess = self.guess[which]
        rows, turned, moved, seen = [], [], [], []
        for frame, numbers, points in sightings:
            use = row[numbers] >= 0
            k = row[numbers[use]]
            use_anchor = self.anchor[which[k]] < frame
            k = k[use_anchor]
            if len(k) and np.isfinite(poses[frame, 0, 0]):
                between = np.linalg.inv(poses[frame]) @ at[k]
                rows.append(k)
                turned.append(np.einsum("nij,nj->ni", between[:, :3, :3], ray[k]))
                moved.append(between[:, :3, 3])
                seen.append(points[use][use_anchor])
        if not rows:
            return
        k, base, step, target = (np.concatenate(part) for part in (rows, turned, moved, seen))
        spread = _GUESS_SPREAD * np.maximum(guess, 0.05)
        for _ in range(_ROUNDS):
            q = base + inverse[k, None] * step
            z = np.where(np.abs(q[:, 2:]) < 1e-3, 1e-3, q[:, 2:])
            uv = q[:, :2] / z
            error = (uv - target) * (focal / _NOISE)
            slope = (step[:, :2] - uv * step[:, 2:]) / z * (focal / _NOISE)
            weight = 1 / np.maximum(1, np.linalg.norm(error, axis=1) * _NOISE)  # Huber, beyond one pixel
            curve = np.bincount(k, weight * (slope**2).sum(1), len(which)) + spread**-2
            pull = np.bincount(k, weight * (slope * error).sum(1), len(which)) + (inverse - guess) * spread**-2
            inverse = np.clip(inverse - pull / curve, MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)
        self.inverse[which] = inverse
