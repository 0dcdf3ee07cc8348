"""What an executor carries out: items that are integers, and workers that do them.

The truth is the file system, never the executor: an item is done when its final file exists, and who writes that file
writes a temporary one first and moves it. So an item that is done twice, because the first worker was only believed
dead, leaves the same file, whole; and a run that was killed goes on with a list of what is not there yet.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sanawm_env.files import FULL

__all__ = ["MakeWorker", "Result", "Worker", "carry_out", "reason_of", "stops_everything"]

_LONGEST_REASON = 300
_STOPPING = {*FULL, errno.EROFS}


@dataclass(frozen=True)
class Result:
    """How one item ended."""

    item: int
    """Which."""
    value: Any = None
    """What the worker has to say about it: small and picklable; None where it failed, or was found done."""
    failure: str | None = None
    """Why it could not be done; None where it was."""
    found: bool = False
    """Its file was there when it was to be handed out again: a lost worker had done it."""
    worker: str = ""
    """Who did it; the executor fills it in."""

    @property
    def failed(self) -> bool:
        """Whether the item is still to be done."""
        return self.failure is not None


class Worker(Protocol):
    """Does items. It is made where it works, once in each process, and keeps there what is dear, such as a model."""

    slots: int
    """How many items it has in hand at a time."""

    def run(self, items: Iterable[int]) -> Iterator[Result]:
        """Do items; each `Result` is there as soon as its item has ended, in any order.

        What goes wrong with an item is the item's result, and the others go on. An exception fails all the items that
        were taken from `items` and have no result yet, so a worker should take the next one only when it has a slot
        free.
        """


MakeWorker: TypeAlias = Callable[[], Worker]
"""Makes a worker; picklable, and light before it is called: a partial of a class and its settings, say."""


def carry_out(worker: Worker, items: Iterable[int]) -> Iterator[Result]:
    """Let a worker do items, each of which gets exactly one result, whatever the worker does.

    Raises:
        OSError: The disk is full or read-only, or the quota is used up: no further item could be done either.
        RuntimeError: The worker gives a result of an item that it does not have.
    """
    rest = iter(items)
    for first in rest:
        hand = _Hand(first, rest)
        failure = "the worker stopped without a result"
        try:
            for result in worker.run(hand):
                hand.end(result.item)
                yield result
        except Exception as error:
            if stops_everything(error) or isinstance(error, _NotTaken):
                raise
            failure = reason_of(error)
        for item in hand.open:
            yield Result(item, failure=failure)


def reason_of(error: BaseException) -> str:
    """An exception in one line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]} ..."


def stops_everything(error: BaseException) -> bool:
    """Whether the next item would meet the same: nothing can be written any more."""
    return isinstance(error, OSError) and error.errno in _STOPPING


class _NotTaken(RuntimeError):
    """A worker and its executor disagree about what is to be done."""


class _Hand:
    """Items as a worker takes them: remembers which of them have no result yet."""

    def __init__(self, first: int, rest: Iterator[int]) -> None:
        self.open: list[int] = []
        self._items = self._take(first, rest)

    def _take(self, first: int, rest: Iterator[int]) -> Iterator[int]:
        self.open.append(first)
        yield first
        for item in rest:
            self.open.append(item)
            yield item

    def __iter__(self) -> Iterator[int]:
        return self._items

    def end(self, item: int) -> None:
        if item not in self.open:
            raise _NotTaken(f"a worker has a result of item {item}, which it was not given or has ended already.")
        self.open.remove(item)
