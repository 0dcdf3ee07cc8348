"""`Host`: the sessions of one world, and the thread that steps them.

One thread does everything that touches the model or a session, in rounds: each session's oldest request is done before
any session's next one, so that nobody starves. Steps that meet in a round and share a simulator become one step of many
slots where the model computes slots together; where it computes them one after another (on the CPU, for exactness)
joining would only make the first wait for the last.
"""

from __future__ import annotations

import copy
import json
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnasium.utils import seeding

from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.journal import Journal
from sanawm_env.server.sessions.operations import OPERATIONS, step_many
from sanawm_env.server.sessions.session import Session, new_id
from sanawm_env.server.sessions.simulators import Simulators
from sanawm_env.server.sessions.snapshots import Budget, Tree, remove_moment, save_moment
from sanawm_env.server.sessions.stored import head_of, load_session
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


@dataclass(eq=False)
class _Asked:
    message: protocol.OfSession
    payload: bytes
    internal: bool
    future: Future[dict[str, Any]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


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
    ) -> None:
        """Find the sessions of the folder, and start the thread.

        Args:
            model: The world.
            folder: Where sessions live.
            limits: What to hold at most.
            find_image: From an image's id to its file; raises `ServerError`.
            join: Whether steps of several sessions become one; None leaves it to the model.
        """
        self.model, self.folder, self.limits = model, folder, limits or Limits()
        self.budget = Budget(self.limits.snapshot_bytes)
        self.find_image = find_image or _no_image
        self.simulators = Simulators(model, self.find_image)
        self.step_seconds: deque[float] = deque(maxlen=2048)
        """Of the last steps, seconds of the model per round of joined steps."""
        self.steps = 0
        """Steps of sessions since the start."""
        self._join = model.batched if join is None else join
        (folder / "sessions").mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Session | None] = {}
        self._keys: dict[str, str] = {}
        self._asleep: dict[str, int] = {}
        """Bytes of the snapshots of sessions that are not in memory."""
        self._find_sessions()
        self._queues: dict[str, deque[_Asked]] = {}
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "sanawm-writer")
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
        asked = _Asked(message, payload, internal)
        with self._wake:
            queue = self._queues.setdefault(message.session, deque())
            if message.session not in self._known:
                del self._queues[message.session]
                asked.future.set_exception(_unknown())
            elif len(queue) >= self.limits.waiting:
                asked.future.set_exception(ServerError("too-fast", "too many requests wait; await their answers."))
            elif self._closed:
                asked.future.set_exception(ServerError("failed", "the server is shutting down."))
            else:
                queue.append(asked)
                self._wake.notify()
        return asked.future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Do something in the host's thread, between two rounds."""
        future: Future[Any] = Future()
        with self._wake:
            if self._closed:
                future.set_exception(ServerError("failed", "the server is shutting down."))
            else:
                self._calls.append((function, future))
                self._wake.notify()
        return future

    def __contains__(self, session: str) -> bool:
        return session in self._known

    @property
    def session_ids(self) -> list[str]:
        """Of all sessions, in memory or not."""
        return list(self._known)

    def listed(self) -> list[dict[str, Any]]:
        """Descriptions of all sessions, without waking those that lie on the disk; in the host's thread."""
        return [
            {"session": name, "asleep": True} if session is None else session.describe()
            for name, session in self._known.items()
        ]

    def in_memory(self) -> list[Session]:
        """The sessions that lie in memory, for reading numbers of."""
        return [session for session in list(self._known.values()) if session is not None]

    def close(self) -> None:
        """Finish the round, save every session, and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        self._writer.shutdown()

    # -- sessions, in the host's thread ---------------------------------------------------------------------

    def create(self, settings: dict[str, Any], key: str | None = None) -> Session:
        """A new session, or the one that was made with this key.

        Raises:
            ServerError: Settings that cannot be used; `full`.
        """
        if key is not None and (known := self._keys.get(key)) in self._known and known is not None:
            return self.session(known)
        self.require_sessions(1)
        return self._made(settings, self.simulators.get(settings), seeding.np_random()[0], None, key)

    def require_sessions(self, count: int) -> None:
        """See that so many more sessions fit.

        Raises:
            ServerError: `full`.
        """
        if len(self._known) + count > self.limits.sessions:
            raise ServerError(
                "full",
                f"there are {len(self._known)} of {self.limits.sessions} sessions; delete some, or start the server "
                "with more --max-sessions.",
            )

    def branched(self, session: Session, moment: EnvSnapshot) -> Session:
        """A new session at a moment of another, with its settings and random numbers."""
        return self._made(session.settings, session.simulator, copy.deepcopy(session.rng), moment, None)

    def _find_sessions(self) -> None:
        for path in sorted((self.folder / "sessions").glob("s*/session.json")):
            name = path.parent.name
            self._known[name] = None
            self._asleep[name] = sum(each.stat().st_size for each in (path.parent / "snapshots").glob("*.safetensors"))
            try:
                key = json.loads(path.read_text(encoding="utf-8")).get("key")
            except (OSError, ValueError, AttributeError):
                continue  # told when somebody asks for it
            if key is not None:
                self._keys[key] = name
        self.budget.held = sum(self._asleep.values())

    def _made(
        self, settings: dict[str, Any], simulator: Simulator, rng: Any, moment: EnvSnapshot | None, key: str | None
    ) -> Session:
        name = new_id()
        folder = self.folder / "sessions" / name
        journal = Journal(folder)
        session = Session(name, settings, simulator, rng, Tree(self.budget, folder / "snapshots"), journal)
        if moment is not None:
            session.now = Slots.of([moment])
            save_moment(moment, journal.moment(0))
        journal.create(head_of(session, key))
        self._known[name] = session
        if key is not None:
            self._keys[key] = name
        return session

    def session(self, name: str) -> Session:
        """A session, resumed from its folder if it is not in memory.

        Raises:
            ServerError: `unknown-session`; `failed`: it cannot be resumed.
        """
        if name not in self._known:
            raise _unknown()
        session = self._known[name]
        if session is None:
            self.written()
            self.budget.held -= self._asleep.pop(name, 0)
            session = load_session(self.folder / "sessions" / name, self.simulators, self.budget, self.model.checkpoint)
            self._known[name] = session
        session.used = time.monotonic()
        return session

    def delete(self, name: str) -> None:
        """End a session."""
        session = self.session(name)
        for node in list(session.tree):
            session.tree.forget(node.id)
        session.journal.close()
        self.written()
        shutil.rmtree(session.journal.folder, ignore_errors=True)
        with self._wake:
            del self._known[name]
            waiting = self._queues.pop(name, deque())
        while (asked := _first(waiting)) is not None:
            asked.future.set_exception(_unknown())

    def make_room(self, size: int) -> None:
        """See that a snapshot of so many bytes fits; automatic ones are thinned, those of the greatest holder first.

        Raises:
            ServerError: `full`.
        """
        holders = sorted(self.in_memory(), key=lambda session: -session.tree.held)
        for holder in holders if self.budget.short_of(size) else ():
            while self.budget.short_of(size) and (thinned := holder.tree.thinnable()):
                for snapshot in thinned:
                    self.forget(holder, snapshot)
        self.budget.require(size)

    def forget(self, session: Session, snapshot: str) -> None:
        """Drop a snapshot, also after a restart."""
        session.tree.node(snapshot)
        session.journal.append({"type": "forget", "snapshot": snapshot})
        session.tree.forget(snapshot)
        self.write(remove_moment, session.tree.path(snapshot))

    # -- the disk -------------------------------------------------------------------------------------------

    def write(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Do something in the writer's thread; what is asked first is done first."""

        def safely() -> None:
            try:
                function(*arguments)
            except Exception:
                _LOG.exception("a session's file could not be written")

        self._writer.submit(safely)

    def written(self) -> None:
        """Wait until all is written that was asked for."""
        self._writer.submit(int).result()

    def save_moment(self, session: Session) -> None:
        """Let the disk have a moment from which the present can be rebuilt, with the last answer."""
        number, slots = session.before if session.before is not None else (session.n, session.now)
        if slots is None or number <= session.saved:
            return
        session.saved = number
        self.write(save_moment, slots.only, session.journal.moment(number))
        self.write(session.journal.prune, number)

    def let_go(self, session: Session) -> None:
        """Keep a session in its folder alone."""
        self.save_moment(session)
        session.journal.close()
        self._asleep[session.id] = session.tree.held
        self._known[session.id] = None

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        swept = time.monotonic()
        while True:
            with self._wake:
                if not self._closed and not self._calls and not any(self._queues.values()):
                    self._wake.wait(timeout=1.0)
                if self._closed and not self._calls and not any(self._queues.values()):
                    break
                calls, self._calls = self._calls, deque()
                heads = [head for queue in self._queues.values() if (head := _first(queue)) is not None]
                # Whoever came first this round comes last the next.
                self._queues = {name: queue for name, queue in self._queues.items() if queue}
            for function, future in calls:
                if future.set_running_or_notify_cancel():
                    _settle(future, function)
            try:
                self._round(heads)
            except Exception:  # must not end the thread that all sessions need
                _LOG.exception("a round failed")
            if time.monotonic() - swept > 1.0:
                swept = time.monotonic()
                self._sweep(swept - self.limits.idle_seconds)
        for session in self.in_memory():
            self.let_go(session)

    def _round(self, heads: list[_Asked]) -> None:
        steps: dict[int, list[tuple[Session, _Asked]]] = {}
        for asked in heads:
            if not isinstance(asked.message, protocol.Step):
                _settle(asked.future, lambda asked=asked: self._answer(asked))  # type: ignore[misc]
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

    def _step(self, group: list[tuple[Session, _Asked]]) -> None:
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

    def _answer(self, asked: _Asked) -> dict[str, Any]:
        session = self.session(asked.message.session)
        with session.whole():
            return OPERATIONS[type(asked.message)](self, session, asked.message, asked.payload)

    def _sweep(self, before: float) -> None:
        for session in self.in_memory():
            if session.used < before and not session.playing:
                try:
                    self.let_go(session)
                except Exception:
                    _LOG.exception("session %s could not leave the memory", session.id)


def _first(queue: deque[_Asked]) -> _Asked | None:
    """The oldest request that somebody still waits for."""
    while queue:
        if (asked := queue.popleft()).future.set_running_or_notify_cancel():
            return asked
    return None


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _unknown() -> ServerError:
    return ServerError("unknown-session", "there is no such session; create one, or list them at /api/sessions.")


def _no_image(image: str) -> Path:
    raise ServerError("unknown-image", "there is no such image; upload it first.")
