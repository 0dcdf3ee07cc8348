"""`LiveVideo`: the frames of play as one H.264 stream, a packet for each frame at once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

__all__ = ["LiveVideo"]

_OPTIONS = {
    "preset": "ultrafast",
    "tune": "zerolatency",  # no frame waits for the next one
    "profile": "baseline",
    "crf": "20",
    "g": "1000000",  # key frames come when they are asked for
    "x264-params": "threads=1:repeat-headers=1:annexb=1",
    "forced-idr": "1",
}


class LiveVideo:
    """An encoder of one connection: Annex B, each key frame with its parameter sets, colours of BT.709.

    What is encoded must be sent, since a frame builds on the one before it.
    """

    @staticmethod
    def fits(height: int, width: int) -> bool:
        """Whether frames of a size can be such a stream: 4:2:0 halves the colours."""
        return height % 2 == 0 and width % 2 == 0

    def __init__(self, height: int, width: int, fps: float) -> None:
        """Begin with a key frame.

        Args:
            height: Rows, even.
            width: Columns, even.
            fps: Frames per second.
        """
        context: Any = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.framerate = Fraction(fps).limit_denominator(1000)
        context.time_base = 1 / context.framerate
        context.options = dict(_OPTIONS)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1  # BT.709, limited
        self._context, self._frames, self._key = context, 0, True

    def restart(self) -> None:
        """Let the next frame be a key frame: whoever watches may have lost those before it."""
        self._key = True

    def encode(self, image: NDArray[np.uint8]) -> tuple[bytes, bool]:
        """One frame.

        Args:
            image: `(H, W, 3)` RGB.

        Returns:
            Its packet, and whether it is a key frame.
        """
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        picture.pts = self._frames
        picture.pict_type = PictureType.I if self._key else PictureType.NONE
        packets = self._context.encode(picture)
        self._frames += 1
        key, self._key = self._key, False
        return b"".join(map(bytes, packets)), key
