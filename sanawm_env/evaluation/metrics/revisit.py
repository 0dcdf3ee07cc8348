"""Does a place look the same when the camera comes back? Frame pairs, their scores, and a path that returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation, Slerp

from sanawm_env.camera import validate_c2w
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.similarity import gmsd, ssim

__all__ = ["BENCH_FPS", "Pair", "Revisit", "find_pairs", "loop_path", "remap_index", "score_pairs"]

BENCH_FPS = 16.0
"""Frame rate that the indices of SANA-WM-Bench count in."""
MAX_DISTANCE_M = 0.5
"""Cameras of a pair stand closer than this."""
MAX_ANGLE_DEG = 20.0
"""And are turned against each other by less than this."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two frames that see the same place."""

    frame_a: int
    """The earlier."""
    frame_b: int
    """The later."""
    distance_m: float
    """Between the cameras."""
    angle_diff_deg: float
    """Between their orientations."""
    quality_score: float
    """In [0, 1]: one minus the mean of distance and angle as shares of their limits. 1 is the same pose."""

    def to_dict(self) -> dict[str, float | int]:
        """JSON-ready, with the bench's own key names."""
        return asdict(self)


@dataclass(frozen=True)
class Revisit:
    """Scores of the pairs of one video."""

    psnr_db: tuple[float, ...]
    """Per pair."""
    ssim: tuple[float, ...]
    """Per pair."""
    gmsd: tuple[float, ...]
    """Per pair; a distance, and not LPIPS."""

    @property
    def pairs(self) -> int:
        """How many; 0 if the path never comes back."""
        return len(self.psnr_db)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `mean_...` are None without pairs."""
        scores = {name: list(values) for name, values in asdict(self).items()}
        means = {f"mean_{name}": float(np.mean(v)) if v else None for name, v in scores.items()}
        return {"pairs": self.pairs, **means, **scores}


def find_pairs(
    c2w: ArrayLike,
    fps: float = BENCH_FPS,
    *,
    min_gap_s: float = 2.0,
    max_distance: float = MAX_DISTANCE_M,
    max_angle: float = MAX_ANGLE_DEG,
    limit: int = 5,
    spread_s: float = 1.0,
) -> list[Pair]:
    """Frame pairs of a path that see the same place, best first.

    The camera must have left in between: some frame between the two is outside the limits as seen from the
    first. Otherwise a camera that stands still would revisit all the time. Pairs are taken by quality, later
    returns first among equals; one whose frames both lie within `spread_s` of those of a pair taken before
    adds nothing and is passed over.

    Args:
        c2w: `(F, 4, 4)` camera-to-world, metres.
        fps: Frames per second.
        min_gap_s: Seconds from one frame to the other, at least.
        max_distance: Metres; pairs are closer.
        max_angle: Degrees; pairs differ by less.
        limit: Pairs at most.
        spread_s: See above.

    Returns:
        Up to `limit` pairs; empty if the path never comes back.

    Raises:
        ValueError: Poses that are not rigid, or limits that are not positive.
    """
    poses = validate_c2w(c2w)
    if poses.ndim != 3:
        raise ValueError(f"a path has poses (F, 4, 4); got {poses.shape}.")
    if not (fps > 0 and max_distance > 0 and max_angle > 0 and min_gap_s >= 0 and spread_s >= 0 and limit > 0):
        raise ValueError(
            "fps, max_distance, max_angle and limit must be positive, min_gap_s and spread_s not negative."
        )
    distance, angle = _apart(poses)
    near = (distance < max_distance) & (angle < max_angle)
    frame = np.arange(len(poses))
    gap = frame[None] - frame[:, None]
    left = np.logical_or.accumulate(~near & (gap > 0), axis=1)
    a, b = np.nonzero(near & left & (gap >= max(1.0, min_gap_s * fps)))
    quality = 1 - (distance[a, b] / max_distance + angle[a, b] / max_angle) / 2
    taken: list[Pair] = []
    # Rounded, so that the last bits of poses that are meant to be equal do not decide.
    for i in np.lexsort((a, a - b, -quality.round(9))):
        if any(max(abs(a[i] - p.frame_a), abs(b[i] - p.frame_b)) <= spread_s * fps for p in taken):
            continue
        where = (a[i], b[i])
        taken.append(Pair(int(a[i]), int(b[i]), float(distance[where]), float(angle[where]), float(quality[i])))
        if len(taken) == limit:
            break
    return taken


def remap_index(frame: int, fps: float, frames: int, source_fps: float = BENCH_FPS) -> int:
    """Index, in a video of another frame rate, of the moment that `frame` names.

    Args:
        frame: Index at `source_fps`.
        fps: Frames per second of the video.
        frames: Length of the video.
        source_fps: Frame rate that the index counts in.

    Raises:
        ValueError: The moment lies outside the video.
    """
    index = round(frame / source_fps * fps)
    if not 0 <= index < frames:
        raise ValueError(
            f"frame {frame} at {source_fps:g} per second is frame {index} at {fps:g}; the video has {frames}. "
            "Roll out the whole path."
        )
    return index


def score_pairs(
    frames: ArrayLike, pairs: Sequence[Pair], fps: float = BENCH_FPS, source_fps: float = BENCH_FPS
) -> Revisit:
    """Compare the two frames of each pair in one video.

    Cameras of a pair stand up to half a metre apart, so a perfect world does not reach perfect scores: score
    the true renders, too.

    Args:
        frames: `(F, H, W, 3)` uint8.
        pairs: Of `find_pairs`, or of the bench.
        fps: Frames per second of the video.
        source_fps: Frame rate that the pairs count in.

    Raises:
        ValueError: Frames of another kind, or a pair outside the video.
    """
    video = np.asarray(frames)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video must be (F, H, W, 3) uint8; got {video.shape} {video.dtype}.")
    if not pairs:
        return Revisit((), (), ())
    a = [remap_index(pair.frame_a, fps, len(video), source_fps) for pair in pairs]
    b = [remap_index(pair.frame_b, fps, len(video), source_fps) for pair in pairs]
    scores = (tuple(metric(video[b], video[a]).tolist()) for metric in (psnr, ssim, gmsd))
    return Revisit(*scores)


def loop_path(c2w: ArrayLike, out_s: float, fps: float = BENCH_FPS, turn_s: float = 1.0) -> Array:
    """Out along a path and back along it.

    Time runs forwards at the path's own speed, slows down evenly over the last `turn_s / 2` seconds before
    the turn, and runs backwards the same way. So no frame is faster than the given path, and frames that lie
    at equal times from the turn have the same pose exactly.

    Args:
        c2w: `(F, 4, 4)` the way out, for example `Clips.c2w[i]` of a scene; at least `out_s` long.
        out_s: Seconds until the turn; the loop takes twice that.
        fps: Frames per second.
        turn_s: Seconds of slowing down and speeding up.

    Returns:
        `(2 n + 1, 4, 4)` with n = out_s * fps; it ends where it begins.

    Raises:
        ValueError: The path is too short, or is not rigid.
    """
    poses = validate_c2w(c2w)
    if poses.ndim != 3 or not (fps > 0 and out_s * fps >= 1 and turn_s >= 0):
        raise ValueError(f"need a path (F, 4, 4) and at least a frame of way out; got {poses.shape} and {out_s} s.")
    steps = round(out_s * fps)
    slow = min(turn_s / 2 * fps, steps)
    ahead = np.arange(steps, -1, -1, dtype=np.float64)  # frames left until the turn
    if slow > 1e-6:
        ahead = np.where(ahead < slow, ahead**2 / (2 * slow) + slow / 2, ahead)
    at = steps - ahead
    if at[-1] > len(poses) - 1:
        raise ValueError(f"a way out of {out_s:g} s needs {int(np.ceil(at[-1])) + 1} poses; the path has {len(poses)}.")
    out = _at(poses, at)
    return np.concatenate([out, out[-2::-1]])


def _apart(poses: Array) -> tuple[Array, Array]:
    """Metres and degrees between all frames: two `(F, F)`."""
    distance = cdist(poses[:, :3, 3], poses[:, :3, 3])
    # |Ra - Rb| = 2 sqrt(2) sin(angle / 2): exact for small angles, which the arc cosine of the trace is not.
    flat = poses[:, :3, :3].reshape(-1, 9)
    return distance, np.rad2deg(2 * np.arcsin(np.minimum(cdist(flat, flat) / np.sqrt(8), 1)))


def _at(poses: Array, at: Array) -> Array:
    """Poses at fractional indices: straight between positions, the shortest turn between orientations."""
    found = np.tile(np.eye(4), (len(at), 1, 1))
    index = np.arange(len(poses), dtype=np.float64)
    if len(poses) > 1:
        found[:, :3, :3] = Slerp(index, Rotation.from_matrix(poses[:, :3, :3]))(at).as_matrix()
    else:
        found[:, :3, :3] = poses[0, :3, :3]
    for i in range(3):
        found[:, i, 3] = np.interp(at, index, poses[:, i, 3])
    whole = at == np.floor(at)
    found[whole] = poses[at[whole].astype(int)]
    return found
