"""Sessions back from their folders: a moment of a little before the end, and the operations since once more."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.journal import Journal, Line, Written, read_folder
from sanawm_env.server.sessions.pasts import past_of, remember
from sanawm_env.server.sessions.session import KEPT_ANSWERS, Session
from sanawm_env.server.sessions.simulators import Simulators
from sanawm_env.server.sessions.snapshots import Budget, Node, Tree, load_moment, remove_moment, save_moment

__all__ = ["foreign_moment", "head_of", "load_session", "random_numbers", "tidy"]

_FORMAT = "sanawm_env.session/1"
_WRITING = 5.0
"""Seconds in which another host writes a snapshot that it has taken."""
_ANCHORS = ("reset", "restore", "configure")
"""Operations whose moment is on the disk before they count."""
_ADDED = ("n", "node", "rng", "settings_now", "sessions")
"""What a journal's lines have beside their request."""


def head_of(session: Session, key: str | None) -> Line:
    """What the folder of a new session begins with."""
    return {
        "format": _FORMAT,
        "checkpoint": session.simulator.model.checkpoint,
        "settings": session.settings,
        "rng": session.rng.bit_generator.state,
        "key": key,
        "begun": session.now is not None,
    }


def random_numbers(state: dict[str, Any]) -> np.random.Generator:
    """The generator of a state as JSON has it."""
    rng, _ = seeding.np_random(0)
    rng.bit_generator.state = state
    return rng


# -- what lines add up to -------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Past:
    """What a session is after some lines of its journal, but for the present."""

    settings: dict[str, Any]
    rng: dict[str, Any]
    tree: Tree
    n: int = 0
    begun: bool = False

    @classmethod
    def of(cls, head: Line, tree: Tree) -> _Past:
        """Before the first line."""
        return cls(head["settings"], head["rng"], tree, begun=head["begun"])

    def take(self, line: Line) -> None:
        """Let a line count."""
        self.settings, self.rng = line.get("settings_now", self.settings), line.get("rng", self.rng)
        self.n = line.get("n", self.n)
        kind, tree = line["type"], self.tree
        if kind == "past":
            self.begun = line["begun"]
            for node in line["nodes"]:
                tree.add(Node.from_dict(node), None)
            tree.present = line["present"]
        elif "node" in line:
            node = Node.from_dict(line["node"])
            tree.add(node, None)
            if kind == "snapshot":
                tree.present = node.id
        elif kind == "restore":
            tree.present = line["snapshot"] if line["snapshot"] in tree else None
        elif kind == "forget" and line["snapshot"] in tree:
            tree.forget(line["snapshot"])
        self.begun = self.begun or kind in _ANCHORS

    def line(self) -> Line:
        """A line that does the same to `Past.of`."""
        nodes = [node.to_dict() for node in self.tree]
        return {
            "type": "past", "n": self.n, "settings_now": self.settings, "rng": self.rng, "begun": self.begun,
            "nodes": nodes, "present": self.tree.present,
        }  # fmt: skip


def tidy(journal: Journal, n: int, again: int) -> None:
    """Remove from a session's folder what the moment after operation n makes needless.

    Args:
        journal: Of the session.
        n: An operation whose moment is written.
        again: How many operations before n may be asked for again: they can still be repeated afterwards.
    """
    kept = journal.prune(n - again)
    kept = n if kept is None else kept  # a session that has not begun needs none
    head = read_folder(journal.folder).head

    def fold(lines: list[Line]) -> Line:
        past = _Past.of(head, Tree(Budget(0), journal.folder / "snapshots"))
        for line in lines:
            past.take(line)
        return past.line()

    journal.shrink(kept, fold)


def foreign_moment(folder: Path, snapshot: str) -> EnvSnapshot:
    """A snapshot of a session that another host has.

    Raises:
        ServerError: `unknown-snapshot`.
    """
    tree = Tree(Budget(0), folder / "snapshots")
    try:
        written = read_folder(folder)
        past = _Past.of(written.head, tree)
        for line in written.lines:
            past.take(line)
        tree.node(snapshot)
        deadline = time.monotonic() + _WRITING
        while not tree.path(snapshot).exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # it counts as soon as it is in the journal
        return tree.moment(snapshot)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ServerError):
            raise
        raise ServerError("unknown-snapshot", "the other session's snapshot is gone; take another one.") from error


# -- resuming -------------------------------------------------------------------------------------------------


