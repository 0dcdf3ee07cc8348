"""Spaces as plain values, so that they can be sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["space_from", "space_to"]

_MOST_NUMBERS = 32_000_000
"""Of one space: more than a step of 12 frames in 720p has, and nothing that exhausts the memory."""


def space_to(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space of this package as plain values and arrays.

    Raises:
        ValueError: It is of another kind.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "dict", "spaces": {name: space_to(each) for name, each in space.items()}}
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "multi_binary", "shape": [int(length) for length in space.shape]}
    if isinstance(space, spaces.Box) and space.dtype is not None:
        ends = {"low": _short(space.low), "high": _short(space.high)}
        return {"kind": "box", **ends, "shape": [int(n) for n in space.shape], "dtype": space.dtype.str}
    raise ValueError(f"a policy server can be told of Box, Discrete, MultiBinary and Dict spaces, not of {space}.")


def space_from(values: Any, nested: bool = True) -> spaces.Space[Any]:
    """The space of `space_to`'s values.

    Args:
        values: From anybody.
        nested: Whether it may be a Dict.

    Raises:
        ValueError: They make no space.
    """
    kind = values.get("kind") if isinstance(values, Mapping) else None
    try:
        if kind == "dict" and nested:
            return spaces.Dict({str(name): space_from(each, False) for name, each in values["spaces"].items()})
        if kind == "discrete":
            return spaces.Discrete(int(values["n"]), start=int(values["start"]))
        if kind == "multi_binary":
            return spaces.MultiBinary(_shape(values["shape"]))
        if kind == "box":
            shape, dtype = _shape(values["shape"]), np.dtype(str(values["dtype"]))
            if dtype.kind not in "iuf":
                raise ValueError(f"no numbers: {dtype}")
            low, high = (np.broadcast_to(np.asarray(values[end], dtype), shape) for end in ("low", "high"))
            return spaces.Box(low, high, shape, dtype.type)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
        raise ValueError(f"no space: {type(error).__name__} {error}") from None
    raise ValueError(f"no space: kind {str(kind)[:40]!r}")


def _short(ends: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """One number where all are the same: those of a picture would be as large as the picture."""
    return ends.reshape(-1)[:1].reshape(()) if ends.size and (ends == ends.flat[0]).all() else ends


def _shape(values: Any) -> tuple[int, ...]:
    shape = tuple(int(length) for length in values)
    if len(shape) > 8 or any(length < 0 for length in shape) or math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"a shape of {shape[:8]}")
    return shape
