"""Camera poses recovered from frames alone, with OpenCV's trackers and solvers.

Corners are tracked from frame to frame; each camera is placed by the landmarks in view (`cv2.solvePnPRansac`).
Landmarks of frame 0 have the depth that the caller gives, or, where none is given, the depth that the first
pair of frames with enough parallax shows (`cv2.findEssentialMat`), up to one unknown scale. As they leave the
view new ones take over. The world that made the frames, and the poses that it was asked for, play no part.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera.intrinsics import check_fov
from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.camera_recovery.landmarks import Landmarks, Sighting
from sanawm_env.evaluation.camera_recovery.tracks import corners, follow, soften, tidy
from sanawm_env.evaluation.camera_recovery.two_views import start_depths

__all__ = ["MIN_SHARE", "RecoveredPoses", "recover_poses"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MIN_SHARE = 0.8
"""A recovery with fewer of the poses than this has failed: the poses that are left are the easy ones."""
MOST_POINTS = 300
REFILL = 0.8
"""New corners are sought when fewer than this share of `MOST_POINTS` is in view."""
FIT_PIXELS = (1.0, 2.0, 3.0)
"""Errors within which a landmark fits, tried in turn: a world draws with less precision than a renderer."""
MIN_FITTING = 12
MIN_FITTING_SHARE = 0.4
WORK_WIDTH = 448
"""Wider frames are shrunk to this: the pixel limits above are meant for pictures of a few hundred pixels."""
_MIN_SIDE = 32
_CELLS = (4, 7)
_PER_CELL = 3
_NEIGHBOURS = 5
_FORGIVEN = 2
"""Frames in a row in which a landmark may fail to fit before it is dropped."""
_MEMORY = 20
"""Sightings, every other frame, that depths are refined on."""
_FRONT = 0.15
"""Depth steps by more than this share within two pixels are an edge: its corner moves with the nearer side."""


@dataclass(frozen=True, eq=False)
class RecoveredPoses:
    """What could be recovered from a video."""

    c2w: Array
    """`(n, 4, 4)` camera-to-world relative to frame 0; NaN where not recovered."""
    frames: Index
    """`(n,)` frames of the video that the poses belong to, 0 first."""
    ok: NDArray[np.bool_]
    """`(n,)` whether the pose was recovered. That of frame 0 always is."""
    metric: bool
    """Translations are metres; otherwise they have one unknown scale."""
    reason: str
    """Why poses are missing; empty when none is."""

    @property
    def failed(self) -> bool:
        """Fewer than `MIN_SHARE` of the poses after the first were recovered."""
        return len(self.ok) < 2 or float(self.ok[1:].mean()) < MIN_SHARE


def recover_poses(
    frames: NDArray[np.uint8], intrinsics: ArrayLike, *, every: int = 4, depth0: ArrayLike | None = None
) -> RecoveredPoses:
    """Recover the path of the camera.

    Args:
        frames: `(F, H, W, 3)` uint8 RGB, F at least 2, sides at least 32 pixels.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels.
        every: Poses are returned for frames 0, every, 2 * every, ...; all frames are tracked.
        depth0: `(H, W)` z-depth of frame 0, metres, infinite for the sky; None if unknown.

    Returns:
        The poses. A failure is part of the result, with its reason, and no exception.

    Raises:
        ValueError: Inputs of another layout.
    """
    video, camera, depth = _check(frames, intrinsics, every, depth0)
    shrink = min(1.0, WORK_WIDTH / video.shape[2])
    if shrink < 1:
        size = (round(video.shape[2] * shrink), round(video.shape[1] * shrink))
        camera = camera * np.array([size[0] / video.shape[2], size[1] / video.shape[1]] * 2)
        images = [soften(cv2.resize(f, size, interpolation=cv2.INTER_AREA).astype(np.uint8)) for f in video]
        if depth is not None:
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float64)
    else:
        images = [soften(frame) for frame in video]
    poses, reason = _Recovery(images, camera, depth).run()
    chosen = np.arange(0, len(video), every)
    kept = poses[chosen]
    ok = np.isfinite(kept[:, 0, 0])
    return RecoveredPoses(kept, chosen, ok, depth is not None, "" if ok.all() else reason)


class _Recovery:
    """One pass through a video."""

    def __init__(self, images: list[NDArray[np.uint8]], camera: Array, depth: Array | None) -> None:
        self.images, self.depth = images, depth
        self.focal, self.centre = camera[:2], camera[2:]
        # In OpenCV's pixel coordinates, where the first pixel's centre is 0.
        self.matrix = np.array([[camera[0], 0, camera[2] - 0.5], [0, camera[1], camera[3] - 0.5], [0, 0, 1]])
        self.size = np.array([images[0].shape[1], images[0].shape[0]])
        self.poses = np.full((len(images), 4, 4), np.nan)
        self.poses[0] = np.eye(4)
        self.marks = Landmarks()
        self.home: Array = np.zeros((0, 2))
        """`(N, 2)` pixels of each landmark in its anchor."""
        self.at: Array = np.zeros((0, 2))
        """`(M, 2)` pixels of the landmarks in view."""
        self.view: Index = np.zeros(0, dtype=np.int64)
        """`(M,)` their numbers."""
        self.last = (np.zeros((3, 1)), np.zeros((3, 1)))
        """Rotation vector and translation, world to camera, of the last recovered frame."""

    def run(self) -> tuple[Array, str]:
        """Poses `(F, 4, 4)` and why some are missing."""
        points, inverse = self._start()
        if len(points) < MIN_FITTING:
            return self.poses, f"frame 0 has {len(points)} points to hold on to; {MIN_FITTING} are needed"
        self._add(0, points, inverse, known=self.depth is not None)
        reason, recent = "", deque[Sighting](maxlen=_MEMORY)
        for frame in range(1, len(self.images)):
            self._track(frame)
            if frame % 2 == 0:
                recent.append((frame, self.view, self._rays(self.at)))
            problem = self._place(frame)
            if problem:
                reason = reason or f"frame {frame}: {problem}"
                continue
            self.marks.refine(self.poses, self.view, recent, float(self.focal[0]))
            if frame % 2 == 0 and len(self.view) < REFILL * MOST_POINTS:
                self._refill(frame)
        return self.poses, reason

    def _start(self) -> tuple[Array, Array]:
        """Points of frame 0 and their inverse depths."""
        points = corners(self.images[0], np.zeros((0, 2)), MOST_POINTS)
        if self.depth is None:
            return start_depths(self.images, points, self.matrix)
        return points, _inverse_depth(self.depth, points)

    def _rays(self, points: Array) -> Array:
        """`(N, 2)` pixels to x / z, y / z."""
        return np.asarray((points + 0.5 - self.centre) / self.focal)

    def _add(self, frame: int, points: Array, inverse: Array, *, known: bool) -> None:
        new = self.marks.add(frame, self._rays(points), inverse, known=known)
        self.home = np.concatenate([self.home, points])
        self.at, self.view = np.concatenate([self.at, points]), np.concatenate([self.view, new])

    def _track(self, frame: int) -> None:
        found, kept = follow(self.images[frame - 1], self.images[frame], self.at)
        self.at, self.view = found[kept], self.view[kept]
        anchors = self.marks.anchor[self.view]
        for anchor in np.unique(anchors):
            if anchor < frame - 1:
                mine = anchors == anchor
                origin = self.home[self.view[mine]]
                self.at[mine] = tidy(self.images[anchor], self.images[frame], origin, self.at[mine])

    def _place(self, frame: int) -> str:
        """Finds the pose of a frame; says what went wrong, if anything did."""
        if len(self.view) < MIN_FITTING:
            return f"{len(self.view)} points left in view, {MIN_FITTING} are needed"
        places = self.marks.places(self.poses, self.view)
        use = self._oldest()
        for limit in FIT_PIXELS:
            solved = _solve(places, self.at, use, self.matrix, self.last, limit)
            if solved is None:
                continue
            pose, error = solved
            fits = error < limit
            if fits.sum() >= max(MIN_FITTING, MIN_FITTING_SHARE * len(self.view)):
                break
        else:
            return f"no camera fits {MIN_FITTING_SHARE:.0%} of {len(self.view)} points within {FIT_PIXELS[-1]} pixels"
        self.last = pose
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = cv2.Rodrigues(pose[0])[0], pose[1][:, 0]
        self.poses[frame] = np.linalg.inv(world_to_camera)
        self.marks.misses[self.view] = np.where(fits, 0, self.marks.misses[self.view] + 1)
        kept = self.marks.misses[self.view] <= _FORGIVEN
        self.at, self.view = self.at[kept], self.view[kept]
        return ""

    def _oldest(self) -> Index:
        """Rows of `view` that are used: the oldest few of each part of the picture.

        Every hand-over to new landmarks adds its own error, and many points in one place outvote the others.
        """
        cell = (self.at * _CELLS[::-1] // self.size).clip(0).astype(np.int64)
        number = cell[:, 1] * _CELLS[1] + cell[:, 0]
        order = np.lexsort((self.marks.anchor[self.view], number))
        ordered = number[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        chosen = np.sort(order[rank < _PER_CELL])
        return chosen if len(chosen) >= MIN_FITTING else np.arange(len(self.view))

    def _refill(self, frame: int) -> None:
        """Adds corners; their depths are guessed from the nearest landmarks in the picture."""
        new = corners(self.images[frame], self.at, MOST_POINTS - len(self.view))
        if not len(new):
            return
        to_camera = np.linalg.inv(self.poses[frame])
        depth = self.marks.places(self.poses, self.view) @ to_camera[2, :3] + to_camera[2, 3]
        apart = np.linalg.norm(new[:, None] - self.at[None], axis=2)
        near = np.argsort(apart, axis=1)[:, :_NEIGHBOURS]
        self._add(frame, new, np.median(1 / np.maximum(depth, 0.05)[near], axis=1), known=False)


def _solve(
    places: Array, points: Array, use: Index, matrix: Array, guess: tuple[Array, Array], limit: float
) -> tuple[tuple[Array, Array], Array] | None:
    """Rotation vector and translation (world to camera), and the error of all points, pixels; None if none fits."""
    try:
        found, turn, move, fitting = cv2.solvePnPRansac(
            places[use], points[use], matrix, None, guess[0].copy(), guess[1].copy(), True, 200, limit, 0.999,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )  # fmt: skip
        if not found or fitting is None or len(fitting) < MIN_FITTING // 2:
            return None
        rows = use[fitting[:, 0]]
        refined = cv2.solvePnPRefineLM(places[rows], points[rows], matrix, None, turn, move)
    except cv2.error:  # points in a degenerate position
        return None
    turn, move = (np.asarray(part, dtype=np.float64) for part in refined)
    if not (np.isfinite(turn).all() and np.isfinite(move).all()):
        return None
    shown = cv2.projectPoints(places, turn, move, matrix, None)[0][:, 0]
    # The projection does not mind points behind the camera, which no camera sees.
    ahead = (places @ cv2.Rodrigues(turn)[0].T + move[:, 0])[:, 2] > 0
    return (turn, move), np.where(ahead, np.linalg.norm(shown - points, axis=1), np.inf)


def _inverse_depth(depth: Array, points: Array) -> Array:
    """Inverse depth at `(N, 2)` points: between pixels on surfaces, that of the nearer side at edges."""
    if not len(points):
        return np.zeros(0)
    inverse = np.where(np.isfinite(depth), 1 / np.maximum(depth, 1e-3), 0).astype(np.float32)
    nearest, farthest = cv2.dilate(inverse, np.ones((5, 5))), cv2.erode(inverse, np.ones((5, 5)))
    x, y = np.rint(points).astype(np.int64).T
    high, low = nearest[y, x], farthest[y, x]
    columns, rows = points.astype(np.float32).T[:, None]
    smooth = cv2.remap(inverse, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.where(high > low * (1 + _FRONT) + 0.02, high, smooth).astype(np.float64)


def _check(
    frames: NDArray[np.uint8], intrinsics: ArrayLike, every: int, depth0: ArrayLike | None
) -> tuple[NDArray[np.uint8], Array, Array | None]:
    video, camera = np.asarray(frames), np.asarray(intrinsics, dtype=np.float64)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) < 2:
        raise ValueError(f"recover_poses needs (F >= 2, H, W, 3) uint8 frames; got {video.shape} {video.dtype}.")
    if min(video.shape[1:3]) < _MIN_SIDE:
        raise ValueError(f"frames of {video.shape[2]}x{video.shape[1]} pixels are too small; need {_MIN_SIDE}.")
    if camera.shape != (4,) or not np.isfinite(camera).all() or (camera[:2] <= 0).any():
        raise ValueError(f"intrinsics must be fx, fy, cx, cy in pixels, shape (4,); got {camera}.")
    check_fov(camera, video.shape[2], video.shape[1])
    if every < 1:
        raise ValueError(f"every must be at least 1 frame; got {every}.")
    if depth0 is None:
        return video, camera, None
    depth = np.asarray(depth0, dtype=np.float64)
    if depth.shape != video.shape[1:3] or not (depth > 0).all():
        raise ValueError(f"depth0 must be positive metres of shape {video.shape[1:3]} (sky: inf); got {depth.shape}.")
    return video, camera, depth
