"""`Claims`: which of several hosts that share a folder has a session."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

from sanawm_env.server.errors import ServerError

__all__ = ["Claims", "owner_of"]

_CLAIM = "claim"
_PATIENCE = 5.0
"""Seconds in which a host that was killed lets go."""
_NAME = re.compile(r"s[A-Za-z0-9_-]{4,40}")


class Claims:
    """The sessions that this host has. A claim is a lock on a file, so that it falls with the process."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Have none yet.

        Args:
            folder: Of all sessions.
            owner: The name of this host; another one each time that its process is started.
        """
        self._folder, self._owner = folder, owner
        self._files: dict[str, FileIO] = {}

    def exists(self, session: str) -> bool:
        """Whether there is such a session, whoever has it."""
        return _NAME.fullmatch(session) is not None and (self._folder / session / "session.json").exists()

    def take(self, session: str, patience: float = _PATIENCE) -> None:
        """Have a session.

        Raises:
            ServerError: `failed`: another host has it, and does not let go in time.
        """
        if session in self._files:
            return
        (self._folder / session).mkdir(exist_ok=True)
        file = (self._folder / session / _CLAIM).open("ab", buffering=0)
        deadline = time.monotonic() + patience
        while not _locked(file):
            if time.monotonic() >= deadline:
                file.close()
                raise ServerError("failed", f"another replica still has session {session}; ask again in a moment.")
            time.sleep(0.02)
        file.truncate(0)
        file.write(self._owner.encode())
        self._files[session] = file

    def free(self, session: str) -> bool:
        """Whether this host has a session, or can have it at once."""
        with suppress(ServerError):
            self.take(session, patience=0.0)
        return session in self._files

    def release(self, session: str) -> None:
        """Have it no longer."""
        if (file := self._files.pop(session, None)) is not None:
            file.close()

    def close(self) -> None:
        """Have none any more."""
        for session in list(self._files):
            self.release(session)


def owner_of(folder: Path, session: str) -> str | None:
    """The host that had a session last; it may have ended since.

    Args:
        folder: Of all sessions.
        session: Its id.

    Returns:
        None if nobody had it.

    Raises:
        ServerError: `unknown-session`.
    """
    if _NAME.fullmatch(session) is None or not (folder / session / "session.json").exists():
        raise ServerError("unknown-session", "there is no such session; create one, or list them at /api/sessions.")
    try:
        return (folder / session / _CLAIM).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


def _locked(file: FileIO) -> bool:
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True  # no such system has Ray's replicas on several machines
    except OSError:
        return False
    return True
