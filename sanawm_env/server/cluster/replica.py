"""What runs in a replica's process: the session server, for the front alone."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanawm_env.server.cluster.world import WorldChoice
from sanawm_env.server.sessions.host import Limits

__all__ = ["ReplicaServer", "ReplicaSettings", "Started"]


@dataclass(frozen=True)
class ReplicaSettings:
    """What a replica needs to know; picklable."""

    world: WorldChoice
    folder: Path
    """Where the sessions of all replicas live; each machine sees it under this path."""
    limits: Limits
    """Of this replica."""
    token: str
    """That the front sends; clients have another one."""
    warmup: bool
    recording: bool = False
    """Whether episodes may be recorded, into a folder of each replica's own."""


@dataclass(frozen=True)
class Started:
    """A replica that serves."""

    name: str
    """Another one each time that its process is started: what its sessions are claimed by."""
    address: str
    """host:port"""
    largest_message: int
    """Bytes of a WebSocket message."""
    machine: str
    pid: int


class ReplicaServer:
    """A session server in a thread of this process."""

    def __init__(self, number: int, settings: ReplicaSettings, host: str = "127.0.0.1") -> None:
        """Do nothing yet.

        Args:
            number: Which of the replicas.
            settings: Of all of them.
            host: Address of this machine to listen at.
        """
        self._number, self._settings, self._host = number, settings, host
        self._lock = threading.Lock()
        self._started: Started | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self, model: Any = None) -> Started:
        """Load the world and serve, unless that is done already.

        Args:
            model: In place of the checkpoint's.

        Raises:
            FileNotFoundError: This machine does not see the folder, or has no such checkpoint.
            ValueError: The world cannot be loaded as it is asked for.
        """
        with self._lock:
            if self._started is None:
                self._started = self._begin(model)
            return self._started

    def stop(self) -> None:
        """Save every session, and end."""
        with self._lock:
            if self._server is not None and self._thread is not None:
                self._server.should_exit = True
                self._thread.join(30)

    def _begin(self, model: Any) -> Started:
        from sanawm_env.server.web.app import make_app
        from sanawm_env.server.web.auth import Guard
        from sanawm_env.server.web.listening import listen
        from sanawm_env.server.web.run import make_server

        given = self._settings
        if not given.folder.is_dir():
            raise FileNotFoundError(f"a replica's machine does not see {given.folder}; give a --data that all share.")
        model = given.world.load() if model is None else model
        name = f"{self._number}-{secrets.token_hex(6)}"
        app = make_app(
            model, given.folder, Guard(given.token), given.limits,
            warmup=given.warmup, loading=given.world.loading, recording=given.recording, owner=name,
        )  # fmt: skip
        self._server = make_server(app)
        listening = listen(self._host, 0)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the replica's server did not start; its log has more.")
            time.sleep(0.01)
        host, port = listening.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return Started(name, address, app.state.largest_message, socket.gethostname(), os.getpid())
