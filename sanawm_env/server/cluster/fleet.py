"""`Fleet`: the replicas, kept alive, and which of them serves which session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sanawm_env.server.cluster.replica import Started
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.claims import owner_of

__all__ = ["Fleet", "Replica", "ReplicaDied", "ReplicaFailed", "ReplicaProcess"]

_LOG = logging.getLogger(__name__)
_DEATHS = 3
"""In a row while it starts, after which it is no bad luck: the model does not fit into memory, say."""
_KEYS = 4096
"""Of `create`, of which the replica is remembered."""


class ReplicaFailed(Exception):
    """A replica's own code refuses to start: it would do so again."""


class ReplicaDied(Exception):
    """A replica's process ended while it started."""


class ReplicaProcess(Protocol):
    """A process that something else starts, and starts again when it dies."""

    async def start(self) -> Started:
        """Wait until it serves.

        Raises:
            ReplicaFailed, ReplicaDied: It does not.
        """

    async def lost(self) -> None:
        """Wait until the process that `start` told of is gone."""

    async def stop(self) -> None:
        """Let it save its sessions, and end it."""


@dataclass(eq=False)
class Replica:
    """One of them."""

    number: int
    process: ReplicaProcess
    started: Started | None = None
    """None while it is not there."""
    failure: str | None = None
    """Why it is not tried again."""
    losses: int = 0
    """How often its process died."""
    sessions: set[str] = field(default_factory=set)
    """That it serves, as far as is known."""

    @property
    def state(self) -> str:
        """ready, starting or failed."""
        return "ready" if self.started is not None else "starting" if self.failure is None else "failed"


class Fleet:
    """Used in one event loop. A session stays with its replica while that lives; then it goes to another one."""

    def __init__(
        self,
        processes: Sequence[ReplicaProcess],
        folder: Path,
        say: Callable[[str], None],
        *,
        patience: float = 60.0,
    ) -> None:
        """Begin without any that is there.

        Args:
            processes: The replicas.
            folder: Which they share.
            say: Takes what whoever runs the server should know.
            patience: Seconds that a request waits for a replica.
        """
        self.replicas = [Replica(number, process) for number, process in enumerate(processes)]
        self.folder = folder / "sessions"
        self.moved = 0
        """Sessions that went to another replica."""
        self._say, self._patience = say, patience
        self._keys: dict[str, Replica] = {}
        self._former: set[str] = set()
        """Names of processes that died."""
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Keep the replicas alive from now on."""
        self._tasks = [asyncio.create_task(self._keep(replica)) for replica in self.replicas]

    async def close(self) -> None:
        """Let all replicas save their sessions, and end them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(replica.process.stop() for replica in self.replicas), return_exceptions=True)

    @property
    def living(self) -> list[Replica]:
        """Those that serve."""
        return [replica for replica in self.replicas if replica.started is not None]

    # -- who serves what ------------------------------------------------------------------------------------

    async def place(self, session: str) -> tuple[Replica, Started]:
        """The replica of a session.

        Raises:
            ServerError: `unknown-session`; `unavailable`: no replica is left.
        """
        living = await self._some()  # nothing is awaited below: a session never gets two
        owner = owner_of(self.folder, session)
        here = [each for each in living if session in each.sessions]
        here += [each for each in living if each.started is not None and each.started.name == owner]
        replica = here[0] if here else self._least(living)
        replica.sessions.add(session)
        if not here and owner in self._former:
            self.moved += 1
        assert replica.started is not None
        return replica, replica.started

    async def choose(self, key: str | None = None) -> tuple[Replica, Started]:
        """The replica for what is no session's: the one with the fewest, or the one that had this key before.

        Raises:
            ServerError: `unavailable`.
        """
        living = await self._some()
        known = None if key is None else self._keys.get(key)
        replica = known if known is not None and known in living else self._least(living)
        if key is not None:
            self._keys[key] = replica
            while len(self._keys) > _KEYS:
                del self._keys[next(iter(self._keys))]
        assert replica.started is not None
        return replica, replica.started

    async def gone(self, replica: Replica, started: Started) -> None:
        """Wait until a replica that does not answer is known to be gone.

        Raises:
            ServerError: `unavailable`: it is there all the same.
        """
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: replica.started is not started), self._patience)
            except TimeoutError:
                raise ServerError("unavailable", "a replica does not answer; ask again in a moment.") from None

    def session_ids(self) -> list[str]:
        """Of all sessions, whether a replica has them or not."""
        return sorted(path.parent.name for path in self.folder.glob("s*/session.json"))

    def _least(self, replicas: list[Replica]) -> Replica:
        """The one with the fewest sessions."""
        there = set(self.session_ids())
        for replica in replicas:
            replica.sessions &= there
        return min(replicas, key=lambda each: len(each.sessions))

    async def _some(self) -> list[Replica]:
        def is_settled() -> bool:
            return bool(self.living) or all(replica.failure is not None for replica in self.replicas)

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(is_settled), self._patience)
            except TimeoutError:
                raise ServerError("unavailable", "no replica is left; they are being started again.") from None
        if not self.living:
            raise ServerError("unavailable", f"no replica is left: {self.replicas[0].failure}")
        return self.living

    # -- keeping them alive ---------------------------------------------------------------------------------

    async def _keep(self, replica: Replica) -> None:
        deaths = 0
        while replica.failure is None:
            try:
                started = await replica.process.start()
            except ReplicaFailed as error:
                await self._set(replica, None, str(error))
            except ReplicaDied as error:
                deaths += 1
                replica.losses += 1
                if deaths >= _DEATHS:
                    await self._set(replica, None, f"its process died {deaths} times while it started: {error}")
            except Exception:
                _LOG.exception("replica %d is given up", replica.number)
                await self._set(replica, None, "the front failed at starting it; its log has more.")
            else:
                deaths = 0
                await self._set(replica, started)
                await replica.process.lost()
                replica.losses += 1
                self._say(f"replica {replica.number} was lost; its sessions go on elsewhere, and it is started again.")
                await self._set(replica, None)
        self._say(f"replica {replica.number} is given up: {replica.failure}")

    async def _set(self, replica: Replica, started: Started | None, failure: str | None = None) -> None:
        async with self._changed:
            if replica.started is not None:
                self._former.add(replica.started.name)
            replica.started, replica.failure = started, failure
            replica.sessions.clear()
            self._changed.notify_all()
