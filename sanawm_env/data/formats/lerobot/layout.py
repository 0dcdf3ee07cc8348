"""Names and places of LeRobotDataset v3.0, and of the folder of ours within it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sanawm_env.data.storage.native import CAMERA as VIDEO
from sanawm_env.data.storage.native import PER_CHUNK, VIDEO_PATH, item_file, item_files, video_file

__all__ = [
    "CAMERA",
    "DEFAULTS",
    "EPISODES",
    "PER_CHUNK",
    "VERSION",
    "VIDEO",
    "VIDEO_PATH",
    "data_file",
    "item_file",
    "item_files",
    "read_info",
    "video_file",
]

VERSION = "v3.0"
"""Of the layout."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TASKS = "meta/tasks.parquet"

DEFAULTS: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}
"""The features that every dataset has; a reader fails if one is not declared."""

CAMERA = (
    "observation.c2w is camera-to-world: OpenCV axes (+x right, +y down, +z forward), metres, frame 0 of an episode "
    "is the identity; observation.state is the same as x y z qw qx qy qz; observation.intrinsics is fx fy cx cy in "
    "pixels, the centre of the upper left pixel is (0.5, 0.5)"
)
"""For people, in the block of ours of `meta/info.json`."""


def data_file(root: Path, file: int) -> Path:
    """The `file`-th file of rows."""
    chunk, index = divmod(file, PER_CHUNK)
    return root / DATA_PATH.format(chunk_index=chunk, file_index=index)


def read_info(root: Path) -> dict[str, Any]:
    """`meta/info.json`.

    Raises:
        ValueError: There is none, it is no JSON object, or it is of another version of the layout.
    """
    path = root / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; give the folder of a LeRobotDataset.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch the dataset again.") from None
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
        raise ValueError(f"{path} declares no features; fetch the dataset again.")
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        raise ValueError(
            f"{root} is of layout {version}, and {VERSION} is read; convert it first with "
            "`python -m lerobot.datasets.v30.convert_dataset_v21_to_v30` of lerobot 0.4."
        )
    return info
