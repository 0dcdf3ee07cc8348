"""Where things lie in a dataset of `sanawm collect`, for who writes it and for who reads it while it grows."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = [
    "CAMERA",
    "FOLDER",
    "PER_CHUNK",
    "VIDEO_PATH",
    "image_root",
    "is_native",
    "item_file",
    "item_files",
    "item_number",
    "mending",
    "poses_file",
    "read_item",
    "refined_file",
    "version_of",
    "video_file",
    "video_number",
]

FOLDER = "sanawm"
"""Folder of ours within a LeRobotDataset."""
CAMERA = "observation.images.main"
"""LeRobot's name of the camera."""
PER_CHUNK = 1000
"""Files to a folder, as in LeRobot's layout."""
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""LeRobot's place of videos; here the file's index is the item's number."""


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


def item_file(root: Path, item: int | str) -> Path:
    """The JSON of an item, by its number or its name, `000012` say; it is there exactly if the item is done."""
    return root / FOLDER / "episodes" / (f"{item:06d}.json" if isinstance(item, int) else f"{item}.json")


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
    chunk, index = divmod(number, PER_CHUNK)
    return root / VIDEO_PATH.format(video_key=CAMERA, chunk_index=chunk, file_index=index)


def refined_file(root: Path, number: int) -> Path:
    """Where the refined video of an item lies: its frames from the second one on, by the second stage."""
    return root / FOLDER / "refined" / f"{number:06d}.mp4"


def video_number(video: Path) -> int:
    """The item whose video that is."""
    return int(video.parent.name.removeprefix("chunk-")) * PER_CHUNK + int(video.stem.removeprefix("file-"))


def mending(root: Path, number: int) -> str:
    """What to do about a broken or missing file of an item, beside fetching it again."""
    delete = f"delete {item_file(root, number).relative_to(root)}"
    if not (root / FOLDER / "collection.json").is_file():
        return f"{delete}, and index the dataset anew without the episode"
    return f"{delete} and give the line of `sanawm collect` again, which makes the same episode"


def poses_file(file: Path) -> Path:
    """Poses, intrinsics, actions and rewards of the item whose JSON is `file`."""
    return file.with_suffix(".npz")


def image_root(file: Path) -> Path:
    """The folder that the image of a recipe is relative to: the dataset's, or the one that the JSON lies in."""
    folder = file.resolve().parent
    inside = folder.name == "episodes" and folder.parent.name == FOLDER
    return folder.parent.parent if inside else folder
