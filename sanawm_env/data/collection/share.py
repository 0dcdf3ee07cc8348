"""`share`: play a plan's items by many workers, each with a model of its own, through Ray."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.store import Store
from sanawm_env.data.collection.worker import Worker
from sanawm_env.data.execution import Result, enter_folder, execute
from sanawm_env.world.model import WorldModel

__all__ = ["Sharing", "share"]

_PATIENCE = 10.0
"""Seconds for workers that were let go to end."""


@dataclass(frozen=True)
class Sharing:
    """How the work is spread; `data.execution.execute` tells what each field means."""

    ray: str
    workers: int | None = None
    threads: int | None = None
    slots: int | None = None
    """Episodes at a time in each worker; None is what suits the model."""
    ahead: bool = True
    """Whether a worker gets more than it has slots. Where hours or bytes decide when it is enough, what waits in its
    hand would be played on top."""


@dataclass(frozen=True)
class MakePlayer:
    """Makes a `Player` in another process, perhaps on another machine."""

    load: Callable[[], WorldModel]
    """Picklable."""
    plan: Plan
    root: Path
    """Of the store, absolute."""
    slots: int | None
    folder: str
    """Working folder, to which the paths in a plan belong."""

    def __call__(self) -> Player:
        """Load the model.

        Raises:
            ValueError: It is another one than the driver's.
        """
        enter_folder(self.folder)
        model = self.load()
        if model.checkpoint != self.plan.checkpoint_hash:
            raise ValueError(
                f"the machine {socket.gethostname()} has another checkpoint {self.plan.checkpoint!r} "
                f"({model.checkpoint[:16]}, not {self.plan.checkpoint_hash[:16]}); install the same one everywhere."
            )
        return Player(model, self.plan, Store(self.root), self.slots or (8 if model.batched else 1))


class Player:
    """A collection's worker as executors want it: items by number, results with `Done` as their value."""

    def __init__(self, model: WorldModel, plan: Plan, store: Store, slots: int) -> None:
        """Announce to the store that somebody writes into it."""
        self.slots, self.device = slots, model.device
        self._plan = plan
        self._in_use = store.announce()  # until this process ends
        self._worker = Worker(model, plan, store, slots)

    def run(self, items: Iterable[int]) -> Iterator[Result]:
        """Play items."""
        for done in self._worker.play(self._plan.item(number) for number in items):
            if done is not None:
                yield Result(done.number, value=done)


def share(
    plan: Plan, store: Store, load: Callable[[], WorldModel], sharing: Sharing, say: Callable[[str], None]
) -> Callable[[Iterator[Item]], Iterator[Done | None]]:
    """What plays items for `collect`.

    An episode whose worker died again and again is not there afterwards; the next run tries it again.

    Args:
        plan: Whose items.
        store: An opened one, on a file system that all machines share.
        load: Loads the world in a worker; picklable.
        sharing: How.
        say: Takes lines for the user.
    """
    root = store.root.resolve()
    make = MakePlayer(load, plan, root, sharing.slots, os.getcwd())

    def play(items: Iterator[Item]) -> Iterator[Done | None]:
        results = execute(
            (item.number for item in items),
            make,
            total=None if plan.episodes is None else sum(not store.episode(i).exists() for i in range(plan.episodes)),
            ray=sharing.ray,
            workers=sharing.workers,
            threads=sharing.threads,
            ahead=sharing.ahead,
            is_done=lambda number: store.episode(number).exists(),
            shared=root,
            log=store.ours / "workers.jsonl",
            say=say,
        )
        for result in results:
            if result.failed:
                say(f"episode {result.item} is not there: {result.failure}; the same line tries again")
            elif result.found:
                values = json.loads(store.episode(result.item).read_text(encoding="utf-8"))
                yield Done.of(result.item, values, store.size_of(result.item))
            else:
                yield result.value
            yield None
        store.sweep(_PATIENCE)  # of workers that died in the middle of a file; if one still lives, the next run does it

    return play
