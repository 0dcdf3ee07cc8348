"""Videos within an archive, decoded where they lie."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.folders import refuse_options
from sanawm_env.data.storage.encode import CODECS, DEFAULT_CODEC, ClipWriter

__all__ = ["Member", "MemberVideo", "archive_options", "write_clip", "zip_member"]


@dataclass(frozen=True)
class Member:
    """Where a file lies in an archive, as it is."""

    archive: Path
    """The archive."""
    name: str
    """Of the file in it."""
    offset: int
    """Of its first byte in the archive."""
    size: int
    """Bytes."""

    def load(self) -> bytes:
        """Its bytes.

        Raises:
            ValueError: The archive is gone or ends before them.
        """
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise ValueError(f"{self.archive} cannot be read: {error}.") from error
        if len(data) != self.size:
            raise ValueError(f"{self.archive} ends within {self.name}; copy it again.")
        return data


@dataclass(frozen=True)
class MemberVideo:
    """Frames of a video in an archive, decoded anew each time that they are iterated."""

    member: Member
    """The video."""

    def __iter__(self) -> Iterator[Frames]:
        """Pieces `(1, H, W, 3)` uint8 RGB.

        Raises:
            ValueError: No readable video.
        """
        try:
            with av.open(io.BytesIO(self.member.load()), "r") as container:
                for frame in container.decode(video=0):
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)[None]
        except (av.error.FFmpegError, IndexError) as error:
            raise ValueError(
                f"{self.member.name} in {self.member.archive} is no readable video ({error}); fetch it again, or "
                "leave its episode out."
            ) from error


def archive_options(kind: str, options: dict[str, Any], size: str, usual: int) -> tuple[str | None, int]:
    """Codec and number of episodes to an archive, of what `write` was given.

    Args:
        kind: Name of the format.
        options: All that were given.
        size: Name of the option with the number.
        usual: The number otherwise.

    Raises:
        ValueError: Unknown options or codec, or less than one episode.
    """
    codec, number = options.pop("codec", None), options.pop(size, usual)
    refuse_options(kind, options)
    if codec is not None and codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}; known are {', '.join(CODECS)}.")
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{size} must be a number of at least 1; got {number}.")
    return codec, number


def zip_member(archive: Path, info: zipfile.ZipInfo) -> Member:
    """Where a file of a zip lies.

    Raises:
        ValueError: It is compressed, or the zip is damaged.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} in {archive} is compressed; pack it again with 'zip -0'.")
    with archive.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError(f"{archive} is damaged at {info.filename}; copy it again.")
    name, extra = struct.unpack("<HH", header[26:30])
    return Member(archive, info.filename, info.header_offset + 30 + name + extra, info.file_size)


def write_clip(path: Path, episode: Episode, codec: str | None = None) -> None:
    """Write the frames of an episode as a video.

    Args:
        path: Destination, `*.mp4`.
        episode: Whose frames.
        codec: Of `sanawm_env.data.storage.encode.CODECS`; None is the usual one for training.

    Raises:
        ValueError: Unknown codec, or more or fewer frames than poses.
    """
    with ClipWriter(path, episode.fps, codec or DEFAULT_CODEC) as clip:
        for piece in episode.frames:
            clip.write(piece)
        if clip.frames != len(episode):
            raise ValueError(
                f"episode {episode.name!r} has {len(episode)} poses and {clip.frames} frames; it was cut short."
            )
