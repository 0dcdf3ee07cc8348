"""`Link`: one connection to a policy server, on which nothing waits for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from sanawm_env.policies.remote.wire import WireError, pack, unpack

__all__ = ["KEY", "Link", "RemotePolicyError", "read_address"]

KEY = "SANAWM_POLICY_API_KEY"
"""Environment variable with the key that servers want; an option would stand in recipes, tables and `ps`."""

_OPEN_SECONDS = 10.0
"""For the connection, and again for the metadata, which servers send before they do anything else."""
_LARGEST_ANSWER = 64 * 2**20
_LONGEST_WORDS = 300


class RemotePolicyError(ConnectionError):
    """A policy server that is not there, does not answer in time, or answers what cannot be used; names it."""


def read_address(address: str) -> str:
    """A server's address with its scheme.

    Args:
        address: `ws://HOST:PORT`, `wss://...` or, as in openpi, `HOST:PORT` alone.

    Raises:
        ValueError: It is no such address; says what one is.
    """
    full = address if "://" in address else f"ws://{address}"
    try:
        parts = urlsplit(full)
        fine = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        fine = fine and not any(letter.isspace() for letter in full)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"a policy server's address is ws://HOST:PORT or wss://HOST; got {address!r}.")
    if "@" in parts.netloc:
        raise ValueError(f"the policy server's address holds a name or password; give the key by {KEY} instead.")
    return full


class Link:
    """A connection that has received the server's metadata; every wait on it has an end."""

    def __init__(self, address: str, timeout: float, wait: float = 0.0) -> None:
        """Connect.

        Args:
            address: Of `read_address`.
            timeout: Seconds for each answer.
            wait: Seconds for which to try again while nobody listens there.

        Raises:
            RemotePolicyError: No such server, a wrong key, or no server of policies.
        """
        self.address, self._timeout = address, timeout
        self._stack = ExitStack()
        self._socket = self._connect(time.monotonic() + wait)
        try:
            self.metadata = self._read(lambda: self._socket.recv(), "its metadata", _OPEN_SECONDS)
            """The first message: what the server says about itself."""
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and wait for its answer.

        Raises:
            RemotePolicyError: An error of the server, no answer in time, or one that is no dictionary.
        """

        def exchange() -> str | bytes:
            self._socket.send(message)
            answer: str | bytes = self._socket.recv()
            return answer

        try:
            message = pack(request)
        except WireError as error:
            raise self._error(f"the observation {error}") from None
        return self._read(exchange, "an answer", self._timeout, "; give it longer by timeout=SECONDS")

    def close(self) -> None:
        """End the connection; again is no harm."""
        with suppress(Exception):
            self._stack.close()

    def _connect(self, until: float) -> Any:
        from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
        from websockets.sync.client import connect

        key = os.environ.get(KEY)
        while True:
            try:
                connection = connect(
                    self.address,
                    additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
                    compression=None,
                    max_size=_LARGEST_ANSWER,
                    open_timeout=_OPEN_SECONDS,
                    close_timeout=1,
                    # openpi's servers answer no ping while they infer, and the first time takes a minute.
                    ping_interval=None,
                )
                return self._stack.enter_context(connection)
            except ConnectionRefusedError:
                if (left := until - time.monotonic()) <= 0:
                    raise self._error(
                        "nobody listens there; start the server, or let episodes wait for it by wait=SECONDS"
                    ) from None
                time.sleep(min(0.5, left))
            except InvalidStatus as error:
                status = error.response.status_code
                fix = f"; set {KEY} to its key" if status in (401, 403) else ""
                raise self._error(f"it refuses the connection with HTTP status {status}{fix}") from None
            except (InvalidHandshake, InvalidMessage, EOFError):
                raise self._error("what listens there speaks no WebSocket") from None
            except TimeoutError:
                raise self._error("it does not accept a connection in time") from None
            except OSError as error:
                raise self._error(f"it cannot be reached ({error.strerror or error})") from None

    def _read(self, receive: Callable[[], str | bytes], what: str, seconds: float, fix: str = "") -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        broken: Exception | None = None
        with self._deadline(seconds) as late:
            try:
                answer = receive()
            except (ConnectionClosed, OSError) as error:
                broken = error
        if late.is_set():
            self.close()
            raise self._error(f"{what} did not come within {seconds:g} s{fix}")
        if broken is not None:
            raise self._error(f"the connection broke before {what} came ({_short(broken)})")
        if isinstance(answer, str):
            raise self._error(f"the server says: {_short(answer)}")
        try:
            found = unpack(answer)
        except WireError as error:
            raise self._error(f"{what} cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise self._error(f"{what} is a {type(found).__name__} and not a dictionary")
        return found

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[threading.Event]:
        """Cut the connection when time is up, whatever is being waited for; sending can hang as well as receiving."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError):
                self._socket.socket.shutdown(2)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _error(self, said: str) -> RemotePolicyError:
        return RemotePolicyError(f"policy server {self.address}: {said}.")


def _short(said: object) -> str:
    """The end of a text, which of a traceback is what matters, in one line."""
    words = " ".join(str(said).split()).rstrip(".")
    return words if len(words) <= _LONGEST_WORDS else f"... {words[-_LONGEST_WORDS:]}"
