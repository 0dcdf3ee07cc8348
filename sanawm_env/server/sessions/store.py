"""`SessionStore`: which sessions there are, those in memory and those that lie in their folders alone."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gymnasium.utils import seeding

from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.journal import Journal
from sanawm_env.server.sessions.queues import unknown_session
from sanawm_env.server.sessions.session import KEPT_ANSWERS, Session, new_id
from sanawm_env.server.sessions.simulators import Simulators
from sanawm_env.server.sessions.snapshots import Budget, Tree, remove_moment, save_moment
from sanawm_env.server.sessions.stored import head_of, load_session, tidy

__all__ = ["SessionStore"]

_LOG = logging.getLogger(__name__)


class SessionStore:
    """The sessions of a folder. What changes it belongs to the host's thread; the disk has a thread of its own."""

    def __init__(self, folder: Path, simulators: Simulators, checkpoint: str, most: int, budget: Budget) -> None:
        """Find the sessions of the folder.

        Args:
            folder: Has `sessions/`, made if need be.
            simulators: Of the world.
            checkpoint: Its hash.
            most: Sessions, in memory and in the folder together.
            budget: Of their snapshots.
        """
        self.folder, self.simulators, self.budget = folder / "sessions", simulators, budget
        self._checkpoint, self._most = checkpoint, most
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Session | None] = {}
        self._keys: dict[str, str] = {}
        self._asleep: dict[str, int] = {}
        """Bytes of the snapshots of sessions that are not in memory."""
        self._find()
        self._writer = ThreadPoolExecutor(1, "sanawm-writer")

    # -- which there are, for any thread --------------------------------------------------------------------

    def __contains__(self, session: str) -> bool:
        return session in self._known

    @property
    def ids(self) -> list[str]:
        """Of all sessions, in memory or not."""
        return list(self._known)

    def in_memory(self) -> list[Session]:
        """The sessions that lie in memory, for reading numbers of."""
        return [session for session in list(self._known.values()) if session is not None]

    def listed(self) -> list[dict[str, Any]]:
        """Descriptions of all, without waking those that lie on the disk; in the host's thread."""
        return [
            {"session": name, "asleep": True} if session is None else session.describe()
            for name, session in self._known.items()
        ]

    def _find(self) -> None:
        for path in sorted(self.folder.glob("s*/session.json")):
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

    # -- sessions come and go -------------------------------------------------------------------------------

    def create(self, settings: dict[str, Any], key: str | None = None) -> Session:
        """A new session, or the one that was made with this key.

        Raises:
            ServerError: Settings that cannot be used; `full`.
        """
        if key is not None and (known := self._keys.get(key)) in self._known and known is not None:
            return self.get(known)
        self.require_sessions(1)
        return self._made(settings, self.simulators.get(settings), seeding.np_random()[0], None, key)

    def require_sessions(self, count: int) -> None:
        """See that so many more sessions fit.

        Raises:
            ServerError: `full`.
        """
        if len(self._known) + count > self._most:
            raise ServerError(
                "full",
                f"there are {len(self._known)} of {self._most} sessions; delete some, or start the server with more "
                "--max-sessions.",
            )

    def branched(self, session: Session, moment: EnvSnapshot) -> Session:
        """A new session at a moment of another, with its settings and random numbers."""
        return self._made(session.settings, session.simulator, copy.deepcopy(session.rng), moment, None)

    def _made(
        self, settings: dict[str, Any], simulator: Simulator, rng: Any, moment: EnvSnapshot | None, key: str | None
    ) -> Session:
        name = new_id()
        journal = Journal(self.folder / name)
        tree = Tree(self.budget, self.folder / name / "snapshots")
        session = Session(name, settings, simulator, rng, tree, journal)
        if moment is not None:
            session.now = Slots.of([moment])
            save_moment(moment, journal.moment(0))
        journal.create(head_of(session, key))
        self._known[name] = session
        if key is not None:
            self._keys[key] = name
        return session

    def get(self, name: str) -> Session:
        """A session, resumed from its folder if it is not in memory.

        Raises:
            ServerError: `unknown-session`; `failed`: it cannot be resumed.
        """
        if name not in self._known:
            raise unknown_session()
        session = self._known[name]
        if session is None:
            self.written()
            self.budget.held -= self._asleep.pop(name, 0)
            session = load_session(self.folder / name, self.simulators, self.budget, self._checkpoint)
            self._known[name] = session
        session.used = time.monotonic()
        return session

    def delete(self, name: str) -> None:
        """End a session."""
        session = self.get(name)
        for node in list(session.tree):
            session.tree.forget(node.id)
        session.journal.close()
        self.written()
        shutil.rmtree(session.journal.folder, ignore_errors=True)
        del self._known[name]

    def _let_go(self, sessions: list[Session]) -> None:
        """Keep sessions in their folders alone."""
        for session in sessions:
            try:
                self.save_moment(session)
                self.tidy(session, session.n, again=0)  # nobody waits for an answer, and it is to come back fast
                session.journal.close()
            except Exception:
                _LOG.exception("session %s could not leave the memory", session.id)
                continue
            self._asleep[session.id] = session.tree.held
            self._known[session.id] = None

    def let_go_unused(self, before: float) -> None:
        """Let go of the sessions that nobody has used since, by the monotonic clock."""
        self._let_go([each for each in self.in_memory() if each.used < before and not each.playing])

    # -- snapshots ------------------------------------------------------------------------------------------

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

    def save_moment(self, session: Session, least: int = 1) -> None:
        """Let the disk have a moment from which the present can be rebuilt, with the last answers.

        Args:
            session: Whose.
            least: Operations since the last one, or nothing is done.
        """
        if session.n - session.saved < least:
            return
        number, slots = session.n, session.now
        if session.before is not None and number - session.before[0] <= KEPT_ANSWERS:
            number, slots = session.before  # the last step's answer needs it
        if number <= session.saved:
            return
        session.saved = number
        if slots is not None:
            self.write(save_moment, slots.only, session.journal.moment(number))
        self.tidy(session, number)

    def tidy(self, session: Session, number: int, again: int = KEPT_ANSWERS) -> None:
        """Remove what the moment after an operation makes needless, but for `again` operations before it."""
        self.write(tidy, session.journal, number, again)

    def close(self) -> None:
        """Save every session."""
        self._let_go(self.in_memory())
        self._writer.shutdown()
