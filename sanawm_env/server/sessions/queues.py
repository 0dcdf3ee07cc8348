"""Requests in waiting: a queue for each session, filled by any thread and emptied by the host's."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError

__all__ = ["Asked", "Queues", "settle", "unknown_session"]

Call = tuple[Callable[[], Any], Future[Any]]


@dataclass(eq=False)
class Asked:
    """A request, and its answer to come."""

    message: protocol.OfSession
    payload: bytes
    internal: bool
    """The server itself asks."""
    future: Future[dict[str, Any]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Queues:
    """What waits for the host's thread."""

    def __init__(self, knows: Callable[[str], bool], most: int) -> None:
        """Nothing waits yet.

        Args:
            knows: Whether there is such a session.
            most: Requests of one session that may wait.
        """
        self._knows, self._most = knows, most
        self._queues: dict[str, deque[Asked]] = {}
        self._calls: deque[Call] = deque()
        self._wake = threading.Condition()
        self._closed = False

    def submit(self, asked: Asked) -> None:
        """Let a request wait, or refuse it."""
        name = asked.message.session
        with self._wake:
            if not self._knows(name):
                asked.future.set_exception(unknown_session())
            elif len(self._queues.get(name, ())) >= self._most:
                asked.future.set_exception(ServerError("too-fast", "too many requests wait; await their answers."))
            elif self._closed:
                asked.future.set_exception(_shutting_down())
            else:
                self._queues.setdefault(name, deque()).append(asked)
                self._wake.notify()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Let a function wait for its turn between two rounds."""
        future: Future[Any] = Future()
        with self._wake:
            if self._closed:
                future.set_exception(_shutting_down())
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future

    def take(self, timeout: float) -> tuple[deque[Call], list[Asked]] | None:
        """All calls, and each session's oldest request that somebody still waits for; None once closed and empty."""
        with self._wake:
            if not self._closed and not self._calls and not any(self._queues.values()):
                self._wake.wait(timeout=timeout)
            if self._closed and not self._calls and not any(self._queues.values()):
                return None
            calls, self._calls = self._calls, deque()
            heads = [head for queue in self._queues.values() if (head := _first(queue)) is not None]
            # Whoever came first this round comes last the next.
            self._queues = {name: queue for name, queue in self._queues.items() if queue}
        return calls, heads

    def drop(self, session: str) -> None:
        """Refuse all that waits for a session, which is gone."""
        with self._wake:
            waiting = self._queues.pop(session, deque())
        while (asked := _first(waiting)) is not None:
            asked.future.set_exception(unknown_session())

    def close(self) -> None:
        """Take no more."""
        with self._wake:
            self._closed = True
            self._wake.notify()


def settle(future: Future[Any], function: Callable[[], Any]) -> None:
    """Answer by a function's value, or by what it raises."""
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def unknown_session() -> ServerError:
    """What is told of a session that is not there."""
    return ServerError("unknown-session", "there is no such session; create one, or list them at /api/sessions.")


def _first(queue: deque[Asked]) -> Asked | None:
    """The oldest request that somebody still waits for."""
    while queue:
        if (asked := queue.popleft()).future.set_running_or_notify_cancel():
            return asked
    return None


def _shutting_down() -> ServerError:
    return ServerError("failed", "the server is shutting down.")
