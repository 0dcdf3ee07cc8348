"""Replicas as actors of Ray, which starts them on whatever machine has room, and again when they die."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sanawm_env.data.execution.ray_room import Room
from sanawm_env.data.execution.ray_session import session
from sanawm_env.server.cluster.fleet import ReplicaDied, ReplicaFailed, ReplicaProcess
from sanawm_env.server.cluster.replica import ReplicaServer, ReplicaSettings, Started

__all__ = ["RayProcess", "first_started", "replicas_on_ray"]


class Actor:
    """What runs in a process of Ray."""

    def __init__(self, number: int, settings: ReplicaSettings, local: bool) -> None:
        self._number, self._settings, self._local = number, settings, local
        self._server: ReplicaServer | None = None
        self._lock = threading.Lock()

    def ping(self) -> None:
        """Answer: the process is there, for the first time or again."""

    def start(self) -> Started:
        """Serve, unless it does."""
        with self._lock:
            if self._server is None:
                self._server = ReplicaServer(self._number, self._settings, self._address())
            return self._server.start()

    def wait(self) -> None:
        """Never answer: that it ends is what the caller waits for."""
        threading.Event().wait()

    def stop(self) -> None:
        """Save all sessions."""
        if self._server is not None:
            self._server.stop()

    def _address(self) -> str:
        if self._local:
            return "127.0.0.1"
        import ray

        address: str = ray.util.get_node_ip_address()
        return address


class RayProcess:
    """A `ReplicaProcess`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        """Face of an actor."""
        self._ray, self._actor = ray, actor

    async def start(self) -> Started:
        """Wait until it serves."""
        errors = self._ray.exceptions
        try:
            await self._actor.ping.options(max_task_retries=-1).remote()
            started: Started = await self._actor.start.options(max_task_retries=0).remote()
        except errors.RayTaskError as error:  # by the replica's own code: it would fail again
            cause = error.cause if isinstance(getattr(error, "cause", None), BaseException) else error
            raise ReplicaFailed(" ".join(str(cause).split())[:500]) from error
        except errors.RayError as error:
            raise ReplicaDied(" ".join(str(error).split())[:300]) from error
        return started

    async def lost(self) -> None:
        """Wait until its process is gone."""
        with suppress(self._ray.exceptions.RayError):
            await self._actor.wait.options(max_task_retries=0).remote()

    async def stop(self) -> None:
        """Let it save its sessions, and end it."""
        with suppress(self._ray.exceptions.RayError, TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(self._actor.stop.remote().future()), 30)
        self._ray.kill(self._actor)


@contextmanager
def replicas_on_ray(
    address: str, count: int | None, threads: int | None, settings: ReplicaSettings, say: Callable[[str], None]
) -> Iterator[list[RayProcess]]:
    """Replicas that Ray begins to start; they end with this process.

    Args:
        address: `local`, `auto` or `HOST:PORT`, as `execute` has it.
        count: How many; None is one for each GPU, or 2 where there is none.
        threads: Of each; see `execute`.
        settings: Of all of them; the snapshots' bytes are divided.
        say: Takes what whoever runs the server should know.

    Raises:
        ValueError: Ray is not installed, cannot be reached, or has no room.
    """
    if address == "local":
        os.environ.setdefault("RAY_worker_niceness", "0")  # people wait for them; Ray's own workers yield to all others
    with session(address, say) as ray:
        room = Room.of(ray, threads)
        count = count or (room.count if room.gpus else min(2, room.count))
        if count > room.count:
            say(f"the Ray cluster has room for {room.count} of {count} replicas; the others come when there is more.")
        limits = replace(settings.limits, snapshot_bytes=max(1, settings.limits.snapshot_bytes // count))
        settings = replace(settings, limits=limits)
        # Stopping must get through while another call waits for the process to end.
        kind = ray.remote(Actor).options(**room.options(), max_concurrency=8)
        yield [RayProcess(ray, kind.remote(number, settings, address == "local")) for number in range(count)]


def first_started(processes: Sequence[ReplicaProcess]) -> Started:
    """Wait for the first replica that serves.

    Raises:
        ValueError: None can be started, and why.
    """

    async def wait() -> Started:
        tasks = {asyncio.create_task(process.start()) for process in processes}
        failure = ""
        try:
            while tasks:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, ReplicaFailed | ReplicaDied):
                        raise error
                    failure = str(error)
        finally:
            for task in tasks:
                task.cancel()
        raise ValueError(f"no replica could be started: {failure}")

    return asyncio.run(wait())
