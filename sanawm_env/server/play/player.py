"""`Player`: a session that steps by itself and sends each frame when it is due."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sanawm_env.envs.sensors.observations import pose_vectors
from sanawm_env.envs.wrappers.motion import Motion
from sanawm_env.envs.wrappers.twist import path_delta
from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.play.pilot import Pilot
from sanawm_env.server.sessions.host import Host

__all__ = ["IN_FLIGHT", "Player"]

IN_FLIGHT = 4
"""Frames on their way to the client at most; more would be latency."""
PATIENCE = 30.0
"""Seconds without an ack after which play pauses."""
_MARGIN = 0.01
"""Seconds by which a step is begun earlier than it seems to need."""

Send = Callable[[dict[str, Any], Any], Awaitable[None]]
"""Sends an event: its head, and the frame `(H, W, 3)` or None."""


@dataclass(eq=False)
class _Row:
    head: dict[str, Any]
    image: Any


@dataclass(eq=False)
class Player:
    """Plays one session until it is told to stop.

    A step is begun as late as it can be, so that it obeys what is held now; its frames leave 1/fps apart by an
    absolute clock. Where the client does not acknowledge frames, or the world is slower than its clock, time slips
    and nothing queues up.
    """

    host: Host
    session: str
    facts: dict[str, Any]
    """The session's description."""
    send: Send
    snapshot_every: float = 1.0
    pilot: Pilot | None = None
    """A policy that acts in the user's place."""
    control: protocol.Control | None = None
    """What is held now."""
    sent: int = 0
    acked: int = 0
    _rows: deque[_Row] = field(default_factory=deque)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _next: float = 0.0
    _durations: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    _since_snapshot: float = 0.0
    _generation: int = 0
    _fresh: bool = True
    """Whether the next frame follows from none before it."""

    async def run(self) -> str:
        """Play.

        Returns:
            Why it ended: `episode`, `no acks` or `failed`. Cancel it to pause.
        """
        self._next = asyncio.get_running_loop().time()
        tasks = [asyncio.ensure_future(self._step()), asyncio.ensure_future(self._show())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done and tasks[0].exception() is None:  # the last frames still have to be shown
                return await self._drained(tasks)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def ack(self, frame: int) -> None:
        """The client has drawn a frame."""
        self.acked = max(self.acked, min(frame, self.sent))
        self._moved.set()

    def jumped(self) -> None:
        """The session is at another moment: frames in waiting are of a past that is over."""
        self._rows.clear()
        self._generation += 1
        self._fresh = True
        self._since_snapshot = 0.0
        self._moved.set()

    # -- stepping -------------------------------------------------------------------------------------------

    async def _step(self) -> str:
        loop, frames = asyncio.get_running_loop(), self.facts["frames_per_step"]
        while True:
            while len(self._rows) > frames or (wait := self._due() - self._needs() - loop.time()) > 0:
                await asyncio.sleep(min(0.01, max(wait, 0.001)) if len(self._rows) <= frames else 0.01)
            control, generation = self.control, self._generation
            action = await self._action(control)
            began = loop.time()
            step = protocol.Step(session=self.session, action=action)
            answer = await asyncio.wrap_future(self.host.submit(step, internal=True))
            if generation != self._generation:
                continue
            self._durations.append(loop.time() - began)
            self._take(answer, 0 if control is None else control.seq)
            if answer["terminated"] or answer["truncated"]:
                return "episode"
            await self._snapshot()

    def _due(self) -> float:
        """When the frame after all that wait is due."""
        return self._next + len(self._rows) / self.facts["fps"]

    def _needs(self) -> float:
        return max(self._durations, default=0.0) + _MARGIN

    async def _action(self, control: protocol.Control | None) -> list[Any]:
        if self.pilot is not None:
            pilot = self.pilot
            return await asyncio.wrap_future(self.host.call(lambda: pilot.act(self.host.session(self.session))))
        return action_of(control, self.facts)

    def _take(self, answer: dict[str, Any], seq: int) -> None:
        info, fps = answer["info"], self.facts["fps"]
        images, poses = answer["_frames"], pose_vectors(np.asarray(info["frame_c2w"]))
        rows, last = len(images), int(info["frame_index"])
        numbers = {key: value for key, value in info.items() if not isinstance(value, np.ndarray)}
        speed = (rows / fps) * len(self._durations) / max(sum(self._durations), 1e-9)
        for row, image in enumerate(images):
            index = last - (rows - 1 - row)
            head = {
                "type": "frame", "session": self.session, "row": row, "rows": rows, "n": answer["n"],
                "step": answer["_step"], "frame_index": index, "time": index / fps, "seq": seq,
                "pose": poses[row].tolist(), "step_ms": answer["step_ms"], "real_time": round(speed, 3),
            }  # fmt: skip
            if row == rows - 1:
                head |= {key: answer[key] for key in ("reward", "terminated", "truncated")} | {"info": numbers}
            self._rows.append(_Row(head, image))
        self._moved.set()

    async def _snapshot(self) -> None:
        self._since_snapshot += self.facts["step_seconds"]
        if not self.snapshot_every or self._since_snapshot < self.snapshot_every - 1e-9:
            return
        self._since_snapshot = 0.0
        asked = protocol.Snapshot(session=self.session, automatic=True)
        try:
            answer = await asyncio.wrap_future(self.host.submit(asked, internal=True))
        except ServerError as error:
            if error.code != "full":
                raise
            self.snapshot_every = 0.0  # the user's own take the room; playing goes on
            return
        await self.send({**answer, "type": "snapshotted"}, None)

    # -- showing --------------------------------------------------------------------------------------------

    async def _show(self) -> str:
        loop = asyncio.get_running_loop()
        while True:
            while not self._rows:
                self._moved.clear()
                await self._moved.wait()
            if (wait := self._next - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not await self._window():
                return "no acks"
            if not self._rows:  # the past was left meanwhile
                continue
            row, now, gap = self._rows.popleft(), loop.time(), self._gap()
            self._next = self._next + gap if now - self._next < gap else now + gap
            self.sent += 1
            fresh, self._fresh = self._fresh, False
            await self.send(row.head | {"frame": self.sent, "fresh": fresh}, row.image)

    def _gap(self) -> float:
        """Seconds between two frames; a world slower than its clock moves slowly rather than by jerks."""
        step = sum(self._durations) / max(1, len(self._durations))
        return max(1 / self.facts["fps"], step / self.facts["frames_per_step"])

    async def _window(self) -> bool:
        """Wait for the client; whether it came in time."""
        while self.sent - self.acked >= IN_FLIGHT:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), PATIENCE)
            except TimeoutError:
                return False
        return True

    async def _drained(self, tasks: list[asyncio.Task[str]]) -> str:
        while self._rows and not tasks[1].done():
            await asyncio.sleep(0.01)
        return tasks[0].result()


def action_of(control: protocol.Control | None, facts: dict[str, Any]) -> list[Any]:
    """The action of what is held, as a session's description has its space.

    Raises:
        ServerError: `invalid`: an action mode that nobody can hold.
    """
    keys = facts["keys"]
    if keys:
        held = set() if control is None or control.keys is None else set(control.keys)
        return [int(key in held) for key in keys]
    if facts["settings"].get("action_mode", "delta") != "delta":
        raise ServerError("invalid", "play needs action_mode delta or keys; `configure` the session.")
    twist = np.zeros(6) if control is None or control.twist is None else np.array(control.twist, dtype=np.float64)
    twist = twist.clip(-(most := np.repeat([facts["max_speed"], facts["max_turn"]], 3)), most)
    seven = facts["action_space"]["box"]["shape"] == [7]
    motion = Motion(facts["max_translation"], facts["max_rotation"], facts["step_seconds"], seven)
    path = twist * motion.step_seconds
    return motion.action(path_delta(path[:3], path[3:], motion)).tolist()
