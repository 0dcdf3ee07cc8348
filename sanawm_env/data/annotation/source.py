"""Videos and folders of pictures as frames of 16 a second, upright, in 8-bit RGB, one at a time.

Whatever a camera writes (rotation flags, pixels that are not square, variable frame rate, 10 bits, 4:2:2) is undone
here. A frame is decoded, brought to its size and let go, so that two hours of 4K need no more memory than two seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.intrinsics import fit_geometry
from sanawm_env.camera.opencv import cv2
from sanawm_env.camera.resize import resized
from sanawm_env.data.episode import Frames

__all__ = ["FPS", "Source", "frames_of", "open_source"]

FPS = 16.0
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".pgm", ".ppm", ".tif", ".tiff")
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer curves of FFmpeg that are brighter than a screen."""
_LEAST_SIDE = 64
_SHORTENED = 0.5
"""Seconds that may be missing at the end before a file counts as cut off."""


@dataclass(frozen=True)
class Source:
    """A video, or a folder of pictures, before it is read."""

    path: Path
    """File or folder."""
    height: int
    """Rows of the upright picture with square pixels."""
    width: int
    """Columns."""
    fps: float
    """Frames per second as it was taken, on average."""
    seconds: float
    """Length as the file says; 0 if it does not."""
    turn: int = 0
    """Quarter turns, anticlockwise, that make it upright."""
    hdr: str = ""
    """PQ or HLG, if it is high dynamic range."""
    pictures: tuple[Path, ...] = ()
    """Of a folder."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know."""


def open_source(path: str | Path, fps: float = FPS) -> Source:
    """Look at a video or a folder of pictures.

    Args:
        path: File, or folder of pictures in the order of their names.
        fps: Rate of a folder's pictures.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: No video, or one without a picture.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no video {path}; check the path.")
    if path.is_dir():
        return _folder(path, fps)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            ratio = float(stream.sample_aspect_ratio or 1) or 1.0
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            seconds = seconds or (container.duration or 0) / av.time_base
            rate = float(stream.average_rate or stream.guessed_rate or 0)
    except (OSError, av.error.FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(f"{path} is no readable video ({error or 'no frame'}); fetch or record it again.") from error
    height, width = frame.height, max(round(frame.width * ratio), 1)
    turn = round((frame.rotation or 0) / 90) % 4
    if turn % 2:
        height, width = width, height
    if min(height, width) < _LEAST_SIDE:
        raise ValueError(f"{path} is {width}x{height}; a side needs {_LEAST_SIDE} pixels.")
    hdr = _HDR.get(int(frame.color_trc or 0), "")
    notes = (
        [f"it is {hdr} (high dynamic range); brightness was mapped to a screen's, wide colours were not"] if hdr else []
    )
    return Source(path, height, width, rate, seconds, turn, hdr, notes=notes)


def frames_of(source: Source, size: tuple[int, int], fps: float = FPS) -> Iterator[Frames]:
    """Frames `(H, W, 3)` uint8 RGB, `fps` a second: each the one nearest in time, resized to cover `size` and cropped.

    What a damaged file holds up to the damage is given, and noted in `source.notes`.

    Raises:
        ValueError: No frame can be decoded.
    """
    due, last, before = 0, None, -math.inf
    at = 0.0
    whole, (left, top) = fit_geometry(source.width, source.height, size[1], size[0])
    for at, uncut in _decoded(source, whole[::-1]):
        picture = np.ascontiguousarray(uncut[top : top + size[0], left : left + size[1]])
        while last is not None and due / fps <= (before + at) / 2:
            yield last
            due += 1
        last, before = picture, at
    if last is None:
        raise ValueError(f"{source.path} has no readable frame; fetch or record it again.")
    yield last
    shortfall = source.seconds - at - 1 / max(source.fps, 1.0)
    if not source.pictures and shortfall > _SHORTENED and not any("cut off" in note for note in source.notes):
        source.notes.append(f"it is cut off after {at:.1f} of {source.seconds:.1f} seconds")


def _decoded(source: Source, size: tuple[int, int]) -> Iterator[tuple[float, Frames]]:
    """Times from 0, and upright pictures of `size`."""
    if source.pictures:
        for index, path in enumerate(source.pictures):
            image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{path} is no readable picture; leave it out.")
            yield index / source.fps, resized(np.ascontiguousarray(image[..., ::-1], np.uint8), size)
        return
    height, width = size[::-1] if source.turn % 2 else size
    curve = _screen(source.hdr)
    first: float | None = None
    try:
        with av.open(str(source.path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for index, frame in enumerate(container.decode(video=0)):
                time = frame.time if frame.time is not None else index / (source.fps or FPS)
                first = time if first is None else first
                small = frame.reformat(width, height, "rgb24", interpolation="AREA")
                turned: Any = np.rot90(small.to_ndarray(), source.turn)
                yield time - first, turned if curve is None else curve[turned]
    except (OSError, av.error.FFmpegError) as error:
        if first is None:
            raise ValueError(f"{source.path} has no readable frame ({error}); fetch it again.") from error
        source.notes.append(f"it is cut off or damaged: {error}")


def _screen(hdr: str) -> NDArray[np.uint8] | None:
    """A table `(256,)` from the values of high dynamic range to those of a screen; None if there is nothing to do.

    SMPTE ST 2084 and ARIB STD-B67, where 203 nits are white (ITU-R BT.2408), and brighter light is rolled off.
    """
    if not hdr:
        return None
    value = np.linspace(0, 1, 256)
    if hdr == "PQ":
        power = value ** (1 / 78.84375)
        nits = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    else:
        bright = np.exp((value - 0.55991073) / 0.17883277) + 0.28466892
        nits = 1000 * (np.where(value <= 0.5, value**2 / 3, bright / 12)) ** 1.2
    light = nits / 203
    rolled = light * (1 + light / 25) / (1 + light)
    return np.asarray(
        np.rint(255 * np.clip(rolled / rolled[-1] if rolled[-1] > 1 else rolled, 0, 1) ** (1 / 2.2)), np.uint8
    )


def _folder(path: Path, fps: float) -> Source:
    pictures = tuple(sorted(each for each in path.iterdir() if each.suffix.lower() in _PICTURES))
    if not pictures:
        raise ValueError(f"{path} holds no pictures ({', '.join(_PICTURES)}), and is no dataset that is known.")
    first: Any = cv2.imread(str(pictures[0]))
    if first is None:
        raise ValueError(f"{pictures[0]} is no readable picture; leave it out.")
    if not fps > 0:
        raise ValueError(f"--fps must be positive; got {fps}.")
    return Source(path, first.shape[0], first.shape[1], fps, len(pictures) / fps, pictures=pictures)
