"""What a session writes so that it outlives its process: a head, a journal of operations, and its newest moments.

A line is in the journal before the operation's answer leaves the server, and moments are whole or absent; so whatever
kills the process, the folder tells where the session was. Once a moment is there, the lines that led to it are folded
into one: the folder of a session does not grow with its length.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from sanawm_env.files import replacing, write_json
from sanawm_env.server.sessions.snapshots import remove_moment

__all__ = ["Journal", "Line", "Written", "read_folder"]

Line = dict[str, Any]

_HEAD, _LINES, _MOMENT = "session.json", "journal.jsonl", "moment-"


@dataclass
class Written:
    """What a folder tells."""

    head: Line
    """Of `Journal.create`."""
    lines: list[Line] = field(default_factory=list)
    """The operations, oldest first."""
    moments: dict[int, Path] = field(default_factory=dict)
    """Files of moments, by the number of the operation that they follow."""


class Journal:
    """The folder of one session."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet."""
        self.folder = folder
        self._file: FileIO | None = None
        self._lock = threading.Lock()  # operations are written by one thread, moments and what they replace by another

    def create(self, head: Line) -> None:
        """Make the folder; with the head in it it counts as a session."""
        (self.folder / "snapshots").mkdir(parents=True, exist_ok=True)
        write_json(self.folder / _HEAD, head)

    def moment(self, n: int) -> Path:
        """Where the moment after operation n belongs."""
        return self.folder / f"{_MOMENT}{n}.safetensors"

    def append(self, line: Line) -> None:
        """Write one line, which from then on survives the process.

        Raises:
            OSError: It cannot be written; what there is of it is dropped before the next.
        """
        data = _text(line)
        with self._lock:
            if self._file is None:
                path = self.folder / _LINES
                _drop_torn_line(path)
                self._file = path.open("ab", buffering=0)
            try:
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self._close()
                raise

    def prune(self, n: int) -> int | None:
        """Remove the moments that are older than the newest one of at most n operations.

        Returns:
            The oldest that is left; None if there is none at all.
        """
        moments = _moments(self.folder)
        kept = max((number for number in moments if number <= n), default=min(moments, default=None))
        if kept is None:
            return None
        for number in [number for number in moments if number < kept]:
            remove_moment(moments[number])
        return kept

    def shrink(self, n: int, fold: Callable[[list[Line]], Line]) -> None:
        """Let one line stand for all before that of operation n.

        Args:
            n: Of an operation done.
            fold: From those lines to the one.
        """
        with self._lock:
            self._close()
            lines = _lines(self.folder / _LINES)
            first = next((k for k, line in enumerate(lines) if line.get("n", 0) >= n), len(lines))
            if first < 2:
                return
            with replacing(self.folder / _LINES) as temporary:
                temporary.write_bytes(b"".join(map(_text, [fold(lines[:first]), *lines[first:]])))

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_folder(folder: Path) -> Written:
    """Read what `Journal` wrote.

    Raises:
        OSError, ValueError: It is no session's folder, or somebody changed it.
    """
    head = json.loads((folder / _HEAD).read_text(encoding="utf-8"))
    if not isinstance(head, dict):
        raise ValueError(f"{folder / _HEAD} is no session's head; restore it from a copy, or remove the folder.")
    return Written(head, _lines(folder / _LINES), _moments(folder))


def _text(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _lines(path: Path) -> list[Line]:
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():  # the last part was never finished
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError(f"{path} has a line that is no operation; restore it from a copy, or remove the folder.")
        lines.append(value)
    return lines


def _moments(folder: Path) -> dict[int, Path]:
    found = {}
    for path in folder.glob(f"{_MOMENT}*.safetensors"):
        number = path.stem.removeprefix(_MOMENT)
        if number.isdecimal():
            found[int(number)] = path
    return found


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed process left of a line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.seek(whole)
            file.truncate()
            os.fsync(file.fileno())
