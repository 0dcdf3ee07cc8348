"""`Starts`: which items begin as an earlier one does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.collection.filters import check_start
from sanawm_env.data.collection.looks import start_hash
from sanawm_env.data.collection.plan import Item, Plan

__all__ = ["Starts"]


class Starts:
    """Hashes of the pictures that a plan's items begin with, made as they are asked for."""

    def __init__(self, plan: Plan, distance: int | None, first_picture: Callable[[Item], NDArray[np.uint8]]) -> None:
        """Look at nothing yet.

        Args:
            plan: Whose items.
            distance: Bits in which two starts must differ at least, as `filters.start_distance` gives them; None takes
                any start.
            first_picture: `(H, W, 3)` that an item begins with.
        """
        self._plan, self._distance, self._first_picture = plan, distance, first_picture
        self._hashes: dict[int, int] = {}

    def duplicate(self, item: Item) -> str | None:
        """Why an item's start is not new; decided by numbers, not by who was played first, so that reruns agree."""
        if self._distance is None:
            return None
        for number in range(item.number + 1):
            if number not in self._hashes:
                self._hashes[number] = start_hash(self._first_picture(self._plan.item(number)))
        earlier = {number: self._hashes[number] for number in range(item.number)}
        return check_start(self._hashes[item.number], earlier, self._distance)