def load_session(folder: Path, simulators: Simulators, budget: Budget, checkpoint: str) -> Session:
    """The session of a folder, as it was when its last operation was written.

    Raises:
        ServerError: `failed`: the folder belongs to another checkpoint, or is damaged.
    """
    try:
        written = read_folder(folder)
        if written.head.get("format") != _FORMAT:
            raise ValueError(f"{folder} has another format than {_FORMAT}; use the version that wrote it.")
        if written.head["checkpoint"] != checkpoint:
            raise ValueError(
                f"{folder} belongs to checkpoint {written.head['checkpoint']}, this server runs {checkpoint}; start it "
                "with that --checkpoint."
            )
        return _rebuilt(folder, written, simulators, budget)
    except ServerError as error:
        raise ServerError("failed", f"session {folder.name} cannot be resumed: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError("failed", f"session {folder.name} cannot be resumed: {error}") from error


def _rebuilt(folder: Path, written: Written, simulators: Simulators, budget: Budget) -> Session:
    lines, moments = written.lines, written.moments
    past = _Past.of(written.head, Tree(budget, folder / "snapshots"))
    last = max((line["n"] for line in lines if "n" in line), default=0)
    start = _start(lines, moments, last)
    first = 1 + next((k for k, line in enumerate(lines) if line.get("n") == start), -1)  # behind the moment
    for line in lines[:first]:
        past.take(line)
    simulator = simulators.get(past.settings)
    session = Session(folder.name, past.settings, simulator, random_numbers(past.rng), past.tree, Journal(folder))
    session.n, session.saved = past.n, max(start, 0)
    if start >= 0:
        session.now = _adopted(simulator, moments[start])
    elif written.head["begun"] or any(line["type"] in _ANCHORS or line.get("begun") for line in lines):
        raise ValueError("the moment that its journal goes on from is missing.")
    if first and lines[first - 1]["type"] not in ("step", "past"):
        _answered(session, lines[first - 1])
    for line in lines[first:]:
        _again(session, past, line, moments, simulators)
    for n in [n for n in moments if n > last]:
        remove_moment(moments[n])  # of an operation that was never counted
    for node in [node for node in session.tree if not session.tree.path(node.id).exists()]:
        session.tree.forget(node.id)  # dropped amid being forgotten
    for part in [*folder.glob(".*.*"), *(folder / "snapshots").glob(".*.*")]:
        part.unlink(missing_ok=True)  # of a file that was never finished
    return session


def _start(lines: list[Line], moments: dict[int, Path], last: int) -> int:
    """The operation after which to begin: so early that the last answers are made again, if the folder has it."""
    is_step = {line["n"]: line["type"] == "step" for line in lines if "n" in line}
    good = [n for n in moments if n == 0 or n in is_step]
    early = [n for n in good if n <= last - KEPT_ANSWERS]
    return max(early or [n for n in good if n < last or not is_step.get(n)], default=-1)


def _again(session: Session, past: _Past, line: Line, moments: dict[int, Path], simulators: Simulators) -> None:
    """Do the operation of a line again."""
    kind = line["type"]
    if kind == "step":
        began = time.perf_counter()
        after, result = session.simulator.step(session.require(), [line["action"]])
        answer = session.stepped(line["action"], after, result, time.perf_counter() - began)
    elif kind == "snapshot" and not session.tree.path(line["node"]["snapshot"]).exists():  # the disk had not had it yet
        save_moment(session.require().only, session.tree.path(line["node"]["snapshot"]))
    elif kind == "forget":
        remove_moment(session.tree.path(line["snapshot"]))
    past.take(line)
    session.n = past.n
    if kind == "step":
        session.keep(_text(line), answer | {"session": session.id, "n": session.n})
        return
    if kind in _ANCHORS:
        if line["n"] not in moments:
            raise ValueError(f"the moment of its operation {line['n']} is missing.")
        session.settings, session.simulator = past.settings, simulators.get(past.settings)
        session.rng = random_numbers(past.rng)
        session.entered(_adopted(session.simulator, moments[line["n"]]))
        session.saved = line["n"]
    if "n" in line and kind != "past":
        _answered(session, line)


def _adopted(simulator: Simulator, path: Path) -> Slots:
    """The present that a moment's file holds."""
    moment = load_moment(path)
    now = Slots.of([simulator.adopt(moment)])
    remember(now.only, past_of(moment))
    return now


def _answered(session: Session, line: Line) -> None:
    """Keep the answer of an operation that was no step, and has just been done."""
    if "node" in line:
        answer: dict[str, Any] = {"type": "snapshot", **line["node"]}
    elif line["type"] == "fork":
        answer = {"type": "forked", "sessions": line["sessions"]}
    else:
        answer = session.shown(None) | {"rng": line.get("rng")}
    session.keep(_text(line), answer | {"session": session.id, "n": line["n"]})


def _text(line: Line) -> str:
    """What `content` said of the request of a line."""
    return json.dumps({key: value for key, value in line.items() if key not in _ADDED}, sort_keys=True)
