"""The WebSocket of a client, spread over the replicas that have its sessions.

Messages are passed on as they are. When a replica is lost, so are the answers that were on their way and who was
attached: the client's socket is closed then, and the client does what it does after any lost connection. It attaches
again, and asks again under the same numbers, of which the replica that has taken over knows which are done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from sanawm_env.server import wire
from sanawm_env.server.cluster.fleet import Fleet
from sanawm_env.server.cluster.replica import Started
from sanawm_env.server.errors import ServerError
from sanawm_env.server.web.limits import Rate
from sanawm_env.server.web.sockets import parse, refusal

__all__ = ["RESTARTED", "Bridge"]

_LOG = logging.getLogger(__name__)
RESTARTED = 1012
"""Close code: service restart."""


class Bridge:
    """One client."""

    def __init__(self, websocket: WebSocket, fleet: Fleet, token: str) -> None:
        """Serve nobody yet.

        Args:
            websocket: Accepted.
            fleet: The replicas.
            token: Of theirs.
        """
        self._websocket, self._fleet, self._token = websocket, fleet, token
        self._rate = Rate(500.0, 1000.0)
        self._sending = asyncio.Lock()
        self._ends: dict[str, ClientConnection] = {}
        """By the name of the replica."""
        self._readers: list[asyncio.Task[None]] = []
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Until the client leaves, or a replica that it used."""
        reading, losing = asyncio.create_task(self._read()), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait([reading, losing], return_when=asyncio.FIRST_COMPLETED)
            if self._lost.is_set():
                async with self._sending:
                    await self._websocket.close(RESTARTED)
        except (WebSocketDisconnect, RuntimeError):
            _LOG.debug("the client left first", exc_info=True)
        finally:
            tasks = [reading, losing, *self._readers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(end.close() for end in self._ends.values()), return_exceptions=True)

    async def _read(self) -> None:
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                return
            data = received.get("bytes")
            data = received.get("text") if data is None else data
            head: dict[str, Any] = {}
            try:
                head, _ = parse(data)
                if not self._rate.take():
                    raise ServerError("too-fast", "too many messages; await the answers.")
                assert data is not None
                await self._pass_on(head, data)
            except ConnectionClosed:  # the replica's socket
                self._lost.set()
                return
            except Exception as error:
                await self._send(refusal(head, error))

    async def _pass_on(self, head: dict[str, Any], data: str | bytes) -> None:
        session, kind = head.get("session"), head.get("type")
        if kind == "ping" and head.keys() <= {"type", "id"}:
            repeated = {} if head.get("id") is None else {"id": head["id"]}
            await self._send(wire.frame({"type": "pong", "time": time.time()} | repeated))
            return
        while True:
            if isinstance(session, str):
                replica, started = await self._fleet.place(session)
            else:
                key = head.get("key") if kind == "create" else None
                replica, started = await self._fleet.choose(key if isinstance(key, str) else None)
            try:
                end = await self._end(started)
            except (OSError, InvalidHandshake):  # nothing was sent yet
                await self._fleet.gone(replica, started)
                continue
            await end.send(data)
            return

    async def _end(self, started: Started) -> ClientConnection:
        """The socket to a replica."""
        if started.name not in self._ends:
            end = await connect(
                f"ws://{started.address}/ws",
                additional_headers={"Authorization": f"Bearer {self._token}"},
                compression=None, max_size=None, ping_interval=None, proxy=None, open_timeout=10, close_timeout=2,
            )  # fmt: skip
            self._ends[started.name] = end
            self._readers.append(asyncio.create_task(self._answers(end)))
        return self._ends[started.name]

    async def _answers(self, end: ClientConnection) -> None:
        try:
            async for data in end:
                await self._send(data if isinstance(data, bytes) else data.encode())
        except (ConnectionClosed, WebSocketDisconnect, RuntimeError):
            _LOG.debug("a replica or the client was lost", exc_info=True)
        finally:
            self._lost.set()

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._websocket.send_bytes(data)
