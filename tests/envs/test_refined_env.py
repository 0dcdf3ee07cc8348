"""Environments with stage 2: from a folder, by every way that a moment can come, and refused in time."""

import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import sanawm_env  # noqa: F401
from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.checkpoints.refiner.text import RefinerPrompts
from sanawm_env.world.config import small_config
from tests.world.checkpoints.refiner.refiner_files import write_stream
from tests.world.refined_worlds import encode, refined

ACTION = [0, 0, 1, 0, 0.2, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with its refiner beside it, in the releases' names."""
    folder = tmp_path_factory.mktemp("release")
    model = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0)))
    save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict(), dtype=None)
    return write_stream(folder, transformer={"vae_scale_factors": [4, 16, 16]})


@pytest.fixture
def texts(monkeypatch):
    """Gemma-3 left out."""
    monkeypatch.setattr(RefinerPrompts, "_encode", lambda self, words: encode(words))


def make(folder, **arguments):
    return gym.make("SanaWM-v0", checkpoint=str(folder), device="cpu", episode_seconds=None, **arguments)


def test_from_a_folder(folder, texts):
    options = {"kv_max_frames": 4, "text_encoder": None}
    plain, stream, narrow = make(folder), make(folder, refiner="stream"), make(folder, refiner=options)
    shown, states = [], []
    for env in (plain, stream, narrow):
        env.reset(seed=3)
        for _ in range(3):
            _, _, _, _, info = env.step(ACTION)
        shown.append(info["frames"])
        states.append(info["state_bytes"])
    assert not np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[1], shown[2])
    assert states[0] < states[2] < states[1]
    assert "refiner" in stream.spec.kwargs and plain.unwrapped.model.refiner is None
    twin = pickle.loads(pickle.dumps(stream.unwrapped))
    assert twin.snapshot().equal(stream.unwrapped.snapshot())
    again, _ = twin.step(ACTION)[::4]
    assert np.array_equal(again, stream.step(ACTION)[0])


def test_a_prompt_reaches_the_refiner(folder, texts, recwarn):
    env = make(folder, refiner="stream", prompt="rain")
    env.reset(seed=3)
    assert np.array_equal(env.unwrapped.snapshot().state.refiner.slots[0].text.numpy(), encode("rain")[0].numpy())
    env.reset(seed=3, options={"prompt": "snow"})
    assert np.array_equal(env.unwrapped.snapshot().state.refiner.slots[0].text.numpy(), encode("snow")[0].numpy())
    assert not [w for w in recwarn if "no effect" in str(w.message)]
    with pytest.raises(ValueError, match="prompt must be a string"):
        env.reset(options={"prompt": 3})


def test_a_moment_of_stage_1_goes_on_refined(tmp_path):
    stage1 = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0)))
    env, seen = (SanaWMEnv(world, task="PointNav") for world in (stage1, refined(stage1)))
    env.reset(seed=1)
    env.step(ACTION)
    here = env.snapshot()
    seen.reset(seed=2)
    before = seen.snapshot()
    with pytest.raises(ValueError, match=r"begin with world\.begin_refining"):
        seen.restore(here)
    with pytest.raises(ValueError, match=r"begin with world\.begin_refining"):
        seen.reset(options={"state": here})
    assert seen.snapshot().equal(before)
    cold = replace(here, state=seen.model.begin_refining(here.state))
    seen.restore(cold)
    seen.step(ACTION)
    seen.snapshot().save(tmp_path / "moment.safetensors")
    with pytest.raises(ValueError, match="this world has no refiner"):
        env.restore(tmp_path / "moment.safetensors")
    assert env.snapshot().equal(here)
    again = SanaWMEnv(seen.model, task="PointNav")
    again.restore(tmp_path / "moment.safetensors")
    assert again.snapshot().equal(seen.snapshot())
    assert np.array_equal(again.step(ACTION)[4]["frames"], seen.step(ACTION)[4]["frames"])


def test_futures_are_imagined_without_stage_2():
    """And what is lived from there is what it would have been."""
    stage1 = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0)))
    env, raw = SanaWMEnv(refined(stage1)), SanaWMEnv(stage1)
    for each in (env, raw):
        each.reset(seed=1)
        each.step(ACTION)
    futures, seen = SanaWMVectorEnv.of(env, 2, exact=True), SanaWMVectorEnv.of(env, 2, exact=True, refine=True)
    assert futures.model.refiner is None and futures.state.refiner is None
    shown = futures.step([ACTION] * 2)[4]["frames"]
    assert np.array_equal(shown[0], shown[1])
    lived = env.step(ACTION)[4]["frames"]
    assert np.array_equal(seen.step([ACTION] * 2)[4]["frames"][1], lived)
    assert not np.array_equal(shown[0], lived)
    cache = env.snapshot().state.cache
    for a, b in zip(futures.state.select([0]).cache.flat().values(), cache.flat().values(), strict=True):
        assert np.array_equal(a, b), "stage 1 comes to the same"


def test_what_is_refused(folder, monkeypatch):
    for arguments, message in (
        ({"chunk_frames": 1}, "chunk_frames must be a multiple of 3; got 1"),
        ({"refiner": "streams"}, "refiner must be None, 'stream' or a mapping"),
        ({"refiner": {"folder": "nowhere"}}, "has no whole refiner"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            make(folder, **{"refiner": "stream"} | arguments)
    with pytest.raises(ValueError, match="a WorldModel has its refiner"):
        SanaWMEnv(WorldModel.untrained(), refiner="stream")
    env = make(folder, refiner="stream", prompt="rain")
    with pytest.raises(FileNotFoundError, match="has no text encoder"):
        env.reset(seed=1)
    monkeypatch.setattr(RefinerPrompts, "_encode", lambda self, words: encode(words))
    env.reset(seed=1)
    now = env.unwrapped.snapshot()
    monkeypatch.setattr("sanawm_env.world.accel.device.look_at", lambda device: type("Free", (), {"memory": 1000}))
    with pytest.raises(MemoryError, match="the refiner's window needs"):
        env.reset(seed=2)
    assert env.unwrapped.snapshot().equal(now)
    env.unwrapped.step(ACTION)
