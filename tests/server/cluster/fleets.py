"""A front over replicas that are threads of this process; `die` is what SIGKILL is to a process."""

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from sanawm_env.server.cluster.fleet import Fleet, ReplicaFailed
from sanawm_env.server.cluster.front import make_front
from sanawm_env.server.cluster.replica import ReplicaServer, ReplicaSettings
from sanawm_env.server.cluster.world import WorldChoice
from sanawm_env.server.sessions.host import Limits
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.listening import listen
from sanawm_env.server.web.run import make_server
from tests.server.serving import TOKEN


class Thread:
    """A `ReplicaProcess` that is no process."""

    def __init__(self, model, number, folder):
        self.model, self.number, self.folder = model, number, folder
        self.broken = None
        self.server = None
        self.died = threading.Event()

    async def start(self):
        return await asyncio.to_thread(self._start)

    def _start(self):
        if self.broken:
            raise ReplicaFailed(self.broken)
        limits = Limits(snapshot_bytes=10**9)
        settings = ReplicaSettings(WorldChoice("tiny", "cpu"), self.folder, limits, "inner-token", False)
        self.server = ReplicaServer(self.number, settings)
        self.died = threading.Event()
        return self.server.start(self.model)

    async def lost(self):
        while not self.died.is_set():
            await asyncio.sleep(0.01)

    async def stop(self):
        if not self.died.is_set():
            await asyncio.to_thread(self.server.stop)

    def die(self):
        """Hang up, save nothing, let go of all sessions."""
        server, host = self.server._server, self.server._server.config.loaded_app
        while not hasattr(host, "state"):
            host = host.app
        server.force_exit = True
        server.should_exit = True
        self.server._thread.join(30)
        host = host.state.dispatcher.host
        host.store._let_go = lambda sessions: None
        host.close()
        self.died.set()


@dataclass
class Front:
    url: str
    processes: list
    app: object

    @property
    def fleet(self):
        return self.app.state.front.fleet

    def replica_of(self, session):
        """Its process."""
        return self._has(session).process

    def name_of(self, session):
        """Another one each time that the process is started."""
        return self._has(session).started.name

    def _has(self, session):
        return next(each for each in self.fleet.replicas if session in each.sessions)


@contextmanager
def fronted(model, folder, count=2):
    processes = [Thread(model, number, folder) for number in range(count)]
    said = []
    app = make_front(
        lambda: Fleet(processes, folder, said.append, patience=20.0),
        Guard(TOKEN, ("127.0.0.1", "localhost")),
        "inner-token",
        30_000_000,
    )
    server = make_server(app)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        # All replicas: the first that is there takes every session meanwhile.
        while not server.started or len(app.state.front.fleet.living) < count:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield Front(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={TOKEN}", processes, app)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
