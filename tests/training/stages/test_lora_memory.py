"""The memory plan of fine-tuning, counted without a device."""

import pytest

pytest.importorskip("peft", reason="peft (extra `lora`) is not installed")

from sanawm_env.training.stages.lora_memory import memory_plan
from sanawm_env.world.checkpoints.adapters import LoraSettings
from sanawm_env.world.networks.config import SanaWMConfig


def test_the_memory_plan_grows_with_what_it_counts():
    config = SanaWMConfig(depth=4, hidden_size=32, head_dim=16, in_channels=8, caption_channels=16, text_length=12)
    small = memory_plan(config, LoraSettings(rank=2), (2, 3), 4, 1, 12)
    more = memory_plan(config, LoraSettings(rank=4), (2, 3), 7, 2, 12)
    assert more.adapter == 2 * small.adapter and more.weights == small.weights
    assert more.block_inputs == 14 / 4 * small.block_inputs and more.one_block > 3 * small.one_block
    assert small.total == small.weights + small.adapter + small.block_inputs + small.one_block > 0
    assert "in all" in str(small)
