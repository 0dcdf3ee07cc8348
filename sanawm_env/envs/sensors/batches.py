"""Observations and info of one slot and of many: joined, taken apart, and in Gymnasium's format. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["filled", "first", "join", "masked"]


def filled(values: NDArray[Any], count: int) -> NDArray[Any]:
    """The last `count` rows; if there are fewer, the first is repeated in front. May share memory with `values`."""
    if len(values) < count:
        values = np.concatenate([np.repeat(values[:1], count - len(values), axis=0), values])
    return values[-count:]


def join(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Dictionaries of the same keys as one dictionary of arrays `(N, ...)`; dictionaries in them likewise."""
    head = values[0]
    joined: dict[str, Any] = {}
    for key, value in head.items():
        each = [one[key] for one in values]
        joined[key] = join(each) if isinstance(value, dict) else np.array(each)
    return joined


def first(batched: Any) -> Any:
    """What is batched over one slot, without the slots' axis; numbers as Python's."""
    if isinstance(batched, dict):
        return {key: first(value) for key, value in batched.items()}
    value = batched[0]
    return value.item() if isinstance(value, np.generic) else value


def masked(info: dict[str, Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Gymnasium's format: beside each `key` a mask `_key` of the slots that have it; the others' values are zeros."""
    shown: dict[str, Any] = {}
    whole = bool(mask.all())
    for key, values in info.items():
        if isinstance(values, dict):
            shown[key] = masked(values, mask)
        else:
            if not whole:
                values[~mask] = 0
            shown[key] = values
        shown[f"_{key}"] = mask.copy()
    return shown
