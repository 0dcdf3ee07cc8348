"""HTTP to a replica: one request, one whole answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from sanawm_env.server.cluster.fleet import Fleet, Replica
from sanawm_env.server.cluster.replica import Started
from sanawm_env.server.errors import ServerError

__all__ = ["Answer", "ask_all", "forward", "target_of"]

_KEPT = ("content-type", "content-disposition", "cache-control")


@dataclass(frozen=True)
class Answer:
    """What a replica answered."""

    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    def response(self) -> Response:
        """For the client."""
        kept = {name: value for name, value in self.headers.items() if name in _KEPT}
        return Response(self.body, self.status, kept)


async def fetch(
    started: Started, token: str, target: str, method: str = "GET", body: bytes = b"", timeout: float = 60.0
) -> Answer:
    """Ask a replica.

    Args:
        started: It.
        token: Of the replicas.
        target: Path and query.
        method: Of HTTP.
        body: Of the request.
        timeout: Seconds.

    Raises:
        ConnectionRefusedError: Nobody is there; nothing was sent.
        OSError: It is gone, or too slow.
    """

    def ask() -> Answer:
        connection = HTTPConnection(started.address, timeout=timeout)
        try:
            connection.request(method, target, body or None, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())
        except HTTPException as error:
            raise ConnectionResetError(str(error)) from error
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def forward(
    fleet: Fleet, token: str, request: Request, body: bytes, session: str | None, key: str | None = None
) -> Answer:
    """Let the replica of a session answer, or any.

    Raises:
        ServerError: `unknown-session` or `unavailable`.
    """
    while True:
        replica, started = await (fleet.choose(key) if session is None else fleet.place(session))
        try:
            return await fetch(started, token, target_of(request), request.method, body)
        except ConnectionRefusedError:
            await fleet.gone(replica, started)
        except OSError:
            raise ServerError("unavailable", "the replica was lost while it answered; ask again.") from None


def target_of(request: Request) -> str:
    """Path and query of a request, without the client's token."""
    query = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
    return quote(request.url.path) + (f"?{urlencode(query)}" if query else "")


async def ask_all(fleet: Fleet, token: str, target: str, timeout: float = 5.0) -> list[tuple[Replica, Answer]]:
    """The answers of all replicas that are there and give one."""
    there = [(replica, replica.started) for replica in fleet.living if replica.started is not None]
    answers = await asyncio.gather(
        *(fetch(started, token, target, timeout=timeout) for _, started in there), return_exceptions=True
    )
    return [(replica, each) for (replica, _), each in zip(there, answers, strict=True) if isinstance(each, Answer)]
