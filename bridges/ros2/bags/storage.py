"""Bags as they lie on the disk: their topics, their messages, and how far a damaged one can be read.

rosbags reads MCAP and sqlite3 by their index. A recording that was interrupted has none: MCAP is read from the
beginning then, up to where it breaks off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

from mcap.exceptions import EndOfFile
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

__all__ = ["Bag", "Topic", "open_bag", "types"]

Raw: TypeAlias = "tuple[str, str, int, bytes]"
"""Topic, type, time at which it was logged (ns), and CDR."""
Source: TypeAlias = "Callable[[Collection[str]], Iterator[Raw]]"

_SUFFIXES = (".mcap", ".db3")


@cache
def types() -> Typestore:
    """Message types of Jazzy; parsing them takes a second. Those read here are the same from Foxy to Kilted."""
    return get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Topic:
    """What a topic holds."""

    kind: str
    """Type, such as `sensor_msgs/msg/Image`."""
    count: int
    """Messages; in a bag whose index is whole, more than can be read if it is damaged elsewhere."""


@dataclass(eq=False)
class Bag:
    """An opened bag; nothing of it is kept open between two readings."""

    path: Path
    """Folder or file."""
    topics: dict[str, Topic]
    """By name."""
    damage: dict[str, str] = field(default_factory=dict)
    """By file what is broken, and how much could be read before; more may be found while messages are read."""
    sources: dict[str, Source] = field(default_factory=dict, repr=False)
    """By file, in the order of recording."""

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Messages of some topics in the order in which they were logged.

        Yields:
            Topic, time of logging in nanoseconds, and the message, up to where the bag is damaged; see `damage`.
        """
        read: Counter[str] = Counter()
        for file, source in self.sources.items():
            for topic, kind, time, raw in self._sound(file, source(topics)):
                try:
                    message = types().deserialize_cdr(raw, kind)
                except Exception as error:  # whatever the decoder makes of damaged bytes
                    text = f"{file} has a message of {topic} that is no {kind} ({error}); what follows it was left out"
                    self.damage.setdefault(file, text)
                    break
                read[topic] += 1
                yield topic, time, message
        for topic in topics:  # damage of which no reader complains
            told = self.topics[topic].count if topic in self.topics else 0
            if not self.damage and read[topic] < told:
                text = f"{self.path.name} is damaged: only {read[topic]} of the {told} messages of {topic} are there"
                self.damage[self.path.name] = text

    def first(self, topic: str) -> Any:
        """Its first message; None without one."""
        return next((message for _, _, message in self.messages([topic])), None)

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the topics of these types that have messages."""
        return [name for name, topic in self.topics.items() if topic.kind in kinds and topic.count]

    def describe(self) -> str:
        """All topics in a line, for errors."""
        return ", ".join(f"{name} ({each.kind}, {each.count})" for name, each in self.topics.items()) or "nothing"

    def _sound(self, file: str, messages: Iterator[Raw]) -> Iterator[Raw]:
        """Messages up to the damage, which is noted."""
        while True:
            try:
                item = next(messages)
            except StopIteration:
                return
            except Exception as error:  # rosbags, mcap, apsw, zstd and lz4 each raise their own on damaged bytes
                self.damage.setdefault(file, f"{file} is damaged ({_reason(error)})")
                return
            yield item


def open_bag(path: Path) -> Bag:
    """Look at a bag: a folder of `ros2 bag record`, also one that was interrupted, or a .mcap or .db3 by itself.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: No bag of ROS 2, or one of which nothing can be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"no bag {path}; check the path.")
    if path.suffix == ".bag":
        raise ValueError(f"{path} is a bag of ROS 1; convert it first: rosbags-convert --src {path} --dst {path.stem}.")
    try:
        return _indexed_bag(path)
    except FileNotFoundError:  # no metadata.yaml: it is written when the recording ends
        pass
    except Exception as error:
        if path.is_file() and path.suffix != ".mcap":
            raise ValueError(f"{path} is no readable bag: {_reason(error)}.") from error
    files = [each for each in path.iterdir() if each.suffix in _SUFFIXES] if path.is_dir() else [path]
    files.sort(key=lambda file: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)])
    bag, counts, reasons = Bag(path, {}), Counter[tuple[str, str]](), []
    for file in files:
        try:
            part = _file_bag(file)
        except ValueError as error:
            reasons.append(str(error))
            bag.damage[file.name] = f"nothing of {file.name} can be read"
            continue
        bag.sources |= part.sources
        bag.damage |= part.damage
        counts.update({(name, topic.kind): topic.count for name, topic in part.topics.items()})
    bag.topics = {name: Topic(kind, count) for (name, kind), count in counts.items()}
    if not any(counts.values()):
        raise ValueError(f"{path} is no readable bag: {' '.join(reasons) or 'it has no .mcap or .db3 file.'}")
    return bag


def _file_bag(file: Path) -> Bag:
    """One file of a bag, by its index or from the beginning.

    Raises:
        ValueError: Nothing of it can be read.
    """
    try:
        return _indexed_bag(file)
    except Exception as error:
        reason = _reason(error)
    if file.suffix != ".mcap":
        raise ValueError(f"{file.name}: {reason}. `sqlite3 {file.name} .recover` may save what is left.")
    bag = Bag(file, {}, sources={file.name: partial(_streamed, file)})
    counts: Counter[tuple[str, str]] = Counter()
    last = first = 0
    for topic, kind, time, _ in bag._sound(file.name, _streamed(file, ())):
        first, last = first or time, time
        counts[topic, kind] += 1
    bag.topics = {topic: Topic(kind, count) for (topic, kind), count in counts.items()}
    if not counts:
        raise ValueError(f"{file.name}: {reason}.")
    if bag.damage:
        bag.damage[file.name] += f"; the {counts.total()} messages of its first {(last - first) / 1e9:.1f} s were read"
    return bag


def _indexed_bag(path: Path) -> Bag:
    with Reader(path) as reader:
        topics = {name: Topic(info.msgtype or "", info.msgcount) for name, info in reader.topics.items()}
    return Bag(path, topics, sources={path.name: partial(_indexed, path)})


def _indexed(path: Path, topics: Collection[str]) -> Iterator[Raw]:
    with Reader(path) as reader:
        wanted = [each for each in reader.connections if each.topic in topics]
        for connection, time, raw in reader.messages(wanted) if wanted else ():
            yield connection.topic, connection.msgtype, time, raw


def _streamed(path: Path, topics: Collection[str]) -> Iterator[Raw]:
    """All messages of an MCAP file in the order in which they lie there; of all topics if none is named."""
    channels: dict[int, Channel] = {}
    schemas: dict[int, Schema] = {}
    with path.open("rb") as file:
        for record in StreamReader(file, validate_crcs=True).records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                if channel.message_encoding == "cdr" and (not topics or channel.topic in topics):
                    yield channel.topic, schemas[channel.schema_id].name, record.log_time, record.data


def _reason(error: Exception) -> str:
    if isinstance(error, EndOfFile):
        return "it breaks off"
    if isinstance(error, ReaderError | OSError | ValueError):
        return str(error).rstrip(".")
    return f"{type(error).__name__}: {error}".rstrip(".: ")
