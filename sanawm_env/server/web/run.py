"""Running an application."""

from __future__ import annotations

from typing import Any

import numpy as np
import uvicorn

from sanawm_env.server.web.limits import LARGEST_IMAGE
from sanawm_env.world.model import WorldModel

__all__ = ["make_server"]


def make_server(app: Any) -> uvicorn.Server:
    """A `uvicorn.Server` for an application of `make_app`: `run(sockets=[...])` serves until interrupted.

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
