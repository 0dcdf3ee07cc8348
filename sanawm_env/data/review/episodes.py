"""Episodes of a dataset as the page lists them; what has been read is remembered until its file changes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.review.media import video_problem
from sanawm_env.data.storage.native import (
    is_native,
    item_file,
    item_files,
    item_number,
    poses_file,
    read_item,
    video_file,
)

__all__ = ["Episodes"]

_MOST_POINTS = 600


@dataclass(frozen=True)
class _Known:
    stamp: tuple[int, ...]
    """Of the files that it was read from."""
    row: dict[str, Any]


class Episodes:
    """The finished items of a dataset, which may grow meanwhile."""

    def __init__(self, root: Path) -> None:
        """Look at the folder.

        Raises:
            FileNotFoundError: There is none.
            ValueError: No dataset of `sanawm collect`.
        """
        if not root.exists():
            raise FileNotFoundError(f"no dataset {root}; check the path.")
        if not root.is_dir() or not is_native(root):
            raise ValueError(f"{root} is no dataset of `sanawm collect`; give the folder that it wrote (--out).")
        self.root = root
        self._known: dict[str, _Known] = {}

    def rows(self) -> list[dict[str, Any]]:
        """One JSON-ready row per item; what is broken has a `problem`."""
        found = {}
        for file in item_files(self.root):
            stamp = (*_stamp(file), *_stamp(video_file(self.root, item_number(file))))
            known = self._known.get(file.stem)
            found[file.stem] = known if known and known.stamp == stamp else _Known(stamp, self._read(file))
        self._known = found
        return [known.row for known in found.values()]

    def file(self, name: str) -> Path:
        """The JSON of an item.

        Raises:
            FileNotFoundError: There is no such item.
        """
        if name.isascii() and name.isdigit() and (file := item_file(self.root, name)).is_file():
            return file
        raise FileNotFoundError(f"there is no episode {name!r}.")

    def video(self, name: str) -> Path:
        """The video of an item.

        Raises:
            FileNotFoundError: There is no such item, or it was dropped.
        """
        path = video_file(self.root, item_number(self.file(name)))
        if not path.is_file():
            raise FileNotFoundError(f"episode {name} has no video.")
        return path

    def frames(self, name: str) -> int:
        """How many frames an item has, as it says.

        Raises:
            FileNotFoundError: There is no such item.
            ValueError: It is broken.
        """
        file = self.file(name)
        known = self._known.get(name)
        row = known.row if known else self._read(file)
        if "frames" not in row:
            raise ValueError(row["problem"])
        return row["frames"]

    def path(self, name: str) -> dict[str, Any]:
        """Where the camera went, seen from above.

        Returns:
            `points`, x and z of up to some hundred frames, metres; `forward`, the viewing direction at each; `goal`,
            x and z, or None.

        Raises:
            FileNotFoundError: There is no such item.
            ValueError: Its arrays are broken.
        """
        file = self.file(name)
        try:
            with np.load(poses_file(file)) as arrays:
                c2w = arrays["c2w"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"the poses of episode {name} cannot be read: {error}.") from None
        chosen = c2w[np.unique(np.linspace(0, len(c2w) - 1, min(len(c2w), _MOST_POINTS)).round().astype(int))]
        recipe = read_item(file).get("recipe") or {}
        return {
            "points": chosen[:, [0, 2], 3].round(4).tolist(),
            "forward": chosen[:, [0, 2], 2].round(4).tolist(),
            "goal": _place((recipe.get("start") or {}).get("goal")),
        }

    def _read(self, file: Path) -> dict[str, Any]:
        row: dict[str, Any] = {"name": file.stem, "video": False, "problem": None}
        try:
            item = read_item(file)
            recipe, outcome = item["recipe"], item["outcome"]
            row |= _summary(recipe, outcome)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
            return row | {"problem": f"the episode's file is broken: {said}", "kept": False}
        video = video_file(self.root, item_number(file))
        if video.is_file():
            row |= {"video": True, "problem": video_problem(video, row["frames"])}
        elif row["kept"]:
            row["problem"] = "the video is missing"
        return row


def _summary(recipe: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    task = recipe["env"].get("task")
    name = task if isinstance(task, str) else (task or {}).get("task_class", "")
    measures = outcome.get("measures") or {}
    numbers = {key: float(value) for key, value in measures.items() if isinstance(value, int | float)}
    return {
        "task": name,
        "text": outcome.get("text") or recipe["options"].get("prompt") or "",
        "policy": recipe.get("policy", ""),
        "seed": recipe["seed"],
        "world": recipe.get("checkpoint_name") or recipe["checkpoint"],
        "frames": int(recipe["frames"]),
        "fps": float(recipe["fps"]),
        "length": max(0, int(recipe["frames"]) - 1) / float(recipe["fps"]),
        "size": list(recipe["size"]),
        "reward": float(outcome.get("reward", 0.0)),
        "success": outcome.get("success"),
        "ending": "terminated" if outcome.get("terminated") else "truncated" if outcome.get("truncated") else "",
        "kept": bool(outcome["kept"]),
        "reasons": [str(reason) for reason in outcome.get("reasons") or []],
        "measures": numbers,
    }


def _place(goal: Any) -> list[float] | None:
    """X and z of a goal that is a place; None for pictures, paths and worlds without one."""
    if isinstance(goal, dict):
        goal = goal.get("position", goal.get("goal"))
    if isinstance(goal, list) and len(goal) == 3 and all(isinstance(each, int | float) for each in goal):
        return [float(goal[0]), float(goal[2])]
    return None


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)
