"""The whole environment on every published layout: image, prompt and actions to frames, snapshot and restore."""

import shutil
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env import EnvSnapshot

pytest.importorskip("diffusers", reason="needs the extra `release`: diffusers")
pytest.importorskip("transformers", reason="needs the extra `release`: transformers")
from tests.world.checkpoints.release.release_fixtures import MODEL, WRITERS, write
from tests.world.networks.text.text_fixtures import write_text_encoder

FORWARD = np.array([0, 0, 1, 0, 0, 0], np.float32)


@pytest.fixture(scope="module", params=list(WRITERS))
def folder(request, tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("release")
    home = write(request.param, root / request.param)
    encoder = write_text_encoder(root / "encoder", hidden_size=MODEL.caption_channels)
    if request.param == "diffusers":  # this layout brings its encoder, the tokenizer apart
        for name in ("text_encoder", "tokenizer"):
            shutil.rmtree(home / name, ignore_errors=True)
            shutil.copytree(encoder, home / name)
    else:
        shutil.copytree(encoder, home / "gemma-2-2b-it")
    return home


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))


def test_image_prompt_and_actions_to_frames_and_back(folder, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that were not trained to be stepped say so
        env = gym.make("SanaWM-v0", checkpoint=str(folder), image=picture, fov_deg=70, sigmas=(1.0, 0.6, 0.0))
    road, info = env.reset(seed=1, options={"prompt": "a wide road"})
    assert road.shape == env.observation_space.shape and info["frames"].shape[0] == env.unwrapped.frames_per_step
    env.step(FORWARD)
    env.unwrapped.snapshot().save(tmp_path / "moment")
    after = env.step(FORWARD)[4]["frames"]
    env.unwrapped.restore(EnvSnapshot.load(tmp_path / "moment"))
    assert np.array_equal(env.step(FORWARD)[4]["frames"], after)

    env.reset(seed=1, options={"prompt": "a quiet street in the rain"})
    env.step(FORWARD)
    assert not np.array_equal(env.step(FORWARD)[4]["frames"], after)
