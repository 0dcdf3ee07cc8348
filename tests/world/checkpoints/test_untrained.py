"""The world of random weights by its name: the same one wherever a checkpoint is asked for."""

import gymnasium as gym
import pytest
import torch

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env import WorldModel


def test_its_name_loads_it():
    made, loaded = WorldModel.untrained(), WorldModel.load("untrained", batched=True)
    assert loaded.checkpoint == made.checkpoint and loaded.batched and loaded.source == "untrained"
    for name, value in made.transformer.state_dict().items():
        assert torch.equal(loaded.transformer.state_dict()[name], value), name
    low = WorldModel.load("untrained", dtype="bfloat16")
    assert low.dtype == torch.bfloat16 and low.checkpoint == made.checkpoint
    assert gym.make("SanaWM-v0", checkpoint="untrained").unwrapped.model.checkpoint == made.checkpoint


def test_what_only_releases_have_is_refused():
    with pytest.raises(ValueError, match="presets belong to the SANA-WM releases"):
        WorldModel.load("untrained", preset="streaming")
    with pytest.raises(ValueError, match="leave text_encoder out"):
        WorldModel.load("untrained", text_encoder="gemma")


def test_the_callers_default_type_changes_nothing():
    torch.set_default_dtype(torch.float64)
    try:
        world = WorldModel.load("untrained")
    finally:
        torch.set_default_dtype(torch.float32)
    assert world.dtype == torch.float32 and world.checkpoint == WorldModel.untrained().checkpoint
