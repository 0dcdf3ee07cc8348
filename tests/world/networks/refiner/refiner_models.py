"""A refiner small enough for unit tests, with random weights."""

import torch

from sanawm_env.world.networks.refiner.config import ConnectorConfig, RefinerConfig
from sanawm_env.world.networks.refiner.connectors import TextConnector
from sanawm_env.world.networks.refiner.transformer import RefinerTransformer

CONFIG = RefinerConfig(channels=8, layers=2, heads=2, head_dim=8, caption_channels=12)
CONNECTOR = ConnectorConfig(channels=12, states=3, heads=2, head_dim=6, layers=1, registers=4)


def filled(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data = torch.randn(value.shape, generator=generator) * (0.3 if value.ndim > 1 else 0.5)
    return module.eval().requires_grad_(False)


def transformer(seed=0, config=CONFIG):
    return filled(RefinerTransformer(config), seed)


def connector(seed=1, config=CONNECTOR):
    return filled(TextConnector(config), seed)


def texts(slots, seed=3, config=CONFIG):
    return torch.randn(slots, 8, config.caption_channels, generator=torch.Generator().manual_seed(seed))


def latents(slots, frames, seed, config=CONFIG, grid=(2, 3)):
    shape = (slots, config.channels, frames, *grid)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
