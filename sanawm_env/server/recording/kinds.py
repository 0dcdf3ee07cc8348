"""What all episodes of a dataset share: LeRobot's layout has one set of features for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.storage.encode import DEFAULT_CODEC
from sanawm_env.data.storage.native import item_files, poses_file, read_item
from sanawm_env.envs.simulator import Simulator

__all__ = ["kind_of", "kind_there"]

_CAMERA = ("c2w", "intrinsics", "rewards")
"""Arrays that are the same in all."""


def kind_of(simulator: Simulator, entries: Sequence[str]) -> dict[str, Any]:
    """Of the episodes that a simulator makes.

    Args:
        simulator: Which.
        entries: Of the observation, those that go on record.
    """
    config, space = simulator.model.config, simulator.observation_space
    arrays = {name: list(space[name].shape) for name in entries}
    return {
        "size": [config.height, config.width],
        "fps": float(config.fps),
        "codec": DEFAULT_CODEC,
        "arrays": {"actions": list(simulator.action_space.shape or ()), **arrays},
    }


def kind_there(root: Path) -> dict[str, Any] | None:
    """Of the dataset in a folder; None where no episode is yet.

    Raises:
        ValueError: Its first episode cannot be read.
    """
    files = item_files(root)
    if not files:
        return None
    values = read_item(files[0])
    with np.load(poses_file(files[0]), allow_pickle=False) as arrays:
        shapes = {name: list(arrays[name].shape[1:]) for name in arrays.files if name not in _CAMERA}
    recipe = values["recipe"]
    return {
        "size": list(recipe["size"]),
        "fps": float(recipe["fps"]),
        "codec": (values.get("video") or {}).get("codec"),
        "arrays": shapes,
    }
