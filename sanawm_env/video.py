"""Videos: an H.264 writer that never leaves half a file, a reader, and grids of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from sanawm_env.files import replacing

__all__ = ["Encoding", "VideoWriter", "read_video", "tile", "write_video"]

Frames = NDArray[np.uint8]

_REPEATABLE = "threads=1:lookahead-threads=1:sync-lookahead=0:cpu-independent=1"
"""Settings of x264 under which equal frames give equal files, on any processor. With several threads their number
changes the file, and beside a busy process (a world between two chunks) so does chance; decoded pixels, and scores of
them, with it. Left to itself x264 takes other shortcuts on other processors, and on those with AVX-512 the same frames
give dozens of different files when the machine is busy."""


class _Discarded(Exception):
    """Tells `replacing` that the file is not wanted."""


@dataclass(frozen=True)
class Encoding:
    """How x264 is to keep pixels."""

    encoder: str = "libx264"
    """FFmpeg's name: `libx264`, or `libx264rgb` that converts no colours."""
    pixels: str = "yuv420p"
    """Pixel format; `yuv420p` halves the colours' resolution, and is what every player opens."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the encoder, beside crf."""

    @property
    def is_rgb(self) -> bool:
        """Whether colours stay as they are."""
        return self.encoder.endswith("rgb")


class VideoWriter:
    """Writes RGB frames to an mp4 (H.264, and without `encoding` yuv420p) that any player opens.

    The video is written beside its destination and takes its name at the end, so that an interrupted run
    leaves no broken file and an older video stays until the new one is whole::

        with VideoWriter("out.mp4", fps=16) as video:
            video.write(frames)

    Sides of an odd length, which yuv420p cannot have, grow by one pixel that repeats the border.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float = 16.0,
        *,
        crf: int = 18,
        encoding: Encoding | None = None,
        durable: bool = False,
    ) -> None:
        """Check the arguments; nothing is written before the first frame.

        Args:
            path: Destination, `*.mp4`; its folder must exist.
            fps: Frames per second.
            crf: Quality from 0 (lossless) to 51; 18 looks like the original.
            encoding: Another way to keep pixels.
            durable: Whether the file has reached the disk when it takes its name, so that a power cut leaves no
                empty one.

        Raises:
            ValueError: No `.mp4` name, or `fps` or `crf` out of range.
            FileNotFoundError: The folder does not exist.
        """
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"video file must end in .mp4; got {str(path)!r}.")
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder; name a file.")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent}; create it first.")
        if not fps > 0 or not 0 <= crf <= 51:
            raise ValueError(f"fps must be positive and crf lie in 0..51; got {fps} and {crf}.")
        self.fps, self.crf = fps, crf
        self._encoding, self._durable = encoding or Encoding(), durable
        self.frames = 0
        """Frames written so far."""
        self._size: tuple[int, int] | None = None
        self._files = ExitStack()
        self._container: Any = None
        self._stream: Any = None

    def write(self, frames: Frames) -> None:
        """Append one frame `(H, W, 3)` or several `(F, H, W, 3)`, uint8 RGB, all of the same size.

        Raises:
            ValueError: Another layout, type or size.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3 or not frames.size:
            raise ValueError(f"frames must be uint8 RGB, (H, W, 3) or (F, H, W, 3); got {frames.dtype} {frames.shape}.")
        frames = frames.reshape(-1, *frames.shape[-3:])
        height, width = frames.shape[1:3]
        if self._size is None:
            self._open(width, height)
        if self._container is None:
            raise ValueError(f"{self.path} is finished; open another VideoWriter for more frames.")
        if self._size != (width, height):
            raise ValueError(f"all frames of a video have one size: began with {self._size}, got {(width, height)}.")
        if self._encoding.pixels == "yuv420p":
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        for rgb in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            if not self._encoding.is_rgb:
                picture = picture.reformat(
                    format=self._encoding.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
            picture.pts = self.frames
            self._container.mux(self._stream.encode(picture))
            self.frames += 1

    def finish(self) -> None:
        """Complete the file beside its destination; `close` gives it its name. No frame can follow."""
        if self._container is not None:
            container, self._container = self._container, None
            try:
                container.mux(self._stream.encode())
            finally:
                container.close()

    def close(self) -> None:
        """Finish the file and give it its name; without a frame nothing is left behind."""
        try:
            self.finish()
        except BaseException:  # for example a disk that ran full
            self.discard()
            raise
        self._files.close()

    def discard(self) -> None:
        """Throw away what was written. Nothing that goes wrong here hides the error that led here."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(Exception):  # closing writes, and would fail again on a full disk
                container.close()  # first: it opens the file again to move its index
        failed = _Discarded()
        self._files.__exit__(_Discarded, failed, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self, width: int, height: int) -> None:
        temporary, self._size = self._files.enter_context(replacing(self.path, durable=self._durable)), (width, height)
        # The index in front lets a browser play the file while it loads.
        self._container = av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(self.fps).limit_denominator(1000)
        kind, halved = self._encoding, self._encoding.pixels == "yuv420p"
        options = {"crf": str(self.crf), "x264-params": _REPEATABLE, **kind.options}
        self._stream = self._container.add_stream(kind.encoder, rate=rate, options=options)
        self._stream.width, self._stream.height = width + width % 2 * halved, height + height % 2 * halved
        self._stream.pix_fmt = kind.pixels
        if kind.is_rgb:
            return
        # Untagged, players guess the matrix by resolution and small videos change colour. 1 is BT.709.
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1


def write_video(path: str | Path, frames: Frames, fps: float = 16.0, *, crf: int = 18) -> None:
    """Write a whole clip `(F, H, W, 3)`; see `VideoWriter`."""
    with VideoWriter(path, fps, crf=crf) as video:
        video.write(frames)


def read_video(path: str | Path) -> tuple[Frames, float]:
    """Frames `(F, H, W, 3)` of a video and frames per second.

    Raises:
        ValueError: No readable video there.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is no readable video: {error}. Delete it and run again.") from error
    if not frames or not rate > 0:
        raise ValueError(f"{path} holds no frames. Delete it and run again.")
    return np.stack(frames), rate


def tile(videos: Sequence[Frames], columns: int | None = None, *, gap: int = 0) -> Frames:
    """Lay clips of one size side by side in a grid, row by row.

    Args:
        videos: Clips `(F, H, W, 3)`. Shorter ones hold their last frame.
        columns: Width of the grid; None makes it as square as possible, at least as wide as high.
        gap: White pixels between neighbours.

    Returns:
        `(F, rows * H, columns * W, 3)` and gaps; places without a clip are black.

    Raises:
        ValueError: No clip, clips of different sizes or none of a clip's layout.
    """
    if not videos or any(v.ndim != 4 or v.shape[1:] != videos[0].shape[1:] or not len(v) for v in videos):
        shapes = [np.shape(v) for v in videos]
        raise ValueError(f"tile needs clips (F, H, W, 3) of one frame size; got {shapes}.")
    columns = columns or int(np.ceil(np.sqrt(len(videos))))
    rows = -(-len(videos) // columns)
    length = max(len(v) for v in videos)
    height, width = videos[0].shape[1:3]
    canvas = np.full((length, rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place in range(rows * columns):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        window = canvas[:, top : top + height, left : left + width]
        if place < len(videos):
            clip = videos[place]
            window[: len(clip)], window[len(clip) :] = clip, clip[-1]
        else:
            window[:] = 0
    return canvas
