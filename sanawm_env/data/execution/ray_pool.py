"""Carry out a work list by actors of Ray, one worker each; what a lost one had in hand is handed out again.

An actor is restarted by Ray itself as often as it dies, on any machine that has room. Its items are not repeated by
Ray, which would repeat the whole group, but by this loop: it knows which of them have ended, asks the file system
about the others, counts how often each has met the death of its worker, and gives up on an item that kills everybody.
"""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

from sanawm_env.data.execution.jobs import MakeWorker, Result, Worker, carry_out, reason_of
from sanawm_env.data.execution.place import place_of_process
from sanawm_env.data.execution.progress import Board
from sanawm_env.data.execution.ray_metrics import publisher
from sanawm_env.data.execution.ray_room import Room, describe_resources
from sanawm_env.data.execution.ray_session import session

__all__ = ["Pool", "run_ray"]

_PATIENCE = 30.0
"""Seconds without any worker before the user is told what is waited for."""
_NOTHING_FOR_NOW = 0.2
"""Seconds until a list that has nothing for now is asked again."""
_DEATHS_AT_PREPARING = 3
"""In a row, after which it is no bad luck: the model does not fit into memory, say."""


@dataclass(frozen=True)
class Pool:
    """How a work list is spread; `execute` tells what each field means."""

    address: str
    workers: int | None
    threads: int | None
    gpus: float | None
    group: int | None
    ahead: bool
    retries: int
    is_done: Callable[[int], bool] | None
    shared: Path | None
    stop: Event | None
    queue: str
    say: Callable[[str], None]


class Host:
    """What runs in an actor: one worker, made on the first call of `prepare` in each process."""

    def __init__(self, make_worker: bytes, shared: str | None) -> None:
        # Read later: what an actor cannot read in the beginning kills it, and the reason is lost in Ray's own words.
        self._make, self._shared = make_worker, shared
        self._worker: Worker | None = None

    def ping(self) -> None:
        """Answer: the process is there, for the first time or again."""

    def prepare(self) -> dict[str, Any]:
        """Make the worker unless it is there.

        Returns:
            Where it runs.

        Raises:
            FileNotFoundError: This machine does not see the folder that all share.
            Exception: The worker cannot be made: a module is missing here, say.
        """
        if self._worker is None:
            if self._shared is not None and not os.path.isdir(self._shared):
                raise FileNotFoundError(
                    f"the machine {os.uname().nodename} does not see {self._shared}; choose a folder on a file system "
                    "that all machines of the cluster share."
                )
            self._worker = pickle.loads(self._make)()
        return place_of_process(self._worker)

    def run(self, items: list[int]) -> Iterator[Result]:
        """Do items."""
        assert self._worker is not None  # a restarted actor gets no items before `prepare`
        yield from carry_out(self._worker, items)


@dataclass
class _Seat:
    """An actor as the loop sees it: it begins (`ref`), does a group of items (`stream`), or is free (neither)."""

    name: str
    actor: Any
    ref: Any = None
    """Of its answer to `ping`, then to `prepare`."""
    there: bool = False
    """It has answered `ping`."""
    deaths: int = 0
    """While it prepared, in a row."""
    stream: Any = None
    slots: int = 1
    open: list[int] = field(default_factory=list)


def run_ray(items: Iterable[int | None], make_worker: MakeWorker, board: Board, pool: Pool) -> Iterator[Result]:
    """Do items in actors that are fed as they become free.

    Raises:
        ValueError: The cluster cannot be reached, or has no room.
        OSError: Nothing can be written any more.
        RuntimeError: No worker could be made.
    """
    with session(pool.address, pool.say) as ray:
        board.publish = publisher(ray, pool.queue)
        loop = _Loop(ray, items, board, pool)
        try:
            loop.seat(make_worker)
            yield from loop.results()
        finally:
            board.publish = None
            loop.dismiss()


