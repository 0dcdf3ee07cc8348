"""The requests, each a frozen dataclass (docs/reference/server-protocol.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sanawm_env.server.errors import ServerError

__all__ = ["MESSAGES", "Message", "is_finite"]


@dataclass(frozen=True)
class Message:
    """What all requests have."""

    type: ClassVar[str]
    numbered: ClassVar[bool] = False
    """Whether it changes its session, and so counts in the session's `n`."""
    id: int | str | None = None
    """Repeated by the answer."""


@dataclass(frozen=True)
class World(Message):
    """What this server is."""

    type = "world"


@dataclass(frozen=True)
class Ping(Message):
    """Whether it is there."""

    type = "ping"


@dataclass(frozen=True)
class Image(Message):
    """Upload a picture, which is the payload."""

    type = "image"


@dataclass(frozen=True)
class Create(Message):
    """A new session."""

    type = "create"
    settings: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    """The same key again gives the same session."""


@dataclass(frozen=True)
class OfSession(Message):
    """What requests about one session have."""

    session: str = ""


@dataclass(frozen=True)
class Attach(OfSession):
    """Use a session on this socket."""

    type = "attach"
    client: str | None = None
    """Which program; it may attach again after a lost connection."""
    control: bool = True
    take: bool = False
    """Take control from whoever has it."""
    encoding: str = "raw"
    quality: int = 85
    """Of JPEG, 1 to 100."""
    video: str = "jpeg"
    """How the frames of play come: a picture each, or one H.264 stream."""

    def __post_init__(self) -> None:
        if self.encoding not in ("raw", "png", "jpeg"):
            raise ServerError("malformed", f"encoding is raw, png or jpeg; got {self.encoding!r}.")
        if self.video not in ("jpeg", "h264"):
            raise ServerError("malformed", f"video is jpeg or h264; got {self.video!r}.")
        if not 1 <= self.quality <= 100:
            raise ServerError("malformed", f"quality lies in 1..100; got {self.quality}.")


@dataclass(frozen=True)
class Detach(OfSession):
    """No longer use it."""

    type = "detach"


@dataclass(frozen=True)
class Describe(OfSession):
    """Where it stands."""

    type = "describe"


@dataclass(frozen=True)
class Delete(OfSession):
    """End it, with its snapshots."""

    type = "delete"


@dataclass(frozen=True)
class Snapshots(OfSession):
    """Its tree of snapshots."""

    type = "snapshots"


@dataclass(frozen=True)
class Forget(OfSession):
    """Drop a snapshot."""

    type = "forget"
    snapshot: str = ""


@dataclass(frozen=True)
class View(OfSession):
    """The last frame of a snapshot, or of the present."""

    type = "view"
    snapshot: str | None = None


@dataclass(frozen=True)
class Save(OfSession):
    """A world file of a snapshot, or of the present."""

    type = "save"
    snapshot: str | None = None


@dataclass(frozen=True)
class Rewards(OfSession):
    """Rewards of goals against goals, of a task in its goal form; lists, or arrays whose bytes are the payload."""

    type = "rewards"
    achieved: list[Any] | dict[str, Any] = field(default_factory=list)
    desired: list[Any] | dict[str, Any] = field(default_factory=list)


@dataclass(frozen=True)
class Record(OfSession):
    """Write the walk to a snapshot, or to the present, as an episode of a dataset."""

    type = "record"
    snapshot: str | None = None


@dataclass(frozen=True)
class Numbered(OfSession):
    """What requests that change a session have."""

    numbered = True
    n: int | None = None
    """Number of the operation; None is the next."""


@dataclass(frozen=True)
class Reset(Numbered):
    """Begin an episode."""

    type = "reset"
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step(Numbered):
    """One step."""

    type = "step"
    action: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot(Numbered):
    """Remember the present."""

    type = "snapshot"
    name: str | None = None
    automatic: bool = False
    """Whether it may be thinned when snapshots hold too much."""


@dataclass(frozen=True)
class Restore(Numbered):
    """Go back to a snapshot, of this session or another."""

    type = "restore"
    snapshot: str = ""
    source: str | None = None
    """`from` on the wire."""


@dataclass(frozen=True)
class Fork(Numbered):
    """New sessions from a snapshot, or from the present."""

    type = "fork"
    count: int = 1
    snapshot: str | None = None


@dataclass(frozen=True)
class Configure(Numbered):
    """Other settings, in the same place: a task, sensors, controls."""

    type = "configure"
    settings: dict[str, Any] = field(default_factory=dict)
    goal: list[Any] | None = None


@dataclass(frozen=True)
class Open(Numbered):
    """A world file, which is the payload, as a snapshot."""

    type = "open"


@dataclass(frozen=True)
class Play(OfSession):
    """Let the server step by itself."""

    type = "play"
    snapshot_every: float = 1.0
    """Seconds of world time; 0 takes none."""
    policy: str | None = None


@dataclass(frozen=True)
class Control(OfSession):
    """What is held now."""

    type = "control"
    seq: int = 0
    twist: list[Any] | None = None
    keys: list[Any] | None = None

    def __post_init__(self) -> None:
        if (self.twist is None) == (self.keys is None):
            raise ServerError("malformed", "control has either a twist or keys.")
        if self.twist is not None and not (len(self.twist) == 6 and all(map(is_finite, self.twist))):
            raise ServerError("malformed", "twist is six finite numbers, vx vy vz wx wy wz in m/s and rad/s.")
        if self.keys is not None and not (len(self.keys) <= 32 and all(isinstance(key, str) for key in self.keys)):
            raise ServerError("malformed", "keys is a list of names.")


@dataclass(frozen=True)
class Ack(OfSession):
    """A frame is drawn."""

    type = "ack"
    frame: int = 0


@dataclass(frozen=True)
class Pause(OfSession):
    """Play no longer."""

    type = "pause"


_ALL: tuple[type[Message], ...] = (
    World, Ping, Image, Create, Attach, Detach, Describe, Delete, Snapshots, Forget, View, Save, Rewards, Record,
    Reset, Step, Snapshot, Restore, Fork, Configure, Open, Play, Control, Ack, Pause,
)  # fmt: skip
MESSAGES: dict[str, type[Message]] = {kind.type: kind for kind in _ALL}
"""By `type`."""


def is_finite(value: Any) -> bool:
    """Whether a value of JSON is a number that is finite as a float; truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
