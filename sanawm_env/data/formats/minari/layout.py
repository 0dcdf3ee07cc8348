"""Where a dataset of Minari keeps what, and what it is called."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

__all__ = ["FACTS", "FILE", "data_folder", "dataset_id", "detect", "read_facts"]

FACTS = "episodes.json"
"""Beside Minari's `data`: what Minari has no place for, a row an episode."""
FILE = "main_data.hdf5"
"""In Minari's `data`: the episodes."""


def detect(path: Path) -> bool:
    """Whether a dataset of Minari is there."""
    return path.is_dir() and data_folder(path) is not None


def data_folder(path: Path) -> Path | None:
    """The folder of Minari's metadata: `data` within the dataset, or the path itself."""
    for folder in (path / "data", path):
        if (folder / "metadata.json").is_file() and list(folder.glob("main_data*")):
            return folder
    return None


def read_facts(path: Path) -> dict[int, dict[str, Any]]:
    """`FACTS` by the number of the episode; empty if there are none.

    Raises:
        ValueError: The file is no JSON.
    """
    file = path / FACTS
    if not file.is_file():
        return {}
    try:
        return dict(enumerate(json.loads(file.read_text(encoding="utf-8"))))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); remove it to read what Minari holds.") from error


def dataset_id(path: Path) -> str:
    """As `minari.load_dataset` will find it, with the folders between as its namespace.

    Raises:
        ValueError: Minari takes no such name.
    """
    root = os.environ.get("MINARI_DATASETS_PATH")
    place, name = path.absolute(), path.name
    if root and Path(root).absolute() in place.parents:
        name = place.relative_to(Path(root).absolute()).as_posix()
    if not re.fullmatch(r"([-\w]+/)*[-\w]+-v\d+", name, re.ASCII):
        raise ValueError(f"Minari has no name {name!r} for a dataset; call the folder something like 'walks-v0'.")
    return name
