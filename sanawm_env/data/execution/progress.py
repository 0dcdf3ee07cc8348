"""`Progress` of a work list: counts, queue and the rate of each worker, told to a caller and kept in a JSONL file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from sanawm_env.data.execution.jobs import Result

__all__ = ["Board", "Progress", "Tell", "WorkerProgress"]


@dataclass(frozen=True)
class WorkerProgress:
    """One worker's share."""

    done: int
    """Items."""
    failed: int
    """Items."""
    per_hour: float
    """Items done in an hour, since the worker is ready."""
    place: dict[str, Any]
    """Where it runs: host, process id, threads of torch, device."""


@dataclass(frozen=True)
class Progress:
    """How far a work list is."""

    total: int | None
    """Items that there were to do; None if nobody knows."""
    done: int
    """Ended well."""
    failed: int
    """Ended with a reason."""
    queued: int | None
    """In nobody's hand yet; None if nobody knows."""
    running: int
    """Handed out."""
    retries: int
    """Items handed out again because their worker was lost."""
    lost: int
    """Workers that were lost, with their machine or alone."""
    seconds: float
    """Since the beginning."""
    workers: dict[str, WorkerProgress] = field(default_factory=dict)
    """Those that are ready, and those that were."""

    @property
    def per_hour(self) -> float:
        """Items done in an hour, by all."""
        return self.done / self.seconds * 3600 if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """For the rest at this rate; None if there is no rate, or no end."""
        if self.queued is None or not self.done:
            return None
        return (self.queued + self.running) / self.per_hour * 3600


Tell: TypeAlias = Callable[[Progress, Result], None]
"""Called after each result."""


@dataclass
class _Worker:
    place: dict[str, Any]
    since: float
    done: int = 0
    failed: int = 0


class Board:
    """Keeps count of a run, and writes it down.

    Args:
        total: Items that there are to do; None if nobody knows.
        log: JSONL file that events are added to, a line each: `ready`, `item`, `retry`, `lost`, `dropped`, `end`.
        publish: Called with the progress after each event; for metrics.
    """

    def __init__(
        self, total: int | None, log: Path | None = None, publish: Callable[[Progress], None] | None = None
    ) -> None:
        self.total, self.done, self.failed, self.running, self.retries, self.lost = total, 0, 0, 0, 0, 0
        self._workers: dict[str, _Worker] = {}
        self._began = time.monotonic()
        self.publish = publish
        self._file = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            torn = log.exists() and not log.read_bytes().endswith(b"\n") and log.stat().st_size > 0
            self._file = log.open("a", encoding="utf-8", buffering=1)
            if torn:  # the last line of a run that was killed
                self._file.write("\n")

    def progress(self) -> Progress:
        """As it is now."""
        now = time.monotonic()
        workers = {
            name: WorkerProgress(
                worker.done, worker.failed, worker.done / max(now - worker.since, 1e-3) * 3600, worker.place
            )
            for name, worker in self._workers.items()
        }
        queued = None if self.total is None else self.total - self.done - self.failed - self.running
        seconds = now - self._began
        return Progress(
            self.total, self.done, self.failed, queued, self.running, self.retries, self.lost, seconds, workers
        )

    def ready(self, name: str, place: dict[str, Any]) -> None:
        """A worker can take items, for the first time or again."""
        if name in self._workers:
            self._workers[name].place = place
        else:
            self._workers[name] = _Worker(place, time.monotonic())
        self.event("ready", worker=name, **place)

    def took(self, count: int) -> None:
        """Items were handed out."""
        self.running += count

    def ended(self, result: Result) -> Progress:
        """An item that was handed out has a result."""
        self.running -= 1
        worker = self._workers.get(result.worker)
        if result.failed:
            self.failed += 1
        else:
            self.done += 1
        if worker is not None:
            worker.failed += result.failed
            worker.done += not result.failed
        return self.event("item", item=result.item, worker=result.worker, failure=result.failure)

    def worker_lost(self, name: str, reason: str, items: list[int]) -> None:
        """A worker is gone, and what it had in hand is in the queue again."""
        self.lost += 1
        self.retries += len(items)
        self.running -= len(items)
        self.event("lost", worker=name, reason=reason, items=items)

    def event(self, kind: str, **values: Any) -> Progress:
        """Write an event down, with the counts; tell the metrics."""
        now = self.progress()
        if self._file is not None:
            counts = {key: value for key, value in asdict(now).items() if key not in ("workers", "seconds")}
            rates = {name: round(worker.per_hour, 3) for name, worker in now.workers.items()}
            line = {"time": round(time.time(), 3), "event": kind} | values | counts
            line |= {"seconds": round(now.seconds, 3), "per_hour": rates}
            self._file.write(json.dumps(line) + "\n")
        if self.publish is not None:
            self.publish(now)
        return now

    def close(self) -> None:
        """Write the end, complete or not."""
        self.event("end")
        if self._file is not None:
            self._file.close()
