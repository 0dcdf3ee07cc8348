"""Whether a state belongs to a world: its weights, device, shapes and types."""

from __future__ import annotations

import torch

from sanawm_env.world.state import WorldState, named

__all__ = ["check_state"]


def check_state(state: WorldState, pattern: WorldState, device: torch.device) -> None:
    """Refuse a state that a world could not go on from.

    Args:
        state: The state.
        pattern: A state of the world with any number of slots and any length of text; may be on the meta device.
        device: The world's.

    Raises:
        ValueError: Another checkpoint's state, or one on another device, of other shapes or types.
    """
    if state.checkpoint != pattern.checkpoint:
        raise ValueError(
            f"the state belongs to checkpoint {named(state.checkpoint, state.checkpoint_name)}, "
            f"this world is {named(pattern.checkpoint, pattern.checkpoint_name)}; "
            "load that checkpoint, or start a new rollout."
        )
    if state.device.type != device.type:
        raise ValueError(f"the state is on {state.device}, the world on {device}; use state.to().")
    found, wanted = _signature(state), _signature(pattern)
    if found != wanted:
        name = min(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
        raise ValueError(
            f"the state's tensor '{name}' is {found.get(name, 'absent')}, this world has "
            f"{wanted.get(name, 'none')}; load the world in the dtype the state was made in, or start a new rollout."
        )


def _signature(state: WorldState) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape without slots, and type, of every tensor; the free length of the text left out."""
    text = ("text", "text_mask")
    return {n: ((tuple(v.shape[1:]) if n not in text else ()), v.dtype) for n, v in state.flat().items()}
