"""From Gymnasium's one dictionary of arrays over slots to one dictionary per slot."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

__all__ = ["info_of_slot"]


def info_of_slot(infos: dict[str, Any], slot: int, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """What a single environment's info would be.

    Args:
        infos: In the format of `gymnasium.vector.VectorEnv`: for each `key` an array over slots, or a dictionary of
            such arrays, and under `_key` a mask of the slots that have it.
        slot: Whose.
        leave_out: Keys that are not wanted, at the top level.

    Returns:
        The slot's own entries without masks, in memory of their own; NumPy's scalars as Python's.
    """
    info = {}
    for key, values in infos.items():
        if key.startswith("_") or key in leave_out:
            continue
        # Entries of a dictionary that a wrapper added whole, such as `episode`, have no masks of their own.
        mask = infos.get(f"_{key}")
        if mask is None or mask[slot]:
            info[key] = _entry(values, slot)
    return info


def _entry(values: Any, slot: int) -> Any:
    if isinstance(values, dict):
        return info_of_slot(values, slot)
    value = values[slot]
    if isinstance(value, np.generic):
        return value.item()
    return value.copy() if isinstance(value, np.ndarray) else value
