"""`Host`: the sessions of one world, and the thread that steps them.

One thread does everything that touches the model or a session, in rounds: each session's oldest request is done before
any session's next one, so that nobody starves. Steps that meet in a round and share a simulator become one step of many
slots where the model computes slots together; where it computes them one after another (on the CPU, for exactness)
joining would only make the first wait for the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.operations import OPERATIONS
from sanawm_env.server.sessions.queues import Asked, Queues, settle
from sanawm_env.server.sessions.session import Session
from sanawm_env.server.sessions.simulators import Simulators
from sanawm_env.server.sessions.snapshots import Budget
from sanawm_env.server.sessions.steps import step_many
from sanawm_env.server.sessions.store import SessionStore
from sanawm_env.world.model import WorldModel

__all__ = ["Host", "Limits"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a host may hold."""

    sessions: int = 64
    """In memory and in the folder together."""
    snapshot_bytes: int = 4_000_000_000
    """Of the snapshots of all sessions in memory."""
    waiting: int = 16
    """Requests of one session that may wait."""
    joined: int = 16
    """Slots of one step at most."""
    idle_seconds: float = 600.0
    """Until a session that nobody uses leaves the memory."""
    save_every: int = 64
    """Operations from one moment on the disk to the next."""


class Host:
    """Sessions over one model."""

    def __init__(
        self,
        model: WorldModel,
        folder: Path,
        limits: Limits | None = None,
        *,
        find_image: Callable[[str], Path] | None = None,
        join: bool | None = None,
        owner: str | None = None,
    ) -> None:
        """Find the sessions of the folder, and start the thread.

        Args:
            model: The world.
            folder: Where sessions live.
            limits: What to hold at most.
            find_image: From an image's id to its file; raises `ServerError`.
            join: Whether steps of several sessions become one; None leaves it to the model.
            owner: The name of this host, where several share the folder; see `SessionStore`.
        """
        self.model, self.folder, self.limits = model, folder, limits or Limits()
        self.find_image = find_image or _no_image
        self.simulators = Simulators(model, self.find_image)
        self.step_seconds: deque[float] = deque(maxlen=2048)
        """Of the last steps, seconds of the model per round of joined steps."""
        self.steps = 0
        """Steps of sessions since the start."""
        self._join = model.batched if join is None else join
        self.budget = Budget(self.limits.snapshot_bytes)
        most = self.limits.sessions
        self.store = SessionStore(folder, self.simulators, model.checkpoint, most, self.budget, owner)
        self._queues = Queues(self.store.__contains__, self.limits.waiting)
        self._thread = threading.Thread(target=self._run, name="sanawm-host", daemon=True)
        self._thread.start()

    # -- asking, from any thread ----------------------------------------------------------------------------

    def submit(self, message: protocol.OfSession, payload: bytes = b"", *, internal: bool = False) -> Future[Any]:
        """Ask one session for something.

        Args:
            message: The request.
            payload: What came with it.
            internal: The server itself asks: it may step a session that plays.

        Returns:
            The answer to come, or the `ServerError`.
        """
        asked = Asked(message, payload, internal)
        self._queues.submit(asked)
        return asked.future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Do something in the host's thread, between two rounds."""
        return self._queues.call(function)

    def __contains__(self, session: str) -> bool:
        return session in self.store

    @property
    def session_ids(self) -> list[str]:
        """Of all sessions, in memory or not."""
        return self.store.ids

    def listed(self) -> list[dict[str, Any]]:
        """Descriptions of all sessions, without waking those that lie on the disk; in the host's thread."""
        return self.store.listed()

    def in_memory(self) -> list[Session]:
        """The sessions that lie in memory, for reading numbers of."""
        return self.store.in_memory()

    def close(self) -> None:
        """Finish the round, save every session, and end the thread."""
        self._queues.close()
        self._thread.join()

    # -- in the host's thread -------------------------------------------------------------------------------

    def create(self, settings: dict[str, Any], key: str | None = None) -> Session:
        """A new session, or the one that was made with this key; see `SessionStore.create`."""
        return self.store.create(settings, key)

    def session(self, name: str) -> Session:
        """A session, resumed from its folder if it is not in memory; see `SessionStore.get`."""
        return self.store.get(name)

    def delete(self, name: str) -> None:
        """End a session, and refuse what waits for it."""
        self.store.delete(name)
        self._queues.drop(name)

    def _run(self) -> None:
        swept = time.monotonic()
        while (work := self._queues.take(timeout=1.0)) is not None:
            calls, heads = work
            for function, future in calls:
                if future.set_running_or_notify_cancel():
                    settle(future, function)
            try:
                self._round(heads)
            except Exception:  # must not end the thread that all sessions need
                _LOG.exception("a round failed")
            if time.monotonic() - swept > 1.0:
                swept = time.monotonic()
                self.store.let_go_unused(swept - self.limits.idle_seconds)
        self.store.close()

    def _round(self, heads: list[Asked]) -> None:
        steps: dict[int, list[tuple[Session, Asked]]] = {}
        for asked in heads:
            if not isinstance(asked.message, protocol.Step):
                settle(asked.future, lambda asked=asked: self._answer(asked))  # type: ignore[misc]
                continue
            try:
                session = self.session(asked.message.session)
                if session.playing and not asked.internal:
                    raise ServerError("playing", "the session plays by itself; send `pause` first.")
            except Exception as error:
                asked.future.set_exception(error)
                continue
            steps.setdefault(id(session.simulator), []).append((session, asked))
        for group in steps.values():
            size = self.limits.joined if self._join else 1
            for begin in range(0, len(group), size):
                self._step(group[begin : begin + size])

    def _step(self, group: list[tuple[Session, Asked]]) -> None:
        outcomes: Sequence[dict[str, Any] | Exception]
        try:
            outcomes = step_many(self, [(session, asked.message) for session, asked in group])  # type: ignore[misc]
        except Exception as error:  # of the server; a client's mistakes are outcomes
            outcomes = [error] * len(group)
        now = time.monotonic()
        for (session, asked), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                asked.future.set_exception(outcome)
                continue
            session.latencies.append(now - asked.since)
            asked.future.set_result(outcome)

    def _answer(self, asked: Asked) -> dict[str, Any]:
        session = self.session(asked.message.session)
        with session.whole():
            answer = OPERATIONS[type(asked.message)](self, session, asked.message, asked.payload)
        if isinstance(asked.message, protocol.Numbered):
            self.store.save_moment(session, least=self.limits.save_every)
        return answer


def _no_image(image: str) -> Path:
    raise ServerError("unknown-image", "there is no such image; upload it first.")
