"""Pictures and videos for a browser: thumbnails, and copies in the one format that all browsers play."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from PIL import Image

from sanawm_env.data.episode import VideoFile
from sanawm_env.files import cache_folder, replacing
from sanawm_env.video import VideoWriter

__all__ = ["Media", "video_problem"]

_STRIP = 3
"""Frames of a thumbnail: the first, the middle and the last."""
_THUMBNAIL_WIDTH = 160
_KEPT_DAYS = 30


def video_problem(path: Path, frames: int) -> str | None:
    """What is wrong with a video, from its index alone; None if it looks whole.

    Args:
        path: The file.
        frames: How many it should have.
    """
    try:
        size = path.stat().st_size
        with av.open(str(path)) as container:
            entries = container.streams.video[0].index_entries
            count = len(entries)
            end = max((entries[i].pos + entries[i].size for i in range(count)), default=0)
    except (OSError, av.error.FFmpegError, IndexError, ValueError):
        return "the video cannot be opened; it was cut off or is no video"
    if end > size:
        return "the video is cut off: its index names pictures beyond its end"
    if count and count != frames:
        return f"the video has {count} of {frames} frames"
    return None


class Media:
    """Makes what a browser is shown, once, into a folder that may be deleted at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        """Tidy up what was not asked for in a month.

        Args:
            folder: Where copies go; None is the cache folder of the package.
        """
        self._folder = folder or cache_folder() / "review"
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        for file in self._folder.glob("*"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _KEPT_DAYS * 86400:
                    file.unlink()

    def playable(self, video: Path) -> Path:
        """The video itself where browsers play it, or else a copy as H.264 in yuv420p.

        Raises:
            ValueError: It cannot be read to its end.
        """
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            plays = stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
            rate = float(stream.average_rate or 16)
        return video if plays else self._made(video, ".mp4", lambda out: _transcode(video, out, rate))

    def thumbnail(self, video: Path, frames: int) -> Path:
        """A JPEG of a few frames side by side.

        Raises:
            ValueError: It cannot be read to its end.
        """
        return self._made(video, ".jpg", lambda out: _strip(video, frames, out))

    def _made(self, source: Path, suffix: str, make: Callable[[Path], None]) -> Path:
        """What was made of a file in its present state, made now if it has not been."""
        stat = source.stat()
        key = f"{source.resolve()} {stat.st_mtime_ns} {stat.st_size}"
        path = self._folder / (hashlib.sha256(key.encode()).hexdigest()[:32] + suffix)
        with self._guard:
            lock = self._locks[path]
        with lock:
            if path.exists():
                with suppress(OSError):
                    path.touch()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                make(path)
        return path


def _transcode(video: Path, out: Path, rate: float) -> None:
    with VideoWriter(out, rate, crf=16) as writer:
        for frames in VideoFile(video):
            writer.write(frames)


def _strip(video: Path, frames: int, out: Path) -> None:
    wanted = {round(i * max(frames - 1, 0) / (_STRIP - 1)) for i in range(_STRIP)}
    pictures = []
    for index, frame in enumerate(VideoFile(video)):
        if index in wanted:
            picture = Image.fromarray(frame[0])
            height = max(1, round(picture.height * _THUMBNAIL_WIDTH / picture.width))
            pictures.append(np.asarray(picture.resize((_THUMBNAIL_WIDTH, height), Image.Resampling.BILINEAR)))
    if not pictures:
        raise ValueError(f"{video} holds no frames.")
    with replacing(out) as temporary:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(temporary, "jpeg", quality=85)
