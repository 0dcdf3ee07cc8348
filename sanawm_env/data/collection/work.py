"""`WorkList`: which items are still to be played, and when it is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.data.collection.recorder import Done

__all__ = ["WorkList"]

_PATIENCE = 100
"""Items in a row that may fail or be dropped before a collection that counts hours is thought to be hopeless."""


class WorkList:
    """All items of a plan minus those that are done, handed out one by one in order.

    Whoever plays asks for the next, and tells what has become of it; who that is, and how many, is not known here.
    """

    def __init__(self, plan: Plan, done: Mapping[int, Mapping[str, Any]], *, size: int = 0, quota: int | None = None):
        """Take up a collection.

        Args:
            plan: What was asked for.
            done: `Store.done`.
            size: Bytes on the disk.
            quota: Bytes at which no more items are handed out; None is no limit.
        """
        self.plan, self.size, self.quota = plan, size, quota
        self._skip = set(done)
        outcomes = [values["outcome"] for values in done.values()]
        self.finished = len(done)
        """Items that are done; with `episodes` those of the plan only."""
        if plan.episodes is not None:
            self.finished = sum(number < plan.episodes for number in done)
        self.kept_seconds = float(sum(each["seconds_of_world"] for each in outcomes if each["kept"]))
        """World time of what is kept."""
        self._next = 0
        self._unkept = 0

    @property
    def complete(self) -> bool:
        """Whether what was asked for is there."""
        if self.plan.episodes is not None:
            return self.finished >= self.plan.episodes
        assert self.plan.hours is not None, "a plan has either"
        return self.kept_seconds >= self.plan.hours * 3600 - 1e-6

    @property
    def full(self) -> bool:
        """Whether the quota is used up."""
        return self.quota is not None and self.size >= self.quota

    @property
    def hopeless(self) -> bool:
        """Whether hours are asked for and nothing is kept any more."""
        return self.plan.hours is not None and self._unkept >= _PATIENCE

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        """The next item.

        Raises:
            StopIteration: There is none, for now or at all: `complete`, `full` and `hopeless` tell why.
        """
        if self.complete or self.full or self.hopeless:
            raise StopIteration
        while self._next in self._skip:
            self._next += 1
        if self.plan.episodes is not None and self._next >= self.plan.episodes:
            raise StopIteration
        self._next += 1
        return self.plan.item(self._next - 1)

    def add(self, done: Done) -> None:
        """An item is on the disk."""
        self.finished += 1
        self.size += done.bytes
        if done.kept:
            self.kept_seconds += done.seconds_of_world
        self._unkept = 0 if done.kept else self._unkept + 1
