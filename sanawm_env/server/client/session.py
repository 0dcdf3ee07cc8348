"""`RemoteSession`: one session of a server, with the numbers that keep a request from being lost or done twice."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from sanawm_env.server import wire
from sanawm_env.server.client.connection import Connection
from sanawm_env.server.client.values import RemoteSnapshot, plain, sent_options, sent_picture

__all__ = ["RemoteSession"]


class RemoteSession:
    """A thin face of the protocol; the environments are made of it."""

    def __init__(self, connection: Connection, facts: dict[str, Any], encoding: str, *, mine: bool, take: bool) -> None:
        """Attach to a session.

        Args:
            connection: To its server.
            facts: Its description.
            encoding: Of images.
            mine: Whether it ends with `close`.
            take: Take control from whoever has it.
        """
        self.connection, self.encoding, self._mine = connection, encoding, mine
        connection.users += 1
        self.facts = connection.attach(facts["session"], encoding, take)
        self.id: str = self.facts["session"]
        self.n: int = self.facts["n"]
        """Operations done."""

    @classmethod
    def create(cls, connection: Connection, settings: dict[str, Any], encoding: str) -> RemoteSession:
        """A new one."""
        given = {name: plain(value) for name, value in settings.items() if name != "image"}
        if (image := settings.get("image")) is not None:
            given["image"] = upload(connection, sent_picture(image))
        message = {"type": "create", "settings": given, "key": secrets.token_hex(12)}
        return cls(connection, connection.ask(message), encoding, mine=True, take=False)

    @classmethod
    def join(cls, connection: Connection, session: str, encoding: str, *, mine: bool, take: bool) -> RemoteSession:
        """One that is there."""
        return cls(connection, {"session": session}, encoding, mine=mine, take=take)

    def numbered(self, kind: str, **values: Any) -> dict[str, Any]:
        """The request that comes next."""
        return {"type": kind, "session": self.id, "n": self.n + 1, **values}

    def ask(self, kind: str, payload: bytes = b"", **values: Any) -> dict[str, Any]:
        """Do the next operation."""
        return self.done(self.connection.ask(self.numbered(kind, **values), payload))

    def done(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Count an operation."""
        self.n = answer["n"]
        return answer

    def reset_message(self, seed: int | None, options: dict[str, Any]) -> dict[str, Any]:
        """The request for a reset."""
        sent = sent_options(options, lambda data: upload(self.connection, data))
        return self.numbered("reset", seed=None if seed is None else int(seed), options=sent)

    def snapshot(self, name: str | None = None) -> RemoteSnapshot:
        """Remember the present."""
        return RemoteSnapshot.of(self.ask("snapshot", name=name))

    def restore_message(self, moment: RemoteSnapshot) -> dict[str, Any]:
        """The request to go back to a moment."""
        if not isinstance(moment, RemoteSnapshot):
            raise ValueError(f"restore takes a RemoteSnapshot of snapshot(); got {type(moment).__name__}.")
        source = {} if moment.session == self.id else {"from": moment.session}
        return self.numbered("restore", snapshot=moment.snapshot, **source)

    def fork(self, n: int) -> list[RemoteSession]:
        """New sessions at the present."""
        names = self.ask("fork", count=n)["sessions"]
        return [RemoteSession.join(self.connection, name, self.encoding, mine=True, take=False) for name in names]

    def last_frame(self) -> Any:
        """The present's last frame `(H, W, 3)`."""
        return self.connection.ask({"type": "view", "session": self.id})["image"]

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Rewards of achieved against desired goals, `(..., n)` both, as the local environment has them; one request.

        Args:
            achieved_goal: Goals that were reached.
            desired_goal: Goals in their place, of the same shape.
            info: Not sent, since no task with a goal form uses it.

        Raises:
            RemoteError: Goals of another shape.
        """
        payload: list[wire.Bytes] = []
        goals = wire.encode({"achieved": np.asarray(achieved_goal), "desired": np.asarray(desired_goal)}, payload)
        rewards = self.connection.ask({"type": "rewards", "session": self.id, **goals}, b"".join(payload))["rewards"]
        return np.float32(rewards) if np.ndim(rewards) == 0 else rewards

    def save(self) -> bytes:
        """A world file of the present, which `EnvSnapshot.load` reads."""
        data: bytes = self.connection.ask({"type": "save", "session": self.id})["payload"]
        return data

    def open_world(self, data: bytes) -> RemoteSnapshot:
        """The moment of a world file."""
        return RemoteSnapshot.of(self.ask("open", data))

    def close(self) -> None:
        """End it, or leave it to others; the connection's last user hangs up."""
        self.connection.leave(self.id, self._mine)
        self.connection.users -= 1
        if self.connection.users == 0:
            self.connection.close()


def upload(connection: Connection, data: bytes) -> str:
    """Upload a picture; its id."""
    name: str = connection.ask({"type": "image"}, data)["image"]
    return name
