"""A world started on a black picture, for commands that ask for sizes or speed and not for frames."""

from __future__ import annotations

import numpy as np
import torch

from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["black_start"]


def black_start(world: WorldModel) -> WorldState:
    """One slot: black, with a field of view of 53 degrees, and empty text where the world reads some."""
    config, model = world.config, world.config.model
    black = np.zeros((1, config.height, config.width, 3), np.uint8)
    camera = np.array([[config.width, config.width, config.width / 2, config.height / 2]], dtype=np.float64)
    text = torch.zeros(1, model.text_length, model.caption_channels) if model.caption_channels else None
    return world.start(black, camera, [0], text)[0]
