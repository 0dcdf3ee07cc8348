"""`FolderFormat`: what formats have in common that are a folder for each episode, known by a file in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.folders import (
    check_folders,
    episode_folders,
    read_folders,
    refuse_options,
    write_folders,
)
from sanawm_env.data.formats.registry import Mode, Problem

__all__ = ["FolderFormat"]


@dataclass(frozen=True)
class FolderFormat:
    """The functions of `registry.FormatModule`, from those for one folder."""

    name: str
    """Of the format."""
    marker: str
    """File by which an episode's folder is known."""
    read_one: Callable[[Path], Episode]
    """The episode of a folder; raises ValueError."""
    write_one: Callable[[Path, Episode], None]
    """Writes an episode into an empty folder; `episode.json` comes by itself."""

    def detect(self, path: Path) -> bool:
        """Whether the file is there, or in a folder of it."""
        return bool(episode_folders(path, self.marker))

    def read(self, path: Path) -> Iterator[Episode]:
        """Episodes, by the names of their folders.

        Raises:
            ValueError: None, or missing or damaged files.
        """
        return read_folders(path, self.marker, self.read_one)

    def write(self, path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
        """Write a folder for each episode.

        Raises:
            FileExistsError: `create`, and something is there.
            ValueError: Episodes whose frames do not fit their poses, or an option.
        """
        refuse_options(self.name, options)
        write_folders(path, episodes, mode, self.marker, self.write_one)

    def check(self, path: Path) -> list[Problem]:
        """What is missing or damaged."""
        return check_folders(path, self.marker, self.read_one)