class _Loop:
    def __init__(self, ray: Any, items: Iterable[int | None], board: Board, pool: Pool) -> None:
        self.ray, self.board, self.pool = ray, board, pool
        self.items = iter(items)
        self.again: deque[int] = deque()
        """Handed out once already; they go alone, so that one that kills its worker takes no others along."""
        self.losses: Counter[int] = Counter()
        self.seats: list[_Seat] = []
        self.exhausted = False
        self.last_error = ""

    # -- actors -----------------------------------------------------------------------------------------

    def seat(self, make_worker: MakeWorker) -> None:
        """Ask for the actors. Those that there is no room for yet come when there is."""
        ray, pool = self.ray, self.pool
        room = Room.of(ray, pool.threads, pool.gpus)
        kind = ray.remote(Host).options(**room.options())
        shared = None if pool.shared is None else str(pool.shared.resolve())
        make = ray.cloudpickle.dumps(make_worker)
        count = pool.workers or room.count
        for number in range(count if self.board.total is None else min(count, self.board.total)):
            seat = _Seat(f"ray-{number}", kind.remote(make, shared))
            self.seats.append(seat)
            self._begin(seat)

    def dismiss(self) -> None:
        """Let go of the actors, whatever they do."""
        for seat in self.seats:
            self.ray.kill(seat.actor)

    def _begin(self, seat: _Seat) -> None:
        """Wait until its process is there, which Ray starts, on whatever machine, as often as it dies."""
        seat.there = False
        seat.ref = seat.actor.ping.options(max_task_retries=-1).remote()

    # -- the loop ---------------------------------------------------------------------------------------

    def results(self) -> Iterator[Result]:
        told = False
        since = time.monotonic()
        while True:
            yield from self._feed()
            if self._over() or (self.pool.stop is not None and self.pool.stop.is_set()):
                return
            waiting = {seat.ref or seat.stream: seat for seat in self.seats if seat.ref or seat.stream}
            if not self.seats:
                raise RuntimeError(f"no worker could be made. {self.last_error}")
            if not waiting:  # all are free, and there is nothing for now
                time.sleep(_NOTHING_FOR_NOW)
                continue
            ready, _ = self.ray.wait(list(waiting), num_returns=1, timeout=1.0)
            for each in ready:
                seat = waiting[each]
                if seat.ref is not None:
                    self._answered(seat)
                else:
                    yield from self._advance(seat)
            if any(seat.ref is None for seat in self.seats):
                told, since = True, time.monotonic()
            elif not told and time.monotonic() - since > _PATIENCE:
                told = True
                total, free = self.ray.cluster_resources(), self.ray.available_resources()
                self.pool.say(
                    f"no worker is ready yet; the cluster has {describe_resources(total)}, of which "
                    f"{describe_resources(free)} is free."
                )

    def _feed(self) -> Iterator[Result]:
        """Give items to those who are free."""
        for seat in self.seats:
            while seat.ref is None and seat.stream is None and (items := self._next(seat)):
                self.board.took(len(items))
                if self.losses[items[0]] and self.pool.is_done is not None and self.pool.is_done(items[0]):
                    yield self._end(Result(items[0], found=True, worker=seat.name))
                    continue
                seat.open = items
                # Not repeated by Ray: see the module.
                run = seat.actor.run.options(num_returns="streaming", max_task_retries=0)
                seat.stream = run.remote(list(items))

    def _over(self) -> bool:
        """Whether nothing is left, in the list or in anybody's hand."""
        now = self.board.progress()
        return now.running == 0 and not self.again and (self.exhausted or now.queued == 0)

    def _next(self, seat: _Seat) -> list[int]:
        """What a free actor is to do; empty if there is nothing."""
        if self.again:
            return [self.again.popleft()]
        size = self.pool.group or (4 * seat.slots if self.pool.ahead and seat.slots > 1 else seat.slots)
        if (queued := self.board.progress().queued) is not None:  # at the end all get a share
            size = max(1, min(size, -(-queued // len(self.seats))))
        items: list[int] = []
        for item in islice(self.items, size):
            if item is None:
                return items
            items.append(item)
        self.exhausted = not items
        return items

    def _answered(self, seat: _Seat) -> None:
        ref, seat.ref = seat.ref, None
        try:
            place = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:  # by the worker's own code: it would fail again
            self._drop(seat, reason_of(_cause(error)))
        except self.ray.exceptions.RayError as error:
            seat.deaths += seat.there
            if not seat.there or seat.deaths >= _DEATHS_AT_PREPARING:
                self._drop(seat, f"its process died {seat.deaths} times while it made the worker: {reason_of(error)}")
            else:
                self.board.worker_lost(seat.name, reason_of(error), [])
                self._begin(seat)
        else:
            if not seat.there:
                seat.there = True
                seat.ref = seat.actor.prepare.options(max_task_retries=0).remote()
                return
            seat.deaths, seat.slots = 0, place["slots"]
            self.board.ready(seat.name, place)

    def _advance(self, seat: _Seat) -> Iterator[Result]:
        """Take the next result of a group."""
        try:
            result = self.ray.get(next(seat.stream))
        except StopIteration:
            seat.stream = None
            if seat.open:
                yield from self._lost(seat, "its results did not arrive")
        except self.ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self.ray.exceptions.RayError as error:
            seat.stream = None
            yield from self._lost(seat, reason_of(error))
        else:
            seat.open.remove(result.item)
            yield self._end(replace(result, worker=seat.name))

    def _end(self, result: Result) -> Result:
        self.board.ended(result)
        return result

    def _lost(self, seat: _Seat, reason: str) -> Iterator[Result]:
        """Put what a lost worker had in hand into the queue again, or give it up."""
        items, seat.open = seat.open, []
        self.losses.update(items)
        hopeless = [item for item in items if self.losses[item] > self.pool.retries]
        self.again.extend(item for item in items if item not in hopeless)
        self.board.worker_lost(seat.name, reason, [item for item in items if item not in hopeless])
        self._begin(seat)
        for item in hopeless:
            failure = f"its worker was lost {self.losses[item]} times, perhaps for want of memory; last: {reason}"
            yield self._end(Result(item, failure=failure, worker=seat.name))

    def _drop(self, seat: _Seat, reason: str) -> None:
        self.last_error = reason
        self.seats.remove(seat)
        self.ray.kill(seat.actor)
        self.board.event("dropped", worker=seat.name, reason=reason)


def _cause(error: Any) -> BaseException:
    return error.cause if isinstance(getattr(error, "cause", None), BaseException) else error
