"""The WebSocket: reads requests, answers each, and passes on the events of play."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from sanawm_env.server import protocol, wire
from sanawm_env.server.errors import ServerError
from sanawm_env.server.play.hub import Attachment
from sanawm_env.server.play.video import LiveVideo
from sanawm_env.server.reading import read_message
from sanawm_env.server.web.dispatch import Dispatcher
from sanawm_env.server.web.limits import LARGEST_REQUEST, Rate
from sanawm_env.server.web.pictures import codec, jpeg

__all__ = ["parse", "refusal", "serve_socket", "told"]

_LOG = logging.getLogger(__name__)
_UNDER_WAY = 64
"""Requests of one socket that may be unanswered."""
_LARGE = 500_000
"""Bytes of a frame from which on it is encoded beside the event loop, which others wait for."""
_UNHEARD = 8
"""Events that may wait for a slow socket; a watcher misses what comes beyond."""


class _Socket:
    """One client."""

    def __init__(self, websocket: WebSocket, dispatcher: Dispatcher) -> None:
        self._websocket, self._dispatcher = websocket, dispatcher
        self._tasks: set[asyncio.Task[None]] = set()
        self._rate = Rate(500.0, 1000.0)
        self._sending = asyncio.Lock()
        self._events = 0
        self._videos: WeakKeyDictionary[Attachment, LiveVideo] = WeakKeyDictionary()

    async def run(self) -> None:
        """Until the client leaves."""
        try:
            while True:
                received = await self._websocket.receive()
                if received["type"] == "websocket.disconnect":
                    return
                data = received.get("bytes")
                await self._read(received.get("text") if data is None else data)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            await self._dispatcher.hub.detach(self)
            for task in self._tasks:
                task.cancel()

    async def _read(self, data: str | bytes | None) -> None:
        head: dict[str, Any] = {}
        try:
            head, payload = parse(data)
            message = read_message(head)
            if not self._rate.take():
                raise ServerError("too-fast", "too many messages; await the answers.")
            if len(self._tasks) >= _UNDER_WAY:
                raise ServerError("too-fast", f"{_UNDER_WAY} requests are unanswered; await them.")
        except Exception as error:
            await self._refuse(head, error)
            return
        # To the host in the order of arrival; the answers are awaited beside the next request.
        work = self._dispatcher.begin(message, payload, self, self.deliver)
        task = asyncio.create_task(self._finish(message, head, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)

    async def _finish(self, message: protocol.Message, head: dict[str, Any], work: Any) -> None:
        try:
            answer = await work
            if answer is None:
                return
            payload = answer.pop("payload", b"")
            await self._send(answer | ({} if message.id is None else {"id": message.id}), self._style(message), payload)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await self._refuse(head, error)

    def _style(self, message: protocol.Message) -> tuple[str, int]:
        session = getattr(message, "session", "")
        for each in self._dispatcher.hub.attachments.get(session, ()):
            if each.socket is self:
                return each.encoding, each.quality
        return "raw", 85

    async def _send(self, answer: dict[str, Any], style: tuple[str, int], payload: bytes = b"") -> None:
        if payload:
            data = wire.frame(answer, payload)
        elif style[0] == "raw":
            data = _encoded(answer, style)
        else:
            data = await asyncio.to_thread(_encoded, answer, style)
        async with self._sending:
            await self._websocket.send_bytes(data)

    async def deliver(self, to: Attachment, head: dict[str, Any], image: Any) -> None:
        """Send an event: at once to whoever controls, to a watcher if it keeps up."""
        if self._events >= _UNHEARD and not to.control:
            return
        self._events += 1
        try:
            if image is None:
                data = wire.frame(wire.encode(head, []))
            elif image.size < _LARGE:
                data = self._shown(to, head, image)
            else:
                data = await asyncio.to_thread(self._shown, to, head, image)
            async with self._sending:
                await self._websocket.send_bytes(data)
        finally:
            self._events -= 1

    def _shown(self, to: Attachment, head: dict[str, Any], image: NDArray[np.uint8]) -> bytes:
        """A frame of play as the attachment wants it."""
        if to.video == "jpeg":
            return wire.frame(wire.encode(head | {"format": "jpeg"}, []), jpeg(image, to.quality))
        if (video := self._videos.get(to)) is None:
            height, width = image.shape[:2]
            video = self._videos[to] = LiveVideo(height, width, self._dispatcher.host.model.config.fps)
        if head["fresh"]:
            video.restart()
        data, key = video.encode(image)
        return wire.frame(wire.encode(head | {"format": "h264", "key": key}, []), data)

    async def _refuse(self, head: dict[str, Any], error: Exception) -> None:
        self._dispatcher.refused += 1
        try:
            async with self._sending:
                await self._websocket.send_bytes(refusal(head, error))
        except Exception:
            _LOG.debug("an error was not delivered", exc_info=True)


async def serve_socket(websocket: WebSocket, dispatcher: Dispatcher) -> None:
    """Serve one client, whose token is known to be right."""
    await websocket.accept()
    dispatcher.sockets += 1
    try:
        await _Socket(websocket, dispatcher).run()
    finally:
        dispatcher.sockets -= 1


def told(error: Exception) -> dict[str, Any]:
    """What a client is told of an error: no traceback, no names of the server's own."""
    if isinstance(error, ServerError):
        return {"type": "error", "code": error.code, "error": str(error)}
    if isinstance(error, wire.WireError):
        return {"type": "error", "code": "malformed", "error": str(error)}
    _LOG.error("a request failed", exc_info=error)
    return {"type": "error", "code": "failed", "error": "the server failed at this; its log has more."}


def refusal(head: dict[str, Any], error: Exception) -> bytes:
    """The message that tells of an error, with what it repeats of its request."""
    answer = told(error)
    for name, kinds in (("id", (int, str)), ("session", (str,))):
        value = head.get(name)
        if isinstance(value, kinds) and not isinstance(value, bool) and len(str(value)) <= 64:
            answer[name] = value
    return wire.frame(answer)


def parse(data: str | bytes | None) -> tuple[dict[str, Any], bytes]:
    """Head and payload of what a client sent.

    Raises:
        ServerError, WireError: It is too large, or no message.
    """
    if data is None:
        raise wire.WireError("an empty message.")
    if isinstance(data, str):
        if len(data) > LARGEST_REQUEST:
            raise ServerError("too-large", f"a request has at most {LARGEST_REQUEST} bytes of JSON.")
        return wire.read_json(data), b""
    if int.from_bytes(data[:4], "big") > LARGEST_REQUEST:
        raise ServerError("too-large", f"a request has at most {LARGEST_REQUEST} bytes of JSON.")
    head, payload = wire.split(data)
    return head, bytes(payload)


def _encoded(answer: dict[str, Any], style: tuple[str, int]) -> bytes:
    parts: list[wire.Bytes] = []
    shown = {key: value for key, value in answer.items() if not key.startswith("_")}
    head = wire.encode(shown, parts, codec(*style), style[0])
    return wire.frame(head, parts)
