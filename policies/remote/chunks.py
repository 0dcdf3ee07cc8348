"""From a server's answer to actions of the environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["read_actions"]

_TOLERANCE = 1e-6
"""How far beyond the ends an action may lie from rounding; as in the environment."""


def read_actions(answer: dict[str, Any], space: spaces.Space[Any], replan: int | None, clip: bool) -> list[Any]:
    """The actions to do before the server is asked again.

    Args:
        answer: Its `actions` are a chunk `(H, *shape)`, or one action; of Discrete spaces `(H,)` or `(H, 1)`.
        space: The environment's actions.
        replan: How many of the chunk; None is all.
        clip: Take what is out of range to the nearest end, instead of refusing it.

    Raises:
        ValueError: No such actions; says what was wanted.
    """
    if "actions" not in answer:
        raise ValueError(f"the answer has no 'actions', but {', '.join(map(str, answer)) or 'nothing'}")
    chunk = _chunk(answer["actions"], space)
    if replan is not None and len(chunk) < replan:
        raise ValueError(f"the chunk has {len(chunk)} actions, and {replan} are to be done (replan={replan})")
    chunk = _whole(chunk, space) if not isinstance(space, spaces.Box) else chunk
    return [_inside(action, space, clip, number) for number, action in enumerate(chunk[:replan])]


def _chunk(given: Any, space: spaces.Space[Any]) -> NDArray[Any]:
    """`(H, *shape)` real and finite numbers."""
    shape = space.shape or ()
    wanted = f"a chunk (H, {', '.join(map(str, shape))}) of real numbers" if shape else "a chunk (H,) of whole numbers"
    try:
        found = np.asarray(given)
    except ValueError:  # rows of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"'actions' must be {wanted}; got {type(given).__name__} of something else")
    if not shape and found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.shape == shape:
        found = found[None]
    if found.shape[1:] != shape or found.ndim != len(shape) + 1 or not len(found):
        raise ValueError(f"'actions' must be {wanted}; got shape {np.shape(given)}")
    if not np.isfinite(found).all():
        at = int(np.argmax(~np.isfinite(found).reshape(len(found), -1).all(1)))
        raise ValueError(f"'actions' must be finite; action {at} of the chunk is {found[at].tolist()}")
    return found


def _whole(chunk: NDArray[Any], space: spaces.Space[Any]) -> NDArray[Any]:
    if (chunk != np.round(chunk)).any():
        raise ValueError(f"'actions' must be whole numbers for {space}; got {chunk.reshape(-1)[:8].tolist()}")
    return chunk


def _inside(action: Any, space: spaces.Space[Any], clip: bool, number: int) -> Any:
    """One action, in the space."""
    low, high = _ends(space)
    if not clip and ((action < low - _TOLERANCE).any() or (action > high + _TOLERANCE).any()):
        raise ValueError(
            f"'actions' must lie in {space}; action {number} of the chunk is {np.asarray(action).tolist()} (the "
            "setting clip=true takes such ones to the nearest end)"
        )
    found = np.clip(action, low, high)
    return int(found) if isinstance(space, spaces.Discrete) else np.asarray(found).astype(space.dtype)


def _ends(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start), np.asarray(space.start + space.n - 1)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape), np.ones(space.shape)
    raise ValueError(f"a policy server cannot give actions of {space}")
