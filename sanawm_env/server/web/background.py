"""A server in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sanawm_env.server.web.listening import listen
from sanawm_env.server.web.run import make_server

__all__ = ["in_background"]

_PATIENCE = 20.0
"""Seconds for requests under way when it ends."""


@contextmanager
def in_background(app: Any, port: int = 0) -> Iterator[int]:
    """Serve an application of `make_app` to this machine alone, until the block is left.

    Args:
        app: The application.
        port: 0 takes a free one.

    Yields:
        The port.

    Raises:
        ValueError: The port cannot be had.
        RuntimeError: The server did not start, or does not end.
    """
    server = make_server(app)
    with listen("127.0.0.1", port) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="sanawm-server", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start; its log has more.")
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(_PATIENCE)
            if thread.is_alive():
                raise RuntimeError(f"the server has not ended after {_PATIENCE:g} s.")
