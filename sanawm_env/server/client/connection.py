"""`Connection`: requests and answers over one WebSocket, which is made anew when it is lost."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gymnasium.error import ResetNeeded

from sanawm_env.server import wire

__all__ = ["Connection", "RemoteError"]

_LONGEST_PAUSE = 2.0
"""Seconds between two tries to connect."""
_AT_ONCE = 32
"""Requests that wait for their answers; the server takes 64 of a socket."""


class RemoteError(ValueError):
    """The server refused a request; nothing has changed. `code` is the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        """Remember the code."""
        super().__init__(message)
        self.code = code


class Connection:
    """One client of a server; sessions that it made are attached again after a loss."""

    def __init__(self, url: str, token: str | None = None, *, patience: float = 60.0) -> None:
        """Connect.

        Args:
            url: What `sanawm serve` printed: `http://host:port/?token=...`; also `ws://host:port`.
            token: In place of the address's.
            patience: Seconds for which a lost connection, or a server that is being started again, is waited for.

        Raises:
            ConnectionError: Nobody answers there.
            PermissionError: The token is missing or wrong.
            ValueError: No such address.
        """
        parts = urlsplit(url)
        schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError(
                f"url must be the address that `sanawm serve` printed, http://host:port/?token=...; got {url!r}."
            )
        self._address = f"{schemes[parts.scheme]}://{parts.netloc}/ws"
        self._token = token or next(iter(parse_qs(parts.query).get("token", [])), None)
        self._patience = patience
        self._ids = itertools.count(1)
        self._client = secrets.token_hex(8)
        self._attached: dict[str, dict[str, Any]] = {}
        self._socket: Any = None
        self._leave = ExitStack()
        self._lock = threading.RLock()
        self.users = 0
        """Environments that use it; the last one closes it."""
        with self._lock:
            self._open()

    def ask(self, message: dict[str, Any], payload: bytes = b"") -> dict[str, Any]:
        """One request.

        Returns:
            The answer, its arrays decoded; the payload of a file under `payload`.

        Raises:
            RemoteError: The server refused it.
            ResetNeeded: The session has not begun.
            ConnectionError: The connection was lost for longer than the patience.
        """
        (answer,) = self.ask_all([message], payload)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, messages: Sequence[dict[str, Any]], payload: bytes = b"") -> list[dict[str, Any] | Exception]:
        """Several requests, as many at once as the server takes; those that it refuses are errors in the list."""
        answers: list[dict[str, Any] | Exception] = []
        for begin in range(0, len(messages), _AT_ONCE):
            answers += self._ask_some(messages[begin : begin + _AT_ONCE], payload)
        return answers

    def _ask_some(self, messages: Sequence[dict[str, Any]], payload: bytes) -> list[dict[str, Any] | Exception]:
        with self._lock:
            waiting = {next(self._ids): message for message in messages}
            order = list(waiting)
            answers: dict[int, dict[str, Any] | Exception] = {}
            deadline: float | None = None
            unsent = True
            while waiting:
                try:
                    if self._socket is None:
                        self._open()
                        unsent = True
                    if unsent:
                        for number, message in waiting.items():
                            self._send({**message, "id": number}, payload)
                        unsent = False
                    head, data = wire.split(self._socket.recv())
                    if (answered := head.get("id")) in waiting:
                        del waiting[answered]
                        answers[answered] = _read(head, data)
                    deadline = None
                except (OSError, _closed()) as error:
                    deadline = self._lost(error, deadline)
            return [answers[number] for number in order]

    def attach(self, session: str, encoding: str, take: bool) -> dict[str, Any]:
        """Use a session, now and after a loss; its description."""
        message = {"type": "attach", "session": session, "client": self._client, "encoding": encoding}
        answer = self.ask(message | {"take": take})
        self._attached[session] = message
        return answer

    def leave(self, session: str, delete: bool) -> None:
        """Use a session no longer, and end it."""
        self._attached.pop(session, None)
        if self._socket is not None:
            try:
                self.ask({"type": "delete" if delete else "detach", "session": session})
            except (RemoteError, ConnectionError):
                pass  # it is gone, which is what was wanted

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._socket, self._patience = None, 0.0
            self._leave.close()

    # -- the socket -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        from websockets.exceptions import InvalidHandshake
        from websockets.sync.client import connect

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        with suppress(Exception):  # of a socket that is lost anyway
            self._leave.close()
        options: dict[str, Any] = {"compression": None, "max_size": None, "open_timeout": 10, "close_timeout": 2}
        try:
            opened = connect(self._address, additional_headers=headers, proxy=None, **options)
            self._socket = self._leave.enter_context(opened)
        except (OSError, TimeoutError) as error:
            raise ConnectionError(
                f"no session server answers at {self._address} ({error}); start `sanawm serve`."
            ) from error
        except InvalidHandshake as error:
            raise ConnectionRefusedError(f"{self._address} is no session server, or turned us away: {error}") from error
        try:
            # The former socket may not have been noticed to be gone; who attached there was this client, too.
            for message in self._attached.values() or [{"type": "ping"}]:
                self._send({**message, "id": 0})
                self._await_attached()
        except _closed() as error:
            self._refused(error)
            raise

    def _await_attached(self) -> None:
        while (head := wire.split(self._socket.recv())[0]).get("id") != 0:
            pass  # an event of a session that plays
        if head["type"] == "error":
            raise RemoteError(head["code"], head["error"])

    def _send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        try:
            data = wire.frame(message, payload) if payload else json.dumps(message, allow_nan=False)
        except ValueError:
            raise ValueError("a number is NaN or infinite; check the policy that produced it.") from None
        self._socket.send(data)

    def _lost(self, error: Exception, deadline: float | None) -> float:
        """Wait a little before the next try; raises once the patience is at its end."""
        self._refused(error)
        self._socket = None
        now = time.monotonic()
        deadline = now + self._patience if deadline is None else deadline
        if now >= deadline:
            raise ConnectionError(f"the connection to {self._address} was lost ({error}).") from error
        left = deadline - now
        time.sleep(min(_LONGEST_PAUSE, left, 0.05 + (self._patience - left) / 4))
        return deadline

    def _refused(self, error: Exception) -> None:
        code = getattr(getattr(error, "rcvd", None), "code", None)
        if code == 4401:
            raise PermissionError(f"{self._address}: the token is missing or wrong; use the address that it printed.")
        if code == 4403:
            raise PermissionError(
                f"{self._address}: the server is called by another name; use the one that it printed."
            )


def _closed() -> type[Exception]:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


def _read(head: dict[str, Any], data: memoryview) -> dict[str, Any] | Exception:
    if head["type"] == "error":
        if head["code"] == "not-begun":
            return ResetNeeded(head["error"])
        return RemoteError(head["code"], head["error"])
    if head["type"] == "file":
        return head | {"payload": bytes(data)}
    answer: dict[str, Any] = wire.decode(head, data)
    return answer
