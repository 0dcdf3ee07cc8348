"""Stage 2 in a state: how its memory comes into it, and whether a state's refiner and a world's belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from sanawm_env.world.state.errors import StateError

if TYPE_CHECKING:
    from sanawm_env.world.networks.refiner.refiner import StreamRefiner
    from sanawm_env.world.networks.refiner.state import RefinerState
    from sanawm_env.world.state.value import WorldState

__all__ = ["check_joinable", "check_refiner", "look_first", "refiner_text"]


def look_first(refiner: StreamRefiner, state: WorldState, text: Tensor) -> WorldState:
    """The state with the refiner's memory of frame 0, and none of what came after it."""
    following = [max(1, frames) for frames in state.cache.frames.tolist()]
    return state.changed(refiner=refiner.start(state.first_latent, text, following))


def refiner_text(refiner: StreamRefiner | None, text: Tensor | None, slots: int) -> Tensor | None:
    """Text `(slots, L, channels)` for a refiner, that of the empty prompt if none is given; None without a refiner.

    Raises:
        ValueError: Text of another shape, or for no refiner.
        FileNotFoundError: The empty prompt has to be encoded, and there is no text encoder.
    """
    if refiner is None:
        if text is not None:
            raise ValueError("this world has no refiner, which would read that text; leave it out.")
        return None
    given = refiner.encode("").expand(slots, -1, -1) if text is None else text
    channels = refiner.model.config.caption_channels
    if given.ndim != 3 or given.shape[0] != slots or given.shape[2] != channels:
        raise ValueError(f"the refiner's text must be ({slots}, L, {channels}); got {tuple(given.shape)}.")
    return given


def check_refiner(found: RefinerState | None, refiner: str | None) -> None:
    """Refuse a state that a world, with its refiner or without one, could not go on from.

    Args:
        found: In the state.
        refiner: Hash of the world's refiner; None is a world without.

    Raises:
        ValueError: One has a refiner and the other none, or another.
    """
    if (None if found is None else found.refiner) == refiner:
        return
    if found is None:
        raise StateError(
            "the state has no refiner's memory, and this world refines; begin with world.begin_refining(state), "
            "or go on in a world without refiner."
        )
    if refiner is None:
        raise StateError(
            "the state holds a refiner's memory, and this world has no refiner; load the world with refiner='stream', "
            "or drop it with state.without_refiner()."
        )
    raise StateError(
        f"the state's refiner is {found.refiner!r}, the world's {refiner!r}: its weights, type or window differ. Load "
        "the same one, or begin anew with world.begin_refining(state.without_refiner())."
    )


def check_joinable(mine: RefinerState | None, theirs: RefinerState | None) -> None:
    """Refuse two states that cannot become slots of one.

    Raises:
        ValueError: One has a refiner's memory and the other none, or another's.
    """
    names = [None if state is None else state.refiner for state in (mine, theirs)]
    if names[0] != names[1]:
        told = ["none" if name is None else repr(name) for name in names]
        raise StateError(
            f"states with refiners {told[0]} and {told[1]} cannot be joined; make both with one WorldModel."
        )
