"""Where things lie in a dataset of `sanawm collect`, for those who read it while it grows."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = [
    "image_root",
    "is_native",
    "item_file",
    "item_files",
    "item_number",
    "poses_file",
    "read_item",
    "version_of",
    "video_file",
]

FOLDER = "sanawm"
"""Folder of ours within a LeRobotDataset."""
CAMERA = "observation.images.main"
"""LeRobot's name of the camera."""
_PER_CHUNK = 1000


def is_native(root: Path) -> bool:
    """Whether a dataset of `sanawm collect` lies there, finished or not."""
    return (root / FOLDER / "collection.json").is_file() or (root / FOLDER / "episodes").is_dir()


def item_files(root: Path) -> list[Path]:
    """The JSON files of the items that are done, in order of their numbers."""
    return sorted(path for path in (root / FOLDER / "episodes").glob("*.json") if path.stem.isdigit())


def version_of(root: Path) -> str:
    """Changes when files come to a dataset or leave it, for those who ask again and again: looks at folders alone."""
    folders = [root / FOLDER, root / FOLDER / "episodes", *(root / "videos" / CAMERA).glob("chunk-*")]
    seen = []
    for folder in folders:
        with suppress(OSError):  # the number also tells of what comes within a tick of the file system's clock
            seen.append(f"{folder.name} {folder.stat().st_mtime_ns} {len(os.listdir(folder))}")
    return hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()[:20]


def item_file(root: Path, name: str) -> Path:
    """The JSON of an item called `name`, `000012` for instance."""
    return root / FOLDER / "episodes" / f"{name}.json"


def item_number(file: Path) -> int:
    """The number that an item's file is named by."""
    return int(file.stem)


def read_item(file: Path) -> dict[str, Any]:
    """An item: `recipe`, `outcome` and `video`.

    Raises:
        ValueError: No JSON object.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}); delete it, and `sanawm collect` makes the item again."
        ) from None
    return values


def video_file(root: Path, number: int) -> Path:
    """Where the video of an item lies if it was kept."""
    chunk, index = divmod(number, _PER_CHUNK)
    return root / "videos" / CAMERA / f"chunk-{chunk:03d}" / f"file-{index:03d}.mp4"


def poses_file(file: Path) -> Path:
    """Poses, intrinsics, actions and rewards of the item whose JSON is `file`."""
    return file.with_suffix(".npz")


def image_root(file: Path) -> Path:
    """The folder that the image of a recipe is relative to: the dataset's, or the one that the JSON lies in."""
    folder = file.resolve().parent
    inside = folder.name == "episodes" and folder.parent.name == FOLDER
    return folder.parent.parent if inside else folder
