"""Depth maps beside a dataset: LeRobot v3.0 has no lossless place for them, so they lie in the folder of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sanawm_env.files import replacing

__all__ = ["DepthFile", "DepthWriter", "depth_file", "write_depth"]

Depth = NDArray[np.float32]


def depth_file(root: Path, number: int) -> Path:
    """Where the depth of item `number` lies, if it has any."""
    return root / "sanawm" / "depth" / f"{number:06d}.npz"


@dataclass(frozen=True)
class DepthFile:
    """Depth that is read anew each time that it is iterated."""

    path: Path
    """`*.npz` of pieces `(n, H, W)` float32, metres, named by their order."""

    def __iter__(self) -> Iterator[Depth]:
        """The pieces.

        Raises:
            ValueError: The file is broken.
        """
        try:
            with np.load(self.path) as file:
                for name in sorted(file.files):
                    yield file[name]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path} cannot be read ({error}); fetch it again.") from None


class DepthWriter:
    """Writes depth piece by piece as it comes; the file takes its name in `close`, when it is whole and on the disk.

    As a context manager it closes, or discards after an error.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder and a file beside the destination; see `depth_file`."""
        self._stack = ExitStack()
        temporary = self._stack.enter_context(replacing(path, durable=True))
        self._archive = self._stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED))
        self._pieces = 0
        self.frames = 0
        """Depth maps written."""

    def write(self, piece: Depth) -> None:
        """Append depth `(n, H, W)`, metres."""
        archive = self._archive
        with archive.open(f"{self._pieces:06d}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(piece, np.float32))
        self._pieces += 1
        self.frames += len(piece)

    def close(self) -> None:
        """Give the file its name."""
        self._stack.close()

    def discard(self) -> None:
        """Leave nothing behind; after `close` there is nothing to do."""
        # A full disk cannot take the archive's end either; the file is removed all the same.
        with suppress(_Discarded, OSError, ValueError):
            self._stack.__exit__(_Discarded, _Discarded(), None)

    def __enter__(self) -> DepthWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def write_depth(path: Path, pieces: Iterable[Depth], shape: tuple[int, int, int]) -> None:
    """Write depth, whole or not at all.

    Args:
        path: See `depth_file`.
        pieces: `(n, H, W)` each.
        shape: What they must make together, `(F, H, W)`.

    Raises:
        ValueError: They make something else.
    """
    with DepthWriter(path) as writer:
        for piece in pieces:
            if np.shape(piece)[1:] != shape[1:]:
                raise ValueError(
                    f"depth is {np.shape(piece)[1:]} and the pictures are {shape[1:]}; give both one size."
                )
            writer.write(piece)
        if writer.frames != shape[0]:
            raise ValueError(
                f"there are {writer.frames} depth maps for {shape[0]} frames; leave depth out, or give all."
            )


class _Discarded(Exception):
    """Lets `replacing` remove its file."""
