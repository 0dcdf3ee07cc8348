"""From a prompt to a world that was told of it, through the environment."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.world.config import small_config

pytest.importorskip("transformers", reason="needs the extra `release`: transformers")
pytest.importorskip("diffusers", reason="needs the extra `release`: diffusers")

FORWARD = [0, 0, 1, 0, 0, 0]


def _fixtures():
    path = Path(__file__).parents[1] / "networks" / "text" / "text_fixtures.py"
    spec = importlib.util.spec_from_file_location("text_fixtures_for_prompts", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return _fixtures().write_text_encoder(tmp_path_factory.mktemp("encoder"), hidden_size=16)


@pytest.fixture(scope="module")
def world():
    config = small_config()
    return WorldModel.untrained(replace(config, model=replace(config.model, caption_channels=16, text_length=12)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))


def frames(env, prompt):
    env.reset(seed=1, options={"prompt": prompt})
    return env.step(FORWARD)[4]["frames"]


def test_the_prompt_changes_the_world_and_comes_back(world, encoder):
    env = SanaWMEnv(world, text_encoder=encoder)
    road = frames(env, "a wide road")
    assert np.array_equal(road, frames(env, "a wide road"))
    assert not np.array_equal(road, frames(env, "a quiet street in the rain"))


def test_each_slot_has_its_own_prompt(world, encoder):
    envs = SanaWMVectorEnv(2, world, text_encoder=encoder, exact=True)
    prompts = ["a wide road", "a quiet street in the rain"]
    envs.reset(seed=[1, 1], options={"per_slot": [{"prompt": prompt} for prompt in prompts]})
    infos = envs.step(np.array([FORWARD, FORWARD], np.float32))[4]
    single = SanaWMEnv(world, text_encoder=encoder)
    for slot, prompt in enumerate(prompts):
        assert np.array_equal(infos["frames"][slot], frames(single, prompt))


def test_no_prompt_is_the_empty_one(world, encoder):
    env = SanaWMEnv(world, text_encoder=encoder)
    env.reset(seed=1)
    assert np.array_equal(env.step(FORWARD)[4]["frames"], frames(env, ""))


def test_without_an_encoder_the_error_names_the_argument(world):
    env = SanaWMEnv(world)
    with pytest.raises(FileNotFoundError, match="text_encoder=folder"):
        env.reset(seed=1)


def test_an_encoder_of_another_width_is_refused_at_reset(world, tmp_path):
    env = SanaWMEnv(world, text_encoder=_fixtures().write_text_encoder(tmp_path / "wide", hidden_size=32))
    with pytest.raises(ValueError, match="16"):
        env.reset(seed=1)


def test_a_world_without_text_wants_no_encoder(encoder):
    with pytest.raises(ValueError, match="leave text_encoder out"):
        SanaWMEnv(WorldModel.untrained(small_config()), text_encoder=encoder)
