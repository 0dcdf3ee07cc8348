"""Running an application: its socket, its data folder, its server."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from sanawm_env.server.web.limits import LARGEST_IMAGE
from sanawm_env.world.model import WorldModel

__all__ = ["listen", "locked", "make_server"]


def make_server(app: Any) -> uvicorn.Server:
    """A `uvicorn.Server` for an application of `make_app`: `run(sockets=[listen(...)])` serves until interrupted.

    It keeps no access log, since addresses hold the token, and compresses no frames.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
        ws_max_size=_largest_message(app.state.dispatcher.host.model),
        ws_per_message_deflate=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.

    Raises:
        ValueError: The address cannot be had.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen()
    except OSError as error:
        found.close()
        raise ValueError(
            f"{host}:{port} cannot be had ({error.strerror or error}); give another --port, or --port 0 for a free one."
        ) from None
    return found


@contextmanager
def locked(folder: Path | None) -> Iterator[Path]:
    """A data folder that no other server uses; None is a temporary one.

    Raises:
        ValueError: Another server has it.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="sanawm-serve-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.lock").open("w") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process, however that ends
        except ImportError:
            pass
        except OSError:
            raise ValueError(f"another server uses {folder}; end that one, or give another --data.") from None
        yield folder


def _largest_message(model: WorldModel) -> int:
    """Bytes of the largest WebSocket message: a picture, or a world file with twice the bytes of a state."""
    config = model.config
    black = np.zeros((1, config.height, config.width, 3), np.uint8)
    camera = np.array([[config.width, config.width, config.width / 2, config.height / 2]], dtype=np.float64)
    text = None
    if config.model.caption_channels:
        import torch

        text = torch.zeros(1, config.model.text_length, config.model.caption_channels)
    return max(LARGEST_IMAGE, 2 * model.start(black, camera, [0], text)[0].nbytes) + 1_000_000
