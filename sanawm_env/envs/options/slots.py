"""Reading of what a vector environment is asked for: seeds, masks and options of each slot, slot numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from sanawm_env.envs.options.arguments import OPTIONS

__all__ = ["VECTOR_OPTIONS", "naming", "one_each", "read_moments", "read_options", "read_seeds", "read_slots"]

VECTOR_OPTIONS = ("reset_mask", "per_slot")
"""Keys that `SanaWMVectorEnv.reset(options=...)` knows beside those of the single environment."""


@contextmanager
def naming(slot: int) -> Iterator[None]:
    """Say in an error which slot it is about."""
    try:
        yield
    except (FileNotFoundError, gym.error.Error) as error:
        raise type(error)(f"slot {slot}: {error}") from error  # who catches the kind should get it
    except ValueError as error:
        raise ValueError(f"slot {slot}: {error}") from error


def read_seeds(seed: Any, slots: int) -> list[int | None]:
    """One seed per slot: None for all, one integer counted up, or one of either per slot.

    Raises:
        ValueError: Another number of seeds, or no integers of at least 0.
    """
    if seed is None:
        return [None] * slots
    try:
        first = operator.index(seed)
        seeds: list[Any] = [first + i for i in range(slots)]
    except TypeError:
        seeds = list(seed) if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else [seed]
        if len(seeds) != slots:
            raise ValueError(
                f"seed must be None, one integer, or a list of {slots}, one per slot; got {seed!r}."
            ) from None
    read: list[int | None] = []
    for slot, value in enumerate(seeds):
        try:
            number = None if value is None else operator.index(value)
        except TypeError:
            number = -1
        if number is not None and number < 0:
            raise ValueError(f"slot {slot}: a seed is an integer of at least 0, or None; got {value!r}.")
        read.append(number)
    return read


def read_options(options: Any, slots: int) -> tuple[list[int], dict[str, Any], dict[int, dict[str, Any]]]:
    """The slots to reset, the options that they share, and those of slots that have their own.

    Raises:
        TypeError: A mask that is no boolean array, as in Gymnasium's own vector environments.
        ValueError: No dictionary, an unknown key, a mask of another shape or of no slot, another number of
            entries in `per_slot`, or options for a slot that is not reset.
    """
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"options must be a dictionary or None; got {type(options).__name__}.")
    shared = dict(options or {})
    unknown = sorted(str(key) for key in shared if key not in OPTIONS + VECTOR_OPTIONS)
    if unknown:
        allowed = ", ".join(OPTIONS + VECTOR_OPTIONS)
        raise ValueError(f"unknown reset option {', '.join(map(repr, unknown))}; allowed are {allowed}.")
    mask, entries = shared.pop("reset_mask", None), shared.pop("per_slot", None)
    chosen = list(range(slots)) if mask is None else _read_mask(mask, slots)
    if entries is None:
        return chosen, shared, {}
    if not isinstance(entries, list | tuple) or len(entries) != slots:
        got = len(entries) if isinstance(entries, list | tuple) else type(entries).__name__
        raise ValueError(
            f"option 'per_slot' must be a list of {slots} dictionaries or None, one per slot; got {got}. "
            "None leaves a slot to the options that all share."
        )
    own = {slot: entry for slot, entry in enumerate(entries) if entry is not None}
    running = [slot for slot in own if own[slot] and slot not in chosen]
    if running:
        raise ValueError(
            f"slot {running[0]}: its episode is running and reset_mask does not end it, so options cannot count; "
            "set its entry of 'per_slot' to None, or its entry of 'reset_mask' to True."
        )
    return chosen, shared, {slot: own[slot] for slot in chosen if slot in own}


def read_slots(slots: int | Sequence[int] | None, count: int) -> list[int]:
    """Slot numbers from one, several or None, which is all.

    Raises:
        ValueError: None at all, one that does not exist, or one twice.
    """
    if slots is None:
        return list(range(count))
    try:
        given = [slots] if isinstance(slots, int | np.integer) else list(slots)
        chosen = [operator.index(slot) for slot in given]
    except TypeError:
        chosen = []
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= slot < count for slot in chosen):
        raise ValueError(f"slots must be different numbers in 0..{count - 1}, at least one; got {slots!r}.")
    return chosen


def read_moments(moments: Any) -> list[Any]:
    """One moment per slot from a single one, a sequence, or a state of many slots or its file."""
    from sanawm_env.envs.snapshot import EnvSnapshot
    from sanawm_env.world.state import WorldState

    if isinstance(moments, str | Path) and Path(moments).is_file():
        try:
            held = WorldState.load(moments)
        except ValueError:
            return [moments]  # whoever adopts it says what is wrong
        moments = held if held.slots > 1 else moments
    if isinstance(moments, WorldState):
        return [moments] if moments.slots == 1 else [moments.select([i]) for i in range(moments.slots)]
    if isinstance(moments, EnvSnapshot | str | Path) or not isinstance(moments, Sequence):
        return [moments]
    return list(moments)


def one_each(actions: Any, slots: int, shape: tuple[int, ...] | None) -> Any:
    """The actions, once there is one per slot.

    Raises:
        ValueError: Another number of them.
    """
    try:
        count = len(actions)
    except TypeError:
        count = -1
    if count != slots:
        got = type(actions).__name__ if count < 0 else f"{count} of them"
        raise ValueError(f"actions must be {slots}, one per slot, of shape {shape} together; got {got}.")
    return actions


def _read_mask(mask: Any, slots: int) -> list[int]:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = f"array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"options['reset_mask'] must be a NumPy array of dtype bool; got {got}.")
    if mask.shape != (slots,):
        raise ValueError(f"options['reset_mask'] must have shape ({slots},), one entry per slot; got {mask.shape}.")
    if not mask.any():
        raise ValueError("options['reset_mask'] is False for every slot; set it to True where to reset.")
    return [int(slot) for slot in np.flatnonzero(mask)]
