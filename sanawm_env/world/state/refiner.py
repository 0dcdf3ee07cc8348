"""Stage 2 in a state: whether a state's refiner and a world's belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanawm_env.world.state.errors import StateError

if TYPE_CHECKING:
    from sanawm_env.world.networks.refiner.state import RefinerState

__all__ = ["check_joinable", "check_refiner"]


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
