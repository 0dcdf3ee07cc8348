"""Filters: which episodes are worth a video. Each gives a reason against an episode, or None."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Filter", "check_start", "make_filters", "needs_frames", "start_distance"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An episode that has ended, for filters to judge."""

    number: int
    """Of the work item."""
    outcome: Mapping[str, Any]
    """`reward`, `terminated`, `truncated`, `success` (None without a task), `steps`, `seconds_of_world`, `measures`."""
    c2w: NDArray[np.float64]
    """`(F, 4, 4)`."""
    intrinsics: NDArray[np.float64]
    """`(4,)` pixels."""
    actions: NDArray[np.float32]
    """`(T, ...)`."""
    rewards: NDArray[np.float64]
    """`(T,)`."""
    frames: NDArray[np.uint8] | None = None
    """`(F, H, W, 3)`; None unless a filter needs them."""


Filter: TypeAlias = Callable[[Candidate], str | None]


def make_filters(texts: Sequence[str]) -> list[Filter]:
    """Filters by their names.

    - `success`: the task was done.
    - `length=SECONDS`: at least so much world time.
    - `drift=FACTOR`: sharpness and contrast, at the end against frame 0, lie within that factor; see `looks`.
    - `distinct=BITS`: the start differs from those of all earlier items by more than so many of the 64 bits of a
      perceptual hash. It is asked before the episode is played, and not here.
    - `camera=DEGREES`: the camera found again in the frames has turned as it was told, but for so many degrees in the
      median. Seconds per episode.
    - `package.module:function`: a function of yours of a `Candidate`; True or None keep, False or a reason do not.

    Raises:
        ValueError: An unknown name, or a value that is no such number.
    """
    found: list[Filter] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if name == "success" and not equals:
            found.append(_success)
        elif name in ("length", "drift", "distinct", "camera"):
            limit = _number(name, value)
            made = {"length": _length, "drift": _drift, "camera": _camera}.get(name)
            if made is not None:
                found.append(made(limit))
        elif ":" in text:
            found.append(_own(text))
        else:
            raise ValueError(
                f"unknown filter {text!r}; there are success, length=SECONDS, drift=FACTOR, distinct=BITS, "
                "camera=DEGREES and package.module:function."
            )
    return found


def needs_frames(texts: Sequence[str]) -> bool:
    """Whether a filter wants to see all frames, which then stay in memory until the episode has ended."""
    return any(text.startswith("camera=") or ":" in text for text in texts)


def start_distance(texts: Sequence[str]) -> int | None:
    """The limit of `distinct`; None without that filter."""
    for text in texts:
        if text.startswith("distinct="):
            return int(_number("distinct", text.partition("=")[2]))
    return None


def check_start(own: int, others: Mapping[int, int], limit: int) -> str | None:
    """A reason against an item whose start another one has nearly, too.

    Args:
        own: `looks.start_hash` of its first frame.
        others: Those of earlier items.
        limit: Of `distinct`.
    """
    for number, other in others.items():
        if (bits := (own ^ other).bit_count()) <= limit:
            return f"distinct: starts as item {number} does ({bits} of 64 bits differ)"
    return None


# -- filters ----------------------------------------------------------------------------------------------------


def _success(episode: Candidate) -> str | None:
    return None if episode.outcome["success"] else "success: the task was not done"


def _length(least: float) -> Filter:
    def judge(episode: Candidate) -> str | None:
        seconds = episode.outcome["seconds_of_world"]
        return None if seconds >= least - 1e-9 else f"length: {seconds:.4g} s, and not {least:g}"

    return judge


def _drift(factor: float) -> Filter:
    if factor <= 1:
        raise ValueError(f"--keep drift={factor:g}: the factor must be above 1; 2 allows half and double.")

    def judge(episode: Candidate) -> str | None:
        for name in ("sharpness_kept", "contrast_kept"):
            share = episode.outcome["measures"].get(name, 1.0)
            if not 1 / factor <= share <= factor:
                return f"drift: {name.removesuffix('_kept')} is {share:.3g} times that of frame 0 at the end"
        return None

    return judge


def _camera(degrees: float) -> Filter:
    def judge(episode: Candidate) -> str | None:
        from scipy.spatial.transform import Rotation

        from sanawm_env.evaluation.camera_recovery.poses import recover_poses

        if episode.frames is None or len(episode.frames) < 2:
            return "camera: no step to recover"
        found = recover_poses(episode.frames, episode.intrinsics)
        if found.failed:
            return f"camera: not recovered ({found.reason})"
        at = found.frames[found.ok][1:]
        turned = Rotation.from_matrix(found.c2w[found.ok][1:, :3, :3])
        told = Rotation.from_matrix(episode.c2w[at, :3, :3])
        error = float(np.degrees(np.median((told.inv() * turned).magnitude())))
        return None if error <= degrees else f"camera: {error:.3g} degrees off in the median, and not {degrees:g}"

    return judge


def _own(text: str) -> Filter:
    module, _, name = text.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script looks beside itself only
    try:
        function = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"--keep {text}: {error}; name a function that can be imported.") from None
    if not callable(function):
        raise ValueError(f"--keep {text} is a {type(function).__name__}; name a function.")

    def judge(episode: Candidate) -> str | None:
        said = function(episode)
        if said is None or said is True or (isinstance(said, np.bool_) and bool(said)):
            return None
        if isinstance(said, bool | np.bool_):
            return f"{text}: not kept"
        if not isinstance(said, str):
            raise ValueError(f"--keep {text} gave a {type(said).__name__}; return True, False, or a reason.")
        return f"{text}: {said}"

    return judge


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise ValueError(f"--keep {name}={text}: give a number, for example {name}=2.")
    return value
