"""`rows_of`: an episode as LeRobot's features, one row per frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode
from sanawm_env.envs.sensors.observations import pose_vectors

__all__ = ["arrow_column", "declared", "rows_of"]

STATE_NAMES = ["x", "y", "z", "qw", "qx", "qy", "qz"]
MOTION_NAMES = ["dx", "dy", "dz", "rx", "ry", "rz"]
"""Translation and rotation vector of a pose delta."""


def rows_of(episode: Episode) -> dict[str, NDArray[Any]]:
    """Features of every frame, the five defaults and the video apart.

    An action, and what the policy observed, is held for all frames of its step; in the last frame nothing is done.

    Returns:
        By feature, `(F, ...)`; without steps only those of the camera.
    """
    count, every, steps = len(episode), episode.frames_per_step, len(episode.actions)
    rows: dict[str, NDArray[Any]] = {
        "observation.state": pose_vectors(episode.c2w),
        "observation.intrinsics": np.tile(np.asarray(episode.intrinsics, np.float32), (count, 1)),
        "observation.c2w": np.asarray(episode.c2w, np.float64),
    }
    if not steps:
        return rows
    step = np.arange(count) // every
    for name, values in episode.entries.items():
        flat = np.asarray(values, np.float32)
        rows[f"observation.{name}"] = (flat[:, None] if flat.ndim == 1 else flat)[step]
    actions = np.asarray(episode.actions, np.float32).reshape(steps, -1)
    decisions = np.arange(count) % every == 0
    decisions[-1] = False
    rewards = np.zeros(count, np.float32)
    rewards[decisions] = episode.rewards
    last = np.arange(count) == count - 1
    return rows | {
        "action": np.concatenate([actions, np.zeros_like(actions[:1])])[step],
        "decision": decisions,
        "next.reward": rewards,
        "next.done": last,
        "next.success": last & bool(episode.success),
    }


def declared(rows: dict[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """The features as `meta/info.json` declares them."""
    names = {"observation.state": STATE_NAMES, "observation.intrinsics": ["fx", "fy", "cx", "cy"]}
    if "action" in rows and (size := rows["action"].shape[1]) in (6, 7):
        names["action"] = [*MOTION_NAMES, "stop"][:size]
    return {
        name: {"dtype": str(value.dtype), "shape": list(value.shape[1:]) or [1], "names": names.get(name)}
        for name, value in rows.items()
    }


def arrow_column(values: NDArray[Any]) -> pa.Array:
    """A column of the layout: numbers, lists of fixed length, or lists of lists for more dimensions."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    column = pa.array(np.ascontiguousarray(values).ravel())
    for axis in range(values.ndim - 1, 0, -1):
        length = values.shape[axis]
        if values.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(column, length)
        column = pa.ListArray.from_arrays(np.arange(0, len(column) + 1, length, dtype=np.int32), column)
    return column
