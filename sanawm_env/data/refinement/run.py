"""The second queue: refine what is kept, after a collection or beside it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sanawm_env.data.collection.plan import Item
from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.run import Play
from sanawm_env.data.collection.store import Store
from sanawm_env.data.execution import execute
from sanawm_env.data.refinement.wanted import Refinement
from sanawm_env.data.refinement.worker import MakeRefiner
from sanawm_env.world.offline.refiner import Offload
from sanawm_env.world.offline.refiner_files import RefinerFiles

__all__ = ["Beside", "Queue", "RefineJob", "refine", "refine_after", "refining_beside"]


@dataclass(frozen=True)
class RefineJob:
    """What is refined, with what, and by whom."""

    files: RefinerFiles
    refinement: Refinement
    codec: str
    device: str = "auto"
    offload: Offload = "none"
    ray: str | None = None
    """As of `execute`, like the next two."""
    workers: int | None = None
    threads: int | None = None


class Queue:
    """Items that wait to be refined; they come as episodes are kept, until it is closed."""

    def __init__(self) -> None:
        """Empty, and open."""
        self._waiting: deque[int] = deque()
        self._closed = threading.Event()

    def add(self, number: int) -> None:
        """Let an item wait."""
        self._waiting.append(number)

    def close(self) -> None:
        """No more will come."""
        self._closed.set()

    def __iter__(self) -> Iterator[int | None]:
        """Items in order; None where there is none for now."""
        while True:
            closed = self._closed.is_set()  # asked first: what was added before it was closed is still there
            if self._waiting:
                yield self._waiting.popleft()
            elif closed:
                return
            else:
                yield None


def refine(
    job: RefineJob,
    store: Store,
    items: Iterable[int | None],
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> bool:
    """Refine items.

    Args:
        job: How.
        store: Whose.
        items: Their numbers; None, which only Ray's executor takes, where there is none for now.
        say: Takes lines for the user.
        stop: See `execute`.

    Returns:
        Whether all of them are refined.

    Raises:
        Exception: Whatever `execute` raises: no room, no refiner, a full disk.
    """
    root = store.root.resolve()
    make = MakeRefiner(job.files, job.refinement, root, job.codec, job.device, job.offload, os.getcwd())
    results = execute(
        items, make,
        ray=job.ray, workers=job.workers, threads=job.threads, stop=stop, queue="refine",
        is_done=lambda number: job.refinement.is_done(store, number),
        shared=root, log=store.ours / "refiners.jsonl", say=lambda text: say(f"refining: {text}"),
    )  # fmt: skip
    done, failed, seconds = 0, 0, 0.0
    for result in results:
        if result.failed:
            failed += 1
            say(f"episode {result.item} is not refined: {result.failure}; the same line tries again")
        else:
            done, seconds = done + 1, seconds + (result.value or 0.0)
    if done:
        say(f"{store.root}: {done} episodes refined, {seconds / done:.3g} s each")
    return not failed


def refine_after(job: RefineJob, store: Store, say: Callable[[str], None]) -> bool:
    """Refine what is kept and not refined yet, in this process; see `refine`."""
    return refine(job, store, list(job.refinement.todo(store)), say)


class Beside:
    """A collection's second queue at work, in a thread that watches over refiners of Ray's.

    It begins with the first episode that has been played: refiners that came first could take all the room of a small
    cluster, and wait for ever for somebody to play.
    """

    def __init__(self, job: RefineJob, store: Store, say: Callable[[str], None]) -> None:
        """Let wait what an earlier run has left."""
        self._job, self._store, self._say = job, store, say
        self.queue, self.stop = Queue(), threading.Event()
        self.complete = False
        """Whether all that was wanted is refined, once the queue has ended."""
        self.error: BaseException | None = None
        self._thread: threading.Thread | None = None
        for number in job.refinement.todo(store):
            self.queue.add(number)

    def play(self, play: Play) -> Play:
        """A collection's `play` that lets each episode wait for its refinement as soon as it is kept."""

        def offering(items: Iterator[Item]) -> Iterator[Done | None]:
            with closing(play(items)) as results:  # type: ignore[type-var]
                for result in results:
                    if result is not None:
                        if self._job.refinement.wants(self._store, result.number):
                            self.queue.add(result.number)
                        self.begin()
                    yield result

        return offering

    def begin(self) -> None:
        """Let the refiners come, if they have not yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sanawm-refine", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Wait until all that waits is refined, or, once `stop` is set, until the refiners are let go."""
        self.queue.close()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            self.complete = refine(self._job, self._store, self.queue, self._say, self.stop)
        except BaseException as error:
            self.error = error


@contextmanager
def refining_beside(job: RefineJob, store: Store, say: Callable[[str], None]) -> Iterator[Beside]:
    """Refine through Ray while a collection goes on.

    Where the block raises, the refiners are let go; the next run does what they had in hand.

    Raises:
        Exception: What ended the refining, once the block is done.
    """
    beside = Beside(job, store, say)
    try:
        yield beside
        beside.begin()  # nothing was played, and an earlier run has left something
        beside.end()
    except BaseException:
        beside.stop.set()
        beside.end()
        raise
    if beside.error is not None:
        raise beside.error
