"""Policy servers on loopback: ours, and ones that do as a test wants, in threads."""

import asyncio
import logging
import socket
import threading
from contextlib import contextmanager

from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.policies.remote.server import PolicyServer
from sanawm_env.policies.remote.wire import pack, unpack
from websockets.sync.server import serve

QUIET = logging.getLogger("tests.quiet")
QUIET.setLevel(logging.CRITICAL)


@contextmanager
def served(name, key=None, **settings):
    """A policy of this package; gives its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = PolicyServer(PolicyMaker(name, settings), name, key)
    loop = asyncio.new_event_loop()
    task = loop.create_task(server.run(listening))

    def run():
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def scripted(handler, port=0):
    """A server whose connections are `handler(websocket)`; gives its address."""
    with serve(handler, "127.0.0.1", port, compression=None, max_size=None, logger=QUIET, close_timeout=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(20)


def answering(answer, metadata=None, seen=None):
    """A handler like an openpi server's: metadata first, then `answer(request, number)` of each request.

    Answers are dictionaries, or frames as they are; requests are added to `seen`.
    """

    def handle(websocket):
        websocket.send(pack(metadata or {}))
        for number, message in enumerate(websocket):
            request = unpack(message)
            if seen is not None:
                seen.append(request)
            said = answer(request, number)
            websocket.send(pack(said) if isinstance(said, dict) else said)

    return handle
