"""Small untrained worlds with a small random stage 2."""

import functools
import hashlib
from dataclasses import replace

import torch

from sanawm_env.world.networks.refiner.config import RefinerConfig, StreamSettings
from sanawm_env.world.networks.refiner.refiner import StreamRefiner
from tests.world.networks.refiner.refiner_models import transformer


def encode(prompt):
    """Text that depends on the words, in place of Gemma-3."""
    seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    return torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(seed))


@functools.cache
def refiner_for(channels, stride, side, **settings):
    config = RefinerConfig(
        channels=channels, layers=2, heads=2, head_dim=8, caption_channels=12, scales=(stride, side, side)
    )
    return StreamRefiner(transformer(config=config), StreamSettings(**settings), "tiny", encode)


def refined(world, **settings):
    """The world with a stage 2 that remembers few frames, so that its window is soon full."""
    vae = world.vae
    settings = {"kv_max_frames": 6} | settings
    return world.with_refiner(refiner_for(vae.latent_channels, vae.temporal_stride, vae.spatial_stride, **settings))


def other_weights(world):
    """The world with a refiner of other weights and the same settings."""
    return world.with_refiner(replace(world.refiner, weights="others"))
