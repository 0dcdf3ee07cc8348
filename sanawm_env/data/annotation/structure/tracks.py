"""What can be followed through a clip: corners by Lucas-Kanade in every frame, and SIFT between chosen frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.data.episode import Frames
from sanawm_env.evaluation.camera_recovery.tracks import corners, follow, soften, tidy

__all__ = [
    "LEAST_KEYFRAMES",
    "WORK_WIDTH",
    "Tracks",
    "choose_keyframes",
    "enlarged",
    "shared",
    "sift_matches",
    "track",
    "work_size",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

WORK_WIDTH = 640
"""Wider frames are shrunk to this for tracking, pixels."""
MOST_POINTS = 400
"""Corners in view at a time."""
_REFILL_EVERY = 4
_KEY_SHIFT = 0.025
"""Median move of the points from one keyframe to the next, as a share of the picture's width."""
_LEAST_STEP = 1.0
"""Pixels from a keyframe to the next, at least, unless points are lost."""
_KEY_LOST = 0.45
"""A keyframe also comes when so many of the last one's points are lost."""
MOST_KEYFRAMES = 48
LEAST_KEYFRAMES = 12
"""That a clip is mapped from: what two or three views say, no other view confirms."""
_SIFT_POINTS = 1200
_RATIO = 0.8
_MOST_ENLARGED, _LEAST_ENLARGED = 2.0, 1.2
_HALF = 0.5
"""From OpenCV's pixels, whose origin is the centre of the first one, to ours."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Corners of a clip, and what its pictures are like."""

    ids: tuple[Index, ...]
    """For each frame `(n,)`: which corners are in view."""
    points: tuple[Array, ...]
    """For each frame `(n, 2)`: where, in pixels of the work picture, whose upper left corner is (0, 0)."""
    size: tuple[int, int]
    """Rows and columns of the work picture."""
    luma: Array
    """`(F,)` mean brightness, 0 to 255."""
    sharpness: Array
    """`(F,)` standard deviation of the Laplacian, grey levels."""
    change: Array
    """`(F,)` mean absolute change of brightness since the frame before; 0 for the first."""
    keep: tuple[Frames, ...] = ()
    """Work pictures of all frames, JPEG-compressed."""

    def __len__(self) -> int:
        """F."""
        return len(self.ids)

    def picture(self, frame: int) -> Frames:
        """`(H, W, 3)` RGB, the work picture of a frame."""
        image = cv2.imdecode(np.asarray(self.keep[frame]), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(np.asarray(image)[..., ::-1], np.uint8)


def work_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns at which a picture is tracked."""
    shrink = min(1.0, WORK_WIDTH / max(width, height))
    return max(round(height * shrink), 1), max(round(width * shrink), 1)


def track(frames: Iterable[Frames], size: tuple[int, int]) -> Tracks:
    """Follow corners through a clip.

    Args:
        frames: `(H, W, 3)` uint8 RGB, one after another.
        size: Rows and columns of the pictures to work on, see `work_size`.
    """
    ids: list[Index] = []
    points: list[Array] = []
    looks: list[tuple[float, float, float]] = []
    kept: list[Frames] = []
    homes: dict[int, Frames] = {}
    before = gray_before = None
    number, at = np.zeros(0, np.int64), np.zeros((0, 2))
    home, origin = np.zeros(0, np.int64), np.zeros((0, 2))
    made = 0
    for index, frame in enumerate(frames):
        how = cv2.INTER_AREA if size[1] < frame.shape[1] else cv2.INTER_CUBIC
        small = cv2.resize(frame, size[::-1], interpolation=how) if frame.shape[:2] != size else frame
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        change = 0.0 if gray_before is None else float(cv2.absdiff(gray, gray_before).mean())
        looks.append((float(gray.mean()), float(cv2.Laplacian(gray, cv2.CV_32F).std()), change))
        kept.append(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
        image = soften(np.asarray(small, np.uint8))
        if before is not None and len(at):
            found, good = follow(before, image, at)
            number, at, home, origin = number[good], found[good], home[good], origin[good]
            for anchor in np.unique(home):
                mine = home == anchor
                if anchor < index - 1:
                    at[mine] = tidy(homes[int(anchor)], image, origin[mine], at[mine])
            homes = {anchor: homes[anchor] for anchor in map(int, np.unique(home))}
        if index % _REFILL_EVERY == 0 and len(at) < 0.9 * MOST_POINTS:
            new = corners(image, at, MOST_POINTS - len(at))
            number = np.concatenate([number, np.arange(made, made + len(new))])
            made += len(new)
            at, origin = np.concatenate([at, new]), np.concatenate([origin, new])
            home = np.concatenate([home, np.full(len(new), index)])
            homes[index] = image
        ids.append(number.copy())
        points.append(at + _HALF)
        before, gray_before = image, gray
    luma, sharpness, change_ = np.array(looks, float).reshape(-1, 3).T
    return Tracks(tuple(ids), tuple(points), size, luma, sharpness, change_, tuple(kept))


def enlarged(tracks: Tracks) -> Tracks | None:
    """The same clip followed in pictures of twice the size, at most `WORK_WIDTH` wide; None if they are as wide now.

    A corner is followed by a window of some pixels, which in a small picture spans a thing and what is behind it.
    """
    height, width = tracks.size
    scale = min(_MOST_ENLARGED, WORK_WIDTH / max(height, width))
    if scale < _LEAST_ENLARGED:
        return None
    return track(map(tracks.picture, range(len(tracks))), (round(height * scale), round(width * scale)))


def shared(tracks: Tracks, a: int, b: int) -> tuple[Index, Index]:
    """Rows of the corners that frames `a` and `b` both see."""
    _, rows_a, rows_b = np.intersect1d(tracks.ids[a], tracks.ids[b], assume_unique=True, return_indices=True)
    return rows_a, rows_b


def choose_keyframes(tracks: Tracks, spacing: float = 1.0, least: int = 2) -> list[int]:
    """Frames to map: the first, the last, and whenever the points have moved or gone.

    Args:
        tracks: Of the clip.
        spacing: Thins them out.
        least: Of a clip that moves little they are nearer to each other, until there are so many.
    """
    step = spacing * _KEY_SHIFT * tracks.size[1]
    keys = _spaced(tracks, step)
    while len(keys) < least and step > _LEAST_STEP:
        step *= 0.8
        keys = _spaced(tracks, step)
    while len(keys) > MOST_KEYFRAMES:
        if step > tracks.size[1]:
            picked = np.linspace(0, len(keys) - 1, MOST_KEYFRAMES).round().astype(int)
            return [keys[i] for i in picked]
        step *= 1.25
        keys = _spaced(tracks, step)
    return keys


def _spaced(tracks: Tracks, step: float) -> list[int]:
    """The first, the last, and every frame whose points are lost or have moved by `step` pixels since the last key."""
    keys = [0]
    for frame in range(1, len(tracks)):
        a, b = shared(tracks, keys[-1], frame)
        lost = 1 - len(a) / max(len(tracks.ids[keys[-1]]), 1)
        moved = np.linalg.norm(tracks.points[keys[-1]][a] - tracks.points[frame][b], axis=1)
        if lost > _KEY_LOST or (len(moved) and np.median(moved) > step):
            keys.append(frame)
    if keys[-1] != len(tracks) - 1:
        if len(keys) > 1 and len(tracks) - 1 - keys[-1] < 2:
            keys[-1] = len(tracks) - 1
        else:
            keys.append(len(tracks) - 1)
    return keys


def sift_matches(
    tracks: Tracks, keys: Sequence[int]
) -> tuple[list[Array], Iterator[tuple[int, int, NDArray[np.uint32]]]]:
    """SIFT points of keyframes, and the matches of each pair of them.

    Returns:
        For each keyframe `(n, 2)` points; and `(i, j, (m, 2) rows)` for pairs of keyframes.
    """
    finder: Any = cast(Any, cv2).SIFT_create(nfeatures=_SIFT_POINTS, contrastThreshold=0.02)
    points, signs = [], []
    for key in keys:
        gray = cv2.imdecode(np.asarray(tracks.keep[key]), cv2.IMREAD_GRAYSCALE)
        found, sign = finder.detectAndCompute(gray, None)
        points.append(np.array([each.pt for each in found], float).reshape(-1, 2) + _HALF)
        sign = np.zeros((0, 128), np.float32) if sign is None else sign
        signs.append(np.sqrt(sign / np.maximum(sign.sum(1, keepdims=True), 1e-9)))  # RootSIFT

    def pairs() -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
        for i, j in combinations(range(len(keys)), 2):
            if min(len(signs[i]), len(signs[j])) >= 8:
                yield i, j, _mutual(signs[i], signs[j])

    return points, pairs()


def _mutual(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Rows of descriptors that are each other's nearest, clearly nearer than the second."""
    alike = a @ b.T
    nearest, back = alike.argmax(1), alike.argmax(0)
    best = alike[np.arange(len(a)), nearest]
    alike[np.arange(len(a)), nearest] = -1
    second = alike.max(1)
    clear = (2 - 2 * best) < _RATIO**2 * (2 - 2 * second)
    rows = np.nonzero(clear & (back[nearest] == np.arange(len(a))))[0]
    return np.stack([rows, nearest[rows]], 1).astype(np.uint32)
