"""A bag of what a robot sees, as a `Backend`: MCAP or sqlite3, whole or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from sanawm_env.bridges.ros2 import messages as ros
from sanawm_env.bridges.ros2.bags.storage import types
from sanawm_env.bridges.ros2.robot import Frame
from sanawm_env.bridges.ros2.topics import CLOCK, TF_STATIC, TYPES, frame_messages

__all__ = ["STORAGES", "BagWriter", "Storage", "layout"]

Storage: TypeAlias = Literal["mcap", "sqlite3"]

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_SUFFIXES = {".mcap": "mcap", ".db3": "sqlite3"}


def layout(out: Path, storage: str | None) -> tuple[str, bool]:
    """Storage of a bag, and whether it is to be one file, by its name: `walk.mcap`, `walk.db3`, or a folder `walk`.

    Args:
        out: Where it goes.
        storage: `mcap` or `sqlite3`; None is what the name says, and MCAP for a folder.

    Raises:
        ValueError: An unknown storage, or another one than the name says.
    """
    named = _SUFFIXES.get(out.suffix.lower())
    if storage is not None and storage not in STORAGES:
        raise ValueError(f"unknown storage {storage!r}; known are {', '.join(STORAGES)}.")
    if named is not None and storage not in (None, named):
        suffix = next(each for each, kind in _SUFFIXES.items() if kind == storage)
        raise ValueError(f"{out} is a name for {named}; name it {out.with_suffix(suffix)}, or leave the suffix out.")
    return named or storage or "mcap", named is not None


class BagWriter:
    """Writes every frame's messages, stamped and logged with its simulated time.

        with BagWriter(Path("walk"), "mcap") as bag:
            for frame in frames:
                bag.publish(frame)

    The bag grows beside its destination and takes its name in `close`. One file is the same without `metadata.yaml`,
    which MCAP does not need, and `ros2 bag info walk.mcap` neither.
    """

    def __init__(
        self,
        out: Path,
        storage: str = "mcap",
        *,
        single: bool = False,
        namespace: str = "",
        topics: Collection[str] = tuple(TYPES),
    ) -> None:
        """Open it.

        Args:
            out: Folder, or file if `single`; must not be there.
            storage: See `Storage`.
            single: Whether to write one file and no folder.
            namespace: Before all topics but the clock, `robot` for example.
            topics: Which ones, of `topics.TYPES`.

        Raises:
            FileExistsError: Something is there.
        """
        if out.exists():
            raise FileExistsError(f"{out} is there already; choose another name, or remove it.")
        self.out, self._single = out, single
        self.counts: dict[str, int] = {}
        """Messages by topic."""
        self._prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
        self._topics = frozenset(topics)
        self._connections: dict[str, Connection] = {}
        out.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
        # Its folder has the bag's name already, since rosbags names the file in it, and metadata.yaml names that one.
        self._folder = self._temporary / (out.stem if single else out.name)
        archive = Writer(self._folder, version=9, storage_plugin=STORAGES[storage])
        archive.open()
        self._writer: Writer | None = archive

    def publish(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            ValueError: The bag is closed.
        """
        if self._writer is None:
            raise ValueError(f"{self.out} is closed; open another BagWriter.")
        if CLOCK in self._topics:
            self._put(f"/{CLOCK}", CLOCK, frame.stamp, ros.clock(_make, frame.stamp))
        if TF_STATIC in self._topics and f"{self._prefix}/{TF_STATIC}" not in self._connections:
            message = ros.static_transforms(_make, frame.stamp)
            self._put(f"{self._prefix}/{TF_STATIC}", TF_STATIC, frame.stamp, message)
        for topic, message in frame_messages(_make, frame, self._topics.__contains__):
            self._put(f"{self._prefix}/{topic}", topic, frame.stamp, message)

    def close(self) -> None:
        """Complete the bag and give it its name; one without messages leaves nothing behind."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
            if self.counts:
                (file,) = (each for each in self._folder.iterdir() if each.suffix in _SUFFIXES)
                os.replace(file if self._single else self._folder, self.out)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def discard(self) -> None:
        """Throw away what was written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):  # it must not take the place of what went wrong
                writer.abort()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _put(self, name: str, topic: str, stamp: int, message: Any) -> None:
        assert self._writer is not None
        kind = TYPES[topic]
        if name not in self._connections:
            qos = _qos(latched=topic == TF_STATIC)
            self._connections[name] = self._writer.add_connection(
                name, kind, typestore=types(), offered_qos_profiles=[qos]
            )
        self._writer.write(self._connections[name], stamp, types().serialize_cdr(message, kind))
        self.counts[name] = self.counts.get(name, 0) + 1


def _make(name: str, **fields: Any) -> Any:
    return types().types[name](**fields)


def _qos(latched: bool) -> Qos:
    never = QosTime(2147483647, 4294967295)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability, never, never,
        QosLiveliness.AUTOMATIC, never, False,
    )  # fmt: skip
