"""Arithmetic as torch counts it: what is counted once and multiplied equals what is counted whole."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sanawm_env.world.accel.flops import call_flops, chunk_flops, chunk_lengths
from sanawm_env.world.config import small_config
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import denoise_chunk

TEXT = SanaWMConfig(depth=5, hidden_size=48, head_dim=24, in_channels=5, caption_channels=12, text_length=6,
                    temporal_stride=4, softmax_every_n=2, pos_embed_tokens=0)  # fmt: skip
CONFIGS = {
    "text": TEXT,
    "patches": TEXT.replace(patch_size=(2, 2), mlp_ratio=2.0, camera_conv_tail=True),
    "shallow": TEXT.replace(depth=1, softmax_every_n=4),
    "all_softmax": TEXT.replace(depth=3, softmax_every_n=1),
}
GRID = (4, 6)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_chunk_is_what_the_sampler_does(name):
    config = CONFIGS[name]
    rows, columns = config.patch_size
    with torch.device("meta"):
        model = SanaWMTransformer(config).eval().requires_grad_(False)
        cache = empty_cache(config, 2, GRID[0] * GRID[1], device="meta")
        noise = torch.zeros(2, config.in_channels, 3, GRID[0] * rows, GRID[1] * columns)
        given = {
            "raymap": torch.zeros(2, 3, 20),
            "plucker": torch.zeros(2, config.plucker_channels, 3, *GRID),
            "text": torch.zeros(2, 4, config.caption_channels),
        }
        with FlopCounterMode(display=False) as counter:
            denoise_chunk(model, noise, cache, (1.0, 0.5, 0.0), **given)
    expected = 2 * chunk_flops(config, 3, GRID, steps=2, text_length=4)
    assert counter.get_total_flops() == expected == 2 * 3 * call_flops(config, 3, GRID, text_length=4)


def test_a_linear_layer_counts_twice_its_products():
    config = TEXT.replace(caption_channels=0)
    wider = call_flops(config.replace(in_channels=15), 3, GRID) - call_flops(config, 3, GRID)
    assert wider == 2 * (2 * 3 * 24 * 10 * 48)  # ten more channels into and out of 48, for 72 tokens


def test_an_anchor_costs_more():
    config = small_config().model
    assert call_flops(config.replace(anchor=True), 1, GRID) > call_flops(config, 1, GRID)


def test_chunks_of_a_clip():
    minute = list(chunk_lengths(RELEASE, 121))
    assert sum(minute) == 121 and len(minute) == 40 and minute[:2] == [4, 3]
    assert list(chunk_lengths(small_config().model, 6)) == [1, 3, 2]
