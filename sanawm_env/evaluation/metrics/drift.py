"""Does the picture stay what it was? Looks per time window, idle stability, collapse.

The numbers depend on what is in view as well: a camera that ends before a plain wall loses edges without any
fault of the world. Measure true renders along the same path the same way, and read one beside the other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.similarity import luma

__all__ = ["COLLAPSE_STD", "Drift", "Idle", "Look", "collapsed", "drift", "idle_stability", "is_collapsed", "look"]

COLLAPSE_STD = 2.0 / 255
"""A frame has collapsed if no colour channel's standard deviation reaches this share of full scale. The plainest
of 408 true renders along paths through free space reaches 7 / 255; from 30 cm before a plain wall a true one may have
half a level: read beside it whether the picture comes back."""
_REBLUR = 9
"""Length in pixels of the second blur of Crete et al."""
_NOISE = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """Appearance of an image, or the mean over a window of frames."""

    sharpness: float
    """Mean gradient energy of the luma (Tenengrad), squared levels per pixel. Not the variance of the Laplacian:
    that answers most of all to the checkerboard that a drifting decoder paints, a Sobel filter not at all."""
    quality: float
    """Imaging-quality proxy in [0, 1]: one minus the blur effect of Crete et al. 2007 ("The blur effect:
    perception and estimation with a new no-reference perceptual blur metric", SPIE 6492). The image is blurred
    once more; what was sharp changes, what was blurred stays. It does not depend on contrast. Noise raises it,
    therefore read `noise` beside it. It is not VBench's imaging quality (MUSIQ, a trained network)."""
    noise: float
    """Standard deviation of the noise in levels, after Immerkær 1996 ("Fast noise variance estimation")."""
    clipped: float
    """Share of colour values that are 0 or 255."""
    red: float
    """Mean level, 0..255."""
    green: float
    """Mean level."""
    blue: float
    """Mean level."""
    contrast: float
    """Standard deviation over the pixels of a frame, mean of the channels, levels."""
    saturation: float
    """Mean HSV saturation in [0, 1]."""

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Drift:
    """Looks of consecutive windows."""

    window_s: float
    """Seconds of a window."""
    windows: tuple[Look, ...]
    """In order."""

    @property
    def delta(self) -> dict[str, float]:
        """First window minus last, of every number: positive where the picture lost."""
        first, last = self.windows[0].to_dict(), self.windows[-1].to_dict()
        return {name: first[name] - last[name] for name in first}

    @property
    def ratio(self) -> dict[str, float | None]:
        """Last window over first; None where the first is 0."""
        first, last = self.windows[0].to_dict(), self.windows[-1].to_dict()
        return {name: last[name] / first[name] if first[name] else None for name in first}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        windows = [each.to_dict() for each in self.windows]
        return {"window_s": self.window_s, "windows": windows, "delta": self.delta, "ratio": self.ratio}


@dataclass(frozen=True)
class Idle:
    """How still a world stands when nothing moves."""

    psnr_db: tuple[float, ...]
    """PSNR against frame 0 at each whole second, from 1 s on; a shorter video gives its last frame."""
    psnr_last_db: float
    """Of the last frame."""
    flicker: float
    """Mean absolute difference of neighbouring frames, levels. The step from frame 0, which was given, to the
    first generated one is left out: `psnr_db` shows it."""
    flicker_max: float
    """The largest such difference of a pair, averaged over its pixels."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"psnr_db": list(self.psnr_db)}


def look(frame: ArrayLike) -> Look:
    """Appearance of one image.

    Args:
        frame: `(H, W, 3)` uint8 RGB, at least 3 pixels on a side.

    Raises:
        ValueError: Another kind of image.
    """
    image = np.asarray(frame)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or min(image.shape[:2]) < 3:
        raise ValueError(f"look needs an image (H, W, 3) uint8 of 3 or more pixels; got {image.shape} {image.dtype}.")
    plane, levels = luma(image), image.astype(np.float64)
    across, down = (cv2.Sobel(plane, cv2.CV_64F, *d, scale=1 / 8) for d in ((1, 0), (0, 1)))
    noise = np.abs(cv2.filter2D(plane, cv2.CV_64F, _NOISE)[1:-1, 1:-1]).mean() / 6 * np.sqrt(np.pi / 2)
    high, low = levels.max(-1), levels.min(-1)
    mean = levels.mean((0, 1))
    return Look(
        sharpness=float((across**2 + down**2).mean()),
        quality=1 - _blur_effect(plane),
        noise=float(noise),
        clipped=float(((image == 0) | (image == 255)).mean()),
        red=float(mean[0]),
        green=float(mean[1]),
        blue=float(mean[2]),
        contrast=float(levels.std((0, 1)).mean()),
        saturation=float(((high - low) / np.maximum(high, 1)).mean()),
    )


def drift(frames: ArrayLike, fps: float, window_s: float = 10.0) -> Drift:
    """Looks per window.

    Windows follow each other from frame 0 on; frames after the last whole window are left out (of 961 frames
    at 16 per second, that is one).

    Args:
        frames: `(F, H, W, 3)` uint8 RGB.
        fps: Frames per second.
        window_s: Seconds of a window.

    Raises:
        ValueError: Frames of another kind, or fewer than fill a window.
    """
    video = _video(frames)
    if not (fps > 0 and window_s > 0):
        raise ValueError(f"fps and window_s must be positive; got {fps} and {window_s}.")
    length = max(1, round(window_s * fps))
    if len(video) < length:
        raise ValueError(
            f"drift needs at least one window of {window_s:g} s, {length} frames at {fps:g} per second; the video "
            f"has {len(video)}. Roll out longer or shorten window_s."
        )
    names = [field.name for field in fields(Look)]
    table = np.array([[getattr(each, name) for name in names] for each in map(look, video)])
    count = len(video) // length
    means = table[: count * length].reshape(count, length, len(names)).mean(1)
    return Drift(window_s, tuple(Look(*row) for row in means.tolist()))


def idle_stability(frames: ArrayLike, fps: float) -> Idle:
    """Stability of a video under no motion.

    Args:
        frames: `(F, H, W, 3)` uint8, the given frame 0 first, at least three.
        fps: Frames per second.

    Raises:
        ValueError: Frames of another kind, or fewer than three.
    """
    video = _video(frames)
    if len(video) < 3 or not fps > 0:
        raise ValueError(f"idle stability needs at least 3 frames and fps > 0; got {len(video)} and {fps}.")
    whole = int((len(video) - 1) / fps)
    marks = [min(round(second * fps), len(video) - 1) for second in range(1, whole + 1)] or [-1]
    change = [np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(video[1:])]
    return Idle(
        psnr_db=tuple(float(psnr(video[mark], video[0])) for mark in marks),
        psnr_last_db=float(psnr(video[-1], video[0])),
        flicker=float(np.mean(change)),
        flicker_max=float(np.max(change)),
    )


def collapsed(frames: ArrayLike) -> NDArray[np.bool_]:
    """Which frames have collapsed: to one colour (see `COLLAPSE_STD`), or to values that are not finite.

    Args:
        frames: `(..., H, W, 3)` uint8, or floats with a full scale of 1.

    Returns:
        `(...)`.

    Raises:
        ValueError: Another shape or type.
    """
    video = np.asarray(frames)
    if video.ndim < 3 or not (video.dtype == np.uint8 or np.issubdtype(video.dtype, np.floating)):
        raise ValueError(f"collapse is looked for in (..., H, W, C) uint8 or floats; got {video.shape} {video.dtype}.")
    scale = 255.0 if video.dtype == np.uint8 else 1.0
    found = np.empty(video.shape[:-3], dtype=bool)
    for index in np.ndindex(found.shape):  # one at a time: a minute of floats would fill the memory
        frame = video[index].astype(np.float64)
        found[index] = not np.isfinite(frame).all() or bool((frame.std((0, 1)) < COLLAPSE_STD * scale).all())
    return found


def is_collapsed(frames: ArrayLike) -> bool:
    """Whether any frame has collapsed; see `collapsed`."""
    return bool(collapsed(frames).any())


def _video(frames: ArrayLike) -> NDArray[np.uint8]:
    video = np.asarray(frames)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video must be (F, H, W, 3) uint8; got {video.shape} {video.dtype}.")
    return video


def _blur_effect(plane: Array) -> float:
    """0 is sharp, 1 is blurred or plain; the worse of the two axes."""
    worst = 0.0
    for axis in (0, 1):
        size = (_REBLUR, 1) if axis else (1, _REBLUR)
        before = np.abs(np.diff(plane, axis=axis))
        after = np.abs(np.diff(cv2.blur(plane, size, borderType=cv2.BORDER_REFLECT), axis=axis))
        total = before.sum()
        lost = np.maximum(before - after, 0).sum()
        worst = max(worst, float((total - lost) / total) if total > 0 else 1.0)
    return worst
