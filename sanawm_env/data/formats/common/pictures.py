"""Frames as PNG files, and depth as PNG files of 16 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sanawm_env.data.episode import Episode, Frames

__all__ = ["DepthFiles", "PictureFiles", "given_picture", "picture_size", "write_depth", "write_pictures"]


@dataclass(frozen=True)
class PictureFiles:
    """Frames of an episode, each read when it is reached."""

    paths: tuple[Path, ...]
    """In order."""

    def __iter__(self) -> Iterator[Frames]:
        """Pieces `(1, H, W, 3)` uint8 RGB.

        Raises:
            ValueError: A file is missing or no picture.
        """
        for path in self.paths:
            with _opened(path) as picture:
                yield np.asarray(picture.convert("RGB"), np.uint8)[None]


@dataclass(frozen=True)
class DepthFiles:
    """Depth of an episode from pictures of 16 bits."""

    paths: tuple[Path, ...]
    """In order."""
    per_metre: float
    """How many units make a metre."""

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Pieces `(1, H, W)` float32 metres; 0 where none is known.

        Raises:
            ValueError: A file is missing or no picture.
        """
        for path in self.paths:
            with _opened(path) as picture:
                yield (np.asarray(picture).astype(np.float32) / self.per_metre)[None]


def given_picture(recipe: Mapping[str, Any] | None, name: str) -> Path | None:
    """The file of the first frame that an episode was given; None where it began with a built-in scene.

    Args:
        recipe: Of the episode.
        name: Of the episode, for the error.

    Raises:
        ValueError: It is not there any more.
    """
    if recipe is None or not recipe.get("image"):
        return None
    path = Path(recipe["image"]["file"])
    if not path.is_file():
        raise ValueError(
            f"the first frame of episode {name!r}, {path}, is missing, without which its recipe makes nothing again; "
            "put it there again, or leave the episode out."
        )
    return path


def picture_size(path: Path) -> tuple[int, int]:
    """Rows and columns, without decoding.

    Raises:
        ValueError: The file is missing or no picture.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


def write_pictures(paths: Sequence[Path], episode: Episode) -> None:
    """Write the frames of an episode, one to each path.

    Raises:
        ValueError: There are more or fewer frames than poses, or one has another size.
    """
    done = 0
    for piece in episode.frames:
        if piece.dtype != np.uint8 or piece.ndim != 4 or piece.shape[1:] != (*episode.size, 3):
            raise ValueError(
                f"episode {episode.name!r}: frames must be uint8 RGB of {tuple(episode.size)}; got {piece.dtype} "
                f"{piece.shape[1:]}."
            )
        for frame in piece:
            if done < len(paths):
                Image.fromarray(frame).save(paths[done], compress_level=3)
            done += 1
    if done != len(paths):
        raise ValueError(f"episode {episode.name!r} has {len(paths)} poses and {done} frames; it was cut short.")


def write_depth(paths: Sequence[Path], episode: Episode, per_metre: float) -> None:
    """Write the depth of an episode, one picture of 16 bits to each path; what lies too far becomes 0, "unknown".

    Raises:
        ValueError: There are more or fewer pictures than poses.
    """
    done = 0
    for piece in episode.depth or ():
        for depth in piece:
            units = np.nan_to_num(np.rint(np.asarray(depth, np.float64) * per_metre), nan=0, posinf=0, neginf=0)
            if done < len(paths):
                Image.fromarray(np.where((units < 0) | (units > 65535), 0, units).astype(np.uint16)).save(paths[done])
            done += 1
    if done != len(paths):
        raise ValueError(f"episode {episode.name!r} has {len(paths)} poses and {done} depth maps; it was cut short.")


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise ValueError(f"frame {path} is missing; copy the dataset again, or convert it anew.") from None
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{path} is no readable picture: {error}") from error
