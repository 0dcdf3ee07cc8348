"""`Dispatcher`: from a request to its answer, for WebSocket and HTTP alike."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from sanawm_env.camera.keymaps import KEYMAPS
from sanawm_env.policies.registry import POLICIES
from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.play.hub import Deliver, Hub
from sanawm_env.server.play.player import IN_FLIGHT
from sanawm_env.server.play.video import LiveVideo
from sanawm_env.server.recording.datasets import Recordings
from sanawm_env.server.sessions.host import Host
from sanawm_env.server.sessions.simulators import ALLOWED
from sanawm_env.server.web.limits import LARGEST_IMAGE, LARGEST_REQUEST, Uploads
from sanawm_env.tasks import TASKS

__all__ = ["Dispatcher"]

Answer = dict[str, Any]

_WATCHING = (protocol.Describe, protocol.Snapshots, protocol.View, protocol.Save, protocol.Rewards)
"""What needs no control."""
_JUMPS = (protocol.Reset, protocol.Restore, protocol.Configure)


@dataclass(eq=False)
class Dispatcher:
    """What both faces of the server share."""

    host: Host
    uploads: Uploads
    hub: Hub
    recordings: Recordings | None = None
    """Where walks become episodes; None where no folder stays."""
    sockets: int = 0
    """WebSockets that are open."""
    refused: int = 0
    """Requests refused so far."""

    def begin(
        self, message: protocol.Message, payload: bytes, socket: object, deliver: Deliver
    ) -> Awaitable[Answer | None]:
        """Begin to answer a request of a socket; what changes a session is in its queue when this returns.

        Returns:
            The answer to come; None for requests without one.
        """
        if isinstance(message, protocol.OfSession) and message.session not in self.host:
            return _failed(ServerError("unknown-session", "there is no such session; create one, or list them."))
        try:
            return self._begun(message, payload, socket, deliver)
        except ServerError as error:
            return _failed(error)

    def _begun(
        self, message: protocol.Message, payload: bytes, socket: object, deliver: Deliver
    ) -> Awaitable[Answer | None]:
        hub = self.hub
        if isinstance(message, protocol.Attach):
            return self._attach(message, socket, deliver)
        if isinstance(message, protocol.Detach):
            return self._detach(message, socket)
        if not isinstance(message, protocol.OfSession):
            return self.general(message, payload)
        if isinstance(message, protocol.Delete):
            if (owner := hub.controller(message.session)) is not None and owner.socket is not socket:
                raise ServerError("controlled", "somebody else controls the session.")
            return self.delete(message)
        if not isinstance(message, _WATCHING):
            hub.require_control(message.session, socket)
        player = hub.players.get(message.session)
        if isinstance(message, protocol.Control):
            hub.held[message.session] = message
            if player is not None:
                player.control = message
            return _nothing()
        if isinstance(message, protocol.Ack):
            if player is not None:
                player.ack(message.frame)
            return _nothing()
        if isinstance(message, protocol.Play):
            return self._done(hub.play(message), message.session)
        if isinstance(message, protocol.Pause):
            return self._done(hub.pause(message.session, "asked"), message.session)
        if isinstance(message, protocol.Record):
            return self._record(message)
        return self._asked(message, self.host.submit(message, payload))

    async def _asked(self, message: protocol.OfSession, future: Future[Answer]) -> Answer:
        answer = await asyncio.wrap_future(future)
        if isinstance(message, _JUMPS) and message.session in self.hub.players:
            describe = protocol.Describe(session=message.session)
            self.hub.jumped(message.session, await asyncio.wrap_future(self.host.submit(describe)))
        return await self._whole(answer)

    async def _record(self, message: protocol.Record) -> Answer:
        if self.recordings is None:
            raise ServerError("invalid", "episodes need a folder that stays; start the server with --data FOLDER.")
        return await asyncio.wrap_future(self.recordings.add(message.session, message.snapshot))

    async def answer(self, message: protocol.OfSession, payload: bytes = b"") -> Answer:
        """The answer of a session to a request that needs no attachment."""
        return await self._whole(await asyncio.wrap_future(self.host.submit(message, payload)))

    async def _whole(self, answer: Answer) -> Answer:
        if answer["type"] == "session":
            return answer | {"controlled": self.hub.controller(answer["session"]) is not None}
        if answer["type"] == "file":
            data = await asyncio.to_thread(self._file, answer["moment"])
            return {key: value for key, value in answer.items() if key != "moment"} | {"payload": data}
        return dict(answer)

    def _file(self, moment: Any) -> bytes:
        path = self.host.folder / f"download-{secrets.token_hex(8)}.safetensors"
        try:
            moment.save(path)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    # -- requests about no session, or about its users ------------------------------------------------------

    async def general(self, message: protocol.Message, payload: bytes) -> Answer:
        """Answer a request that concerns no session."""
        if isinstance(message, protocol.Ping):
            return {"type": "pong", "time": time.time()}
        if isinstance(message, protocol.World):
            return self.world()
        if isinstance(message, protocol.Image):
            return {"type": "image", "image": await asyncio.to_thread(self.uploads.add, payload)}
        if isinstance(message, protocol.Create):
            host, settings, key = self.host, message.settings, message.key
            answer: Answer = await asyncio.wrap_future(host.call(lambda: host.create(settings, key).describe()))
            return await self._whole(answer)
        raise ServerError("unknown-type", f"{message.type} is not for here.")

    def world(self) -> Answer:
        """What this server is."""
        config, limits = self.host.model.config, self.host.limits
        return {
            "type": "world",
            "name": config.name,
            "checkpoint": self.host.model.checkpoint,
            "size": [config.height, config.width],
            "fps": config.fps,
            "frames_per_latent": self.host.model.vae.temporal_stride,
            "chunk_frames": config.chunk_frames,
            "max_chunk_frames": config.max_chunk_frames,
            "text": config.reads_text,
            "exact": not self.host.model.batched,
            "recording": self.recordings is not None,
            "settings": list(ALLOWED),
            "tasks": list(TASKS),
            "policies": list(POLICIES),
            "keymaps": {name: keymap.to_dict() for name, keymap in KEYMAPS.items()},
            "limits": {
                "sessions": limits.sessions,
                "snapshot_bytes": limits.snapshot_bytes,
                "image_bytes": LARGEST_IMAGE,
                "request_bytes": LARGEST_REQUEST,
                "frames_in_flight": IN_FLIGHT,
            },
        }

    async def delete(self, message: protocol.Delete) -> Answer:
        """End a session, and what plays it."""
        await self.hub.pause(message.session, "asked")
        return await self.answer(message)

    async def _attach(self, message: protocol.Attach, socket: object, deliver: Deliver) -> Answer:
        config = self.host.model.config
        if not LiveVideo.fits(config.height, config.width):
            message = replace(message, video="jpeg")
        await self.hub.attach(message, socket, deliver)
        return await self.answer(protocol.Describe(session=message.session)) | {"video": message.video}

    async def _detach(self, message: protocol.Detach, socket: object) -> Answer:
        await self.hub.detach(socket, message.session)
        return {"type": "done", "session": message.session}

    @staticmethod
    async def _done(work: Awaitable[None], session: str) -> Answer:
        await work
        return {"type": "done", "session": session}


async def _nothing() -> None:
    return None


async def _failed(error: ServerError) -> None:
    raise error
