"""Sessions back from their folders: the newest moment, and the operations since once more."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from sanawm_env.envs.slots import Slots
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.journal import Journal, Written, read_folder
from sanawm_env.server.sessions.pasts import past_of, remember
from sanawm_env.server.sessions.session import Session
from sanawm_env.server.sessions.simulators import Simulators
from sanawm_env.server.sessions.snapshots import Budget, Node, Tree, load_moment, remove_moment, save_moment

__all__ = ["head_of", "load_session", "random_numbers"]

_FORMAT = "sanawm_env.session/1"


def head_of(session: Session, key: str | None) -> dict[str, Any]:
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
    lines, head = written.lines, written.head
    operations = [line for line in lines if "n" in line]
    settings, rng = head["settings"], head["rng"]
    for line in operations:
        settings, rng = line.get("settings_now", settings), line.get("rng", rng)
    journal, tree = Journal(folder), Tree(budget, folder / "snapshots")
    last = operations[-1]["n"] if operations else 0
    session = Session(folder.name, settings, simulators.get(settings), random_numbers(rng), tree, journal)
    # These are written with their moments; the present can be rebuilt from the newest of those on.
    anchors = [line["n"] for line in operations if line["type"] in ("reset", "restore", "configure")]
    limit = last - 1 if operations and operations[-1]["type"] == "step" else last  # its answer may be asked for again
    start = max((n for n in written.moments if n <= limit), default=-1)
    if anchors or head["begun"]:
        if start < max(anchors, default=0):
            raise ValueError("the moment that its journal goes on from is missing.")
        moment = load_moment(written.moments[start])
        session.now = Slots.of([session.simulator.adopt(moment)])
        remember(session.now.only, past_of(moment))
        session.saved = start
    for line in lines:
        _again(session, line, line.get("n", 0) > start)
    for n in [n for n in written.moments if n > last]:
        remove_moment(written.moments[n])  # of an operation that was never counted
    for node in [node for node in tree if not tree.path(node.id).exists()]:
        tree.forget(node.id)  # dropped amid being forgotten
    if operations and last not in session.answers:
        _answer_again(session, operations[-1])
    return session


def _again(session: Session, line: dict[str, Any], after_moment: bool) -> None:
    """What a line of the journal does to the tree, and after the moment to the present."""
    if line["type"] == "step" and after_moment:
        began = time.perf_counter()
        after, result = session.simulator.step(session.require(), [line["action"]])
        answer = session.stepped(line["action"], after, result, time.perf_counter() - began)
        session.n = line["n"]
        session.keep(_text(line), answer | {"session": session.id, "n": session.n})
    elif "node" in line:
        node = Node.from_dict(line["node"])
        if line["type"] == "snapshot":
            if after_moment and not session.tree.path(node.id).exists():  # the disk had not had it yet
                save_moment(session.require().only, session.tree.path(node.id))
        session.tree.add(node, None)
        if line["type"] == "snapshot":
            session.tree.present = node.id
    elif line["type"] == "restore":
        session.tree.present = line["snapshot"] if line["snapshot"] in session.tree else None
    elif line["type"] == "forget" and line["snapshot"] in session.tree:
        session.tree.forget(line["snapshot"])
    session.n = line.get("n", session.n)


def _answer_again(session: Session, line: dict[str, Any]) -> None:
    """The answer of the last operation, if that was no step."""
    if "node" in line:
        answer: dict[str, Any] = {"type": "snapshot", **line["node"]}
    elif line["type"] == "fork":
        answer = {"type": "forked", "sessions": line["sessions"]}
    else:
        answer = session.shown(None) | {"rng": line.get("rng")}
    session.keep(_text(line), answer | {"session": session.id, "n": line["n"]})


def _text(line: dict[str, Any]) -> str:
    """What `content` said of the request of a line."""
    return json.dumps({key: value for key, value in line.items() if key not in _ADDED}, sort_keys=True)


_ADDED = ("n", "node", "rng", "settings_now", "sessions")
"""What a journal's lines have beside their request."""
