"""A pool of short coded clips and a network small enough to train in a test."""

import pytest
import torch

from sanawm_env.scenes import make_clips
from sanawm_env.training.clips.data import DataConfig, LatentPool
from sanawm_env.training.stages.vae import fit_transform
from sanawm_env.training.store import initialise
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig

SMALL = SanaWMConfig(
    depth=2, hidden_size=32, head_dim=16, in_channels=8, patch_size=(2, 2), mlp_ratio=2.0, caption_channels=0,
    text_length=0, temporal_stride=4, softmax_every_n=2, pos_embed_tokens=0, release_buffers=False, chunk_frames=2,
    first_chunk="alone", window_frames=4, softmax_scale="head", camera_softmax_scale="head", camera_conv_tail=True,
    truncate_timesteps=False, chunk_causal_softmax="window",
)  # fmt: skip


@pytest.fixture(scope="session")
def walk_pool():
    vae = TinyVAE(TinyVAEConfig(channels=8, width=0))
    rgb = make_clips(range(4), 9, 64, 64).rgb
    fit_transform(vae, [rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1])
    pool = LatentPool(DataConfig(height=64, width=64, clip_latents=8, pool=32, reuse=1e6), vae, (2, 2))
    pool.fill(32)
    return pool


@pytest.fixture
def network():
    model = SanaWMTransformer(SMALL)
    initialise(model, 0)
    # The camera path starts small by design; here it should be seen working.
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("final_layer.linear"):
                p.normal_(std=0.1)
    return model
