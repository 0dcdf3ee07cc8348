"""What is wrong with a state, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sanawm_env.world.state.value import WorldState

__all__ = ["StateError", "misfit", "named", "other_precision", "unlike"]

_FREE = ("text", "text_mask")
"""Tensors whose length is free."""


class StateError(ValueError):
    """A state, a snapshot or a file of one that cannot go on here: of another world or task, or not whole."""


def named(checkpoint: str, name: str) -> str:
    """A checkpoint for an error message: its hash, and its name where one is known."""
    return f"{checkpoint!r} ({name})" if name else repr(checkpoint)


def misfit(state: WorldState, pattern: WorldState, device: torch.device) -> StateError:
    """Why a world could not go on from a state that is not like `pattern`, or not on `device` (`check_fits`)."""
    if state.checkpoint != pattern.checkpoint:
        return StateError(
            f"the state belongs to checkpoint {named(state.checkpoint, state.checkpoint_name)}, "
            f"this world is {named(pattern.checkpoint, pattern.checkpoint_name)}; "
            "load that checkpoint, or start a new rollout."
        )
    if state.state_precision != pattern.state_precision:
        return other_precision(state.state_precision, pattern.state_precision)
    if state.device.type != device.type:
        return StateError(f"the state is on {state.device}, the world on {device}; use state.to().")
    return _other_tensor(state.flat(), pattern.flat())


def _other_tensor(state: Mapping[str, Tensor], world: Mapping[str, Tensor]) -> StateError:
    """Which tensor of a state is not as its world's are, by shape without slots and type."""
    found, wanted = (
        {n: ((tuple(v.shape[1:]) if n not in _FREE else ()), v.dtype) for n, v in tensors.items()}
        for tensors in (state, world)
    )
    name = min(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    return StateError(
        f"the state's tensor '{name}' is {found.get(name, 'absent')}, this world has {wanted.get(name, 'none')}; "
        "load the world in the dtype the state was made in, or start a new rollout."
    )


def other_precision(state: str, world: str) -> StateError:
    """A state that is kept in another way than a world, or another state, keeps its own; empty is the default."""
    mine, theirs = (repr(name) if name else "the type of its activations" for name in (state, world))
    return StateError(
        f"the state is kept in {mine}, here states are kept in {theirs}; load the world with "
        f"state_precision={state or None!r}, or start a new rollout."
    )


def unlike(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> StateError:
    """Which tensor keeps two states from being joined."""
    described = {name: (_describe(mine.get(name)), _describe(theirs.get(name))) for name in mine.keys() | theirs.keys()}
    name = min(name for name, (a, b) in described.items() if a != b)
    return StateError(
        f"the states' '{name}' differ: {described[name][0]} against {described[name][1]}. Use the same text "
        "length, dtype and device (`to`) for all slots."
    )


def _describe(value: Tensor | None) -> str:
    return "absent" if value is None else f"{tuple(value.shape[1:])} {value.dtype} on {value.device}"
