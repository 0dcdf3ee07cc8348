"""Depth maps beside a dataset: LeRobot v3.0 has no lossless place for them, so they lie in the folder of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sanawm_env.files import replacing

__all__ = ["DepthFile", "depth_file", "write_depth"]

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


def write_depth(path: Path, pieces: Iterable[Depth], shape: tuple[int, int, int]) -> None:
    """Write depth piece by piece, whole or not at all.

    Args:
        path: See `depth_file`.
        pieces: `(n, H, W)` each.
        shape: What they must make together, `(F, H, W)`.

    Raises:
        ValueError: They make something else.
    """
    count = 0
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, piece in enumerate(pieces):
            piece = np.ascontiguousarray(piece, np.float32)
            if piece.shape[1:] != shape[1:]:
                raise ValueError(f"depth is {piece.shape[1:]} and the pictures are {shape[1:]}; give both one size.")
            with archive.open(f"{number:06d}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, piece)
            count += len(piece)
        if count != shape[0]:
            raise ValueError(f"there are {count} depth maps for {shape[0]} frames; leave depth out, or give all.")
