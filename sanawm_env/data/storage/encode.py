"""`ClipWriter`: an episode's video for training, with the statistics that LeRobot's readers want of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.episode import Frames
from sanawm_env.video import Encoding, VideoWriter

__all__ = ["CODECS", "DEFAULT_CODEC", "ClipWriter"]

_SEEKABLE = {"g": "16"}
"""A key frame every 16: training reads frames in random order, and each read decodes from a key frame on."""

CODECS: dict[str, Encoding] = {
    "h264-444": Encoding("libx264", "yuv444p", _SEEKABLE),
    "rgb": Encoding("libx264rgb", "rgb24", {**_SEEKABLE, "crf": "0", "qp": "0", "preset": "veryfast"}),
    "h264": Encoding("libx264", "yuv420p", _SEEKABLE),
}
"""By name: colours in full resolution (training), without any loss, and what browsers play."""

DEFAULT_CODEC = "h264-444"

_EVERY = 8
"""Statistics look at each eighth frame: neighbours are alike."""
_PIXELS = 160
"""And at about that many rows and columns of it."""
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


class ClipWriter(VideoWriter):
    """Writes the video of one episode: constant frame rate, first frame at time 0, equal frames make equal files.

    The file takes its name in `close`, when it is whole and on the disk; `discard` leaves nothing behind. As a
    context manager it closes, or discards after an error::

        with ClipWriter("file-000.mp4", fps=16) as clip:
            clip.write(frames)
        clip.stats["mean"]  # (3, 1, 1)
    """

    def __init__(self, path: str | Path, fps: float = 16.0, codec: str = DEFAULT_CODEC) -> None:
        """Check the arguments and make the folder; nothing is written before the first frame.

        Args:
            path: Destination, `*.mp4`.
            fps: Frames per second.
            codec: Of `CODECS`.

        Raises:
            ValueError: Unknown codec, no `.mp4` name, or fps out of range.
        """
        if codec not in CODECS:
            raise ValueError(f"unknown codec {codec!r}; known are {', '.join(CODECS)}.")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, fps, encoding=CODECS[codec], durable=True)
        self.codec = codec
        self._counts = np.zeros((3, 256), np.int64)
        self._sampled = 0

    def write(self, frames: Frames) -> None:
        """Append frames `(n, H, W, 3)`, uint8 RGB, all of the same size.

        Raises:
            ValueError: Another layout, type or size, or an odd side with `h264`, which halves the colours.
        """
        height, width = np.shape(frames)[-3:-1] if np.ndim(frames) >= 3 else (0, 0)
        if self.codec == "h264" and (height % 2 or width % 2):
            raise ValueError(f"codec 'h264' needs even sides, not {height}x{width}; take 'h264-444' or 'rgb'.")
        begin = self.frames
        super().write(frames)
        pictures = np.asarray(frames).reshape(-1, height, width, 3)
        for picture in pictures[-begin % _EVERY :: _EVERY]:
            seen = picture[:: max(height // _PIXELS, 1), :: max(width // _PIXELS, 1)]
            self._counts += [np.bincount(seen[..., channel].ravel(), minlength=256) for channel in range(3)]
            self._sampled += 1

    @property
    def stats(self) -> dict[str, Any]:
        """LeRobot's statistics of the pictures, JSON-ready: `(3, 1, 1)` in [0, 1] each, and `count` of frames.

        Raises:
            ValueError: No frame was written.
        """
        if not self._sampled:
            raise ValueError(f"{self.path} has no frames yet, and so no statistics.")
        values, total = np.arange(256) / 255, self._counts[0].sum()
        mean = self._counts @ values / total
        deviation = np.sqrt(np.maximum(self._counts @ values**2 / total - mean**2, 0))
        filled = self._counts > 0
        found: dict[str, NDArray[Any]] = {
            "min": values[filled.argmax(1)],
            "max": values[255 - filled[:, ::-1].argmax(1)],
            "mean": mean,
            "std": deviation,
        }
        below = self._counts.cumsum(1)
        for name, quantile in _QUANTILES.items():
            found[name] = values[(below >= quantile * total).argmax(1)]
        shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}
        return shaped | {"count": [self._sampled]}
