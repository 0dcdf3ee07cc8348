"""`Hub`: who uses which session, who controls it, and what plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.play.pilot import Pilot
from sanawm_env.server.play.player import Player, action_of
from sanawm_env.server.sessions.host import Host

__all__ = ["Attachment", "Hub"]

_LOG = logging.getLogger(__name__)

Deliver = Callable[["Attachment", dict[str, Any], Any], Awaitable[None]]
"""Sends an event to one attachment: head, and a frame or None."""


@dataclass(eq=False)
class Attachment:
    """One session on one socket."""

    session: str
    socket: object
    deliver: Deliver
    client: str | None
    control: bool
    encoding: str
    quality: int
    video: str = "jpeg"
    """How frames of play are to be sent."""


@dataclass(eq=False)
class Hub:
    """Used in the event loop's thread only."""

    host: Host
    attachments: dict[str, list[Attachment]] = field(default_factory=dict)
    """By session."""
    players: dict[str, Player] = field(default_factory=dict)
    held: dict[str, protocol.Control] = field(default_factory=dict)
    """The last control of each session's controller; what is held before play, its first step obeys already."""
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    """Play and pause of a session, one after the other: a pause that comes while play begins stops it."""

    # -- attachments ----------------------------------------------------------------------------------------

    async def attach(self, message: protocol.Attach, socket: object, deliver: Deliver) -> None:
        """Use a session on a socket.

        Raises:
            ServerError: `controlled`: somebody else has control.
        """
        users = self.attachments.setdefault(message.session, [])
        owner = self.controller(message.session)
        if message.control and owner is not None and owner.socket is not socket:
            same = message.client is not None and message.client == owner.client
            if not (message.take or same):
                raise ServerError(
                    "controlled", "somebody else controls the session; watch it with control false, or take it."
                )
            await self.pause(message.session, "detached")
            self.held.pop(message.session, None)
            users.remove(owner)
            if not same:
                await self._tell(owner, {"type": "lost", "session": owner.session})
        users[:] = [each for each in users if each.socket is not socket]
        users.append(
            Attachment(
                message.session, socket, deliver, message.client, message.control, message.encoding, message.quality,
                message.video,
            )
        )  # fmt: skip

    async def detach(self, socket: object, session: str | None = None) -> None:
        """Let a socket no longer use a session, or any."""
        for name in [session] if session is not None else list(self.attachments):
            users = self.attachments.get(name, [])
            mine = [each for each in users if each.socket is socket]
            users[:] = [each for each in users if each.socket is not socket]
            if any(each.control for each in mine):
                await self.pause(name, "detached")
                self.held.pop(name, None)
            if not users:
                self.attachments.pop(name, None)

    def controller(self, session: str) -> Attachment | None:
        """Who has control."""
        return next((each for each in self.attachments.get(session, ()) if each.control), None)

    def require_control(self, session: str, socket: object) -> None:
        """See that a socket may change a session.

        Raises:
            ServerError: `not-attached` or `controlled`.
        """
        mine = next((each for each in self.attachments.get(session, ()) if each.socket is socket), None)
        if mine is None:
            raise ServerError("not-attached", "attach to the session first.")
        if not mine.control:
            raise ServerError("controlled", "this attachment only watches; attach with control.")

    # -- play -----------------------------------------------------------------------------------------------

    async def play(self, message: protocol.Play) -> None:
        """Begin to play, or go on with other arguments.

        Raises:
            ServerError: A policy, or an action mode, that cannot play; a session that has not begun.
        """
        async with self._turns.setdefault(message.session, asyncio.Lock()):
            await self._play(message)

    async def _play(self, message: protocol.Play) -> None:
        name = message.session
        await self._halt(name, "asked", tell=False)
        host = self.host

        def begin() -> tuple[dict[str, Any], Pilot | None]:
            session = host.session(name)
            session.require()
            facts = session.describe()
            action_of(None, facts)
            pilot = None if message.policy is None else Pilot(message.policy, session)
            session.playing = True
            return facts, pilot

        facts, pilot = await asyncio.wrap_future(host.call(begin))

        async def send(head: dict[str, Any], image: Any) -> None:
            for each in list(self.attachments.get(name, ())):
                await self._tell(each, head, image)

        player = Player(host, name, facts, send, max(0.0, message.snapshot_every), pilot, self.held.get(name))
        self.players[name] = player
        self._tasks[name] = asyncio.create_task(self._run(player))

    async def _run(self, player: Player) -> None:
        name, reason = player.session, "failed"
        try:
            reason = await player.run()
        except asyncio.CancelledError:
            reason = self._reasons.pop(name, "asked")
        except ServerError as error:
            reason = f"failed: {error}"
        except Exception:
            _LOG.exception("session %s stopped playing", name)
        finally:
            if self.players.get(name) is player:
                del self.players[name], self._tasks[name]
            self.host.call(lambda: _stop(self.host, name))
        if reason:
            for each in list(self.attachments.get(name, ())):
                await self._tell(each, {"type": "paused", "session": name, "reason": reason})

    async def pause(self, session: str, reason: str) -> None:
        """Stop playing, if it does."""
        async with self._turns.setdefault(session, asyncio.Lock()):
            await self._halt(session, reason)

    async def _halt(self, session: str, reason: str, *, tell: bool = True) -> None:
        task = self._tasks.get(session)
        if task is None:
            return
        self._reasons[session] = reason if tell else ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wrap_future(self.host.call(lambda: None))  # a step under way is over

    def jumped(self, session: str, facts: dict[str, Any]) -> None:
        """A session was reset, restored or configured; `facts` is its description since."""
        if (player := self.players.get(session)) is not None:
            player.facts = facts
            player.jumped()

    async def close(self) -> None:
        """Stop all that plays."""
        for session in list(self._tasks):
            await self.pause(session, "detached")

    async def _tell(self, to: Attachment, head: dict[str, Any], image: Any = None) -> None:
        try:
            await to.deliver(to, head, image)
        except Exception:  # the socket is gone; its reader cleans up
            _LOG.debug("an event was not delivered", exc_info=True)


def _stop(host: Host, name: str) -> None:
    session = next((each for each in host.in_memory() if each.id == name), None)
    if session is not None:
        session.playing = False
