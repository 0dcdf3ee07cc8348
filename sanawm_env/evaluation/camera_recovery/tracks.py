"""Points followed through a video with OpenCV: corners, pyramidal Lucas-Kanade, and a check against the start.

Coordinates here are OpenCV's: the centre of the top left pixel is (0, 0). Everywhere else in this project it is
(0.5, 0.5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2

__all__ = ["Pixels", "corners", "follow", "soften", "tidy"]

Pixels = NDArray[np.float64]
Image = NDArray[np.uint8]

WINDOW = 11
"""Side of the patch that is matched, pixels."""
LEVELS = 3
"""Halvings of the image that the search starts from."""
SPACING = 6
"""Least distance between points, pixels."""
_BORDER = 4
_BLUR = 1.0
"""Sigma, pixels. It takes the stairs off hard edges, which otherwise pull sub-pixel positions to the grid."""
_CORNER_RATIO = 0.3
"""Least ratio of the two gradient eigenvalues. Below it is an edge, along which a point slides."""
_CORNER_SHARE = 0.01
"""Least strength of a corner, as a share of the picture's 99th percentile."""
_ROUND_TRIP = 0.7
"""Pixels by which a point followed there and back may miss its start."""
_TIDY_REACH = 2.0
"""Pixels by which `tidy` may move a point."""
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01)


def soften(frame: Image) -> Image:
    """A frame as the tracker wants it: slightly blurred, `(H, W, 3)` uint8."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), _BLUR), dtype=np.uint8)


def corners(frame: Image, taken: Pixels, most: int) -> Pixels:
    """New points to follow: the strongest corners away from the points that exist.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        taken: `(N, 2)` x, y of points that exist.
        most: How many points to return at most.

    Returns:
        `(M, 2)` x, y, strongest first.
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    both: Any = cv2.cornerEigenValsAndVecs(gray, 5, 3)[..., :2]
    weak, strong = both.min(-1), both.max(-1)
    score = np.where(weak > _CORNER_RATIO * strong, weak, 0).astype(np.float32)
    score[score <= max(_CORNER_SHARE * float(np.percentile(weak, 99)), 1e-9)] = 0
    peak = (score > 0) & (score == cv2.dilate(score, np.ones((3, 3))))
    inner = np.zeros_like(peak)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    y, x = np.nonzero(peak & inner)
    found = np.stack([x, y], -1)[np.argsort(-score[y, x], kind="stable")].astype(np.float64)
    all_points = list(taken)
    new: list[Any] = []
    for point in found:
        if len(new) >= most:
            break
        if not all_points or np.abs(np.asarray(all_points) - point).max(1).min() >= SPACING:
            all_points.append(point)
            new.append(point)
    return np.array(new).reshape(-1, 2)


def follow(before: Image, after: Image, points: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Where points of one frame are in the next.

    A point is lost if it leaves the picture or does not come back when followed backwards.

    Args:
        before: `(H, W, 3)` uint8.
        after: Likewise.
        points: `(N, 2)` x, y in `before`.

    Returns:
        `(N, 2)` x, y in `after`, and `(N,)` whether the point was kept.
    """
    if not len(points):
        return points, np.zeros(0, dtype=bool)
    start = points.astype(np.float32)[:, None]
    options: Any = {"winSize": (WINDOW, WINDOW), "maxLevel": LEVELS, "criteria": _STOP}
    there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)  # type: ignore[call-overload]
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)  # type: ignore[call-overload]
    found = there[:, 0].astype(np.float64)
    limit = np.array([after.shape[1], after.shape[0]]) - _BORDER
    kept = (seen[:, 0] > 0) & (seen_back[:, 0] > 0) & (np.linalg.norm(back - start, axis=2)[:, 0] < _ROUND_TRIP)
    kept &= ((found >= _BORDER - 1) & (found < limit)).all(1)
    return found, kept


def tidy(home: Image, now: Image, origin: Pixels, points: Pixels) -> Pixels:
    """Corrects slow drift: matches the patch of the frame where points were found, near where they are now.

    Args:
        home: `(H, W, 3)` uint8, the frame in which the points were found.
        now: The present frame.
        origin: `(N, 2)` x, y in `home`.
        points: `(N, 2)` x, y in `now` by frame-to-frame tracking.

    Returns:
        `(N, 2)` x, y in `now`; a point whose patch no longer looks alike stays where it was.
    """
    options: Any = {
        "winSize": (WINDOW, WINDOW),
        "maxLevel": 0,
        "criteria": _STOP,
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    guess = points.astype(np.float32)[:, None].copy()
    found, seen, _ = cv2.calcOpticalFlowPyrLK(home, now, origin.astype(np.float32)[:, None], guess, **options)
    moved = found[:, 0].astype(np.float64)
    good = (seen[:, 0] > 0) & (np.linalg.norm(moved - points, axis=1) < _TIDY_REACH)
    return np.where(good[:, None], moved, points)
