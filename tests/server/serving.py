"""A session server in a thread of this process, on a free port."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from sanawm_env.server.web.app import make_app
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.listening import listen
from sanawm_env.server.web.run import make_server

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


@contextmanager
def serving(model, folder, limits=None, *, port=0, **arguments):
    app = make_app(model, folder, Guard(TOKEN, ("127.0.0.1", "localhost")), limits, **arguments)
    server = make_server(app)
    with listen("127.0.0.1", port) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield Serving(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={TOKEN}", app)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
