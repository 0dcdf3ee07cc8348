"""A session server in a thread of this process, on a free port."""

import json
from contextlib import contextmanager
from dataclasses import dataclass

import websockets.sync.client

from sanawm_env.server import wire
from sanawm_env.server.web.app import make_app
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.background import in_background

TOKEN = "a-token-of-tests"


@dataclass
class Serving:
    url: str
    """With the token."""
    app: object

    @property
    def host(self):
        return self.app.state.dispatcher.host

    @property
    def socket_url(self):
        return self.url.replace("http:", "ws:").replace("/?", "/ws?")


class Socket:
    """A WebSocket; events that come before an answer are kept."""

    def __init__(self, url, **arguments):
        self.manager = websockets.sync.client.connect(url, compression=None, max_size=None, proxy=None, **arguments)
        self.socket = self.manager.__enter__()
        self.events = []
        self.early = []  # frames among them

    def ask(self, *, payload=b"", **message):
        head = {"id": 1, **message}
        self.socket.send(wire.frame(head, payload) if payload else json.dumps(head))
        while True:
            head, data = wire.split(self.socket.recv(60))
            if "id" in head:
                return head, data
            self.events.append(head)
            if head["type"] == "frame":
                self.early.append((head, bytes(data)))

    def close(self):
        self.manager.__exit__(None, None, None)


@contextmanager
def serving(model, folder, limits=None, *, port=0, **arguments):
    app = make_app(model, folder, Guard(TOKEN, ("127.0.0.1", "localhost")), limits, **arguments)
    with in_background(app, port) as bound:
        yield Serving(f"http://127.0.0.1:{bound}/?token={TOKEN}", app)
