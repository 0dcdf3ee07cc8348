"""A step does its work in few calls and files, and keeps whole states whole without looking at them again."""

import sys
from collections import Counter

import numpy as np
import pytest
import torch

from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.noise import frame_noise, slot_noise
from sanawm_env.world.state import WorldState
from tests.world.test_model import GOOD, begin, images, poses_for, world


class NullTransformer(torch.nn.Module):
    """Predicts nothing, and commits counters only."""

    dtype = torch.float32

    def forward(self, x, sigma, *, cache, commit=False, **_):
        after = ModelCache(cache.blocks, cache.window_chunk, cache.frames + x.shape[2], cache.chunks + 1)
        return x, after if commit else None


@pytest.mark.parametrize("slots", [1, 16])
def test_few_calls_in_few_files(slots):
    model = WorldModel.untrained(small_config(height=32, width=48))
    model.batched = True
    state, _ = model.start(images(*range(slots)), [[30.0, 30, 24, 16]] * slots, range(slots))
    model.transformer = NullTransformer()
    pixels = torch.zeros(slots, 3, 4, 32, 48)
    model.vae.decode = lambda latents, tails: (pixels, tails)
    poses = np.tile(GOOD, (slots, 1, 1, 1))
    state, _ = model.step(state, poses, sigmas=model.config.sigmas)
    files = Counter()

    def watch(frame, event, _):
        where = frame.f_code.co_filename
        if event == "call" and "/sanawm_env/" in where:
            files[where.split("/sanawm_env/")[1]] += 1

    sys.setprofile(watch)
    try:
        model.step(state, poses, sigmas=model.config.sigmas)
    finally:
        sys.setprofile(None)
    beside = {name: calls for name, calls in files.items() if not name.startswith("world/networks/")}
    assert sum(files.values()) <= 60 and len(beside) <= 6, files


def test_a_step_takes_no_state_apart_by_name(monkeypatch):
    """Names are for files and messages; the cache goes through as it is."""
    model = world()
    state = begin(model, 0)

    def named(self):
        raise AssertionError("flattened")

    monkeypatch.setattr(ModelCache, "flat", named)
    monkeypatch.setattr(WorldState, "flat", named)
    state, _ = model.step(state, GOOD)
    state = state.fork(3).select([2, 0]).replace_slots([1], state)
    model.step(WorldState.cat([state, state]), np.tile(GOOD, (4, 1, 1, 1)))


@pytest.mark.parametrize("rule", ["alone", "plus_one"])
def test_what_comes_out_owns_its_memory(rule):
    """So that the next step has nothing to copy, and no state keeps an activation alive."""
    for batched in (False, True):
        model = world(rule, batched=batched)
        state = begin(model, 0, 1)
        assert state.contiguous() is state
        for latents in (2, 1):
            state, _ = model.step(state, poses_for(state, (0, 1), latents))
            assert state.contiguous() is state
        for made in (state.select([1]), state.fork(2), state.replace_slots([0], state.select([1]))):
            assert made.contiguous() is made
        assert state.narrow(1).contiguous().equal(state.select([1]))


def test_levels_are_checked_once_for_the_same_tuple(monkeypatch):
    from sanawm_env.world.model import world_model as module

    built, seen = WorldModel.untrained(small_config(height=32, width=48)), []
    check = module.check_sigmas
    monkeypatch.setattr(module, "check_sigmas", lambda sigmas: seen.append(sigmas) or check(sigmas))
    state = begin(built, 0)
    levels, changing = (1.0, 0.5, 0.0), [1.0, 0.5, 0.0]
    for sigmas in (levels, levels, None, levels, changing):
        built.step(state, GOOD, sigmas=sigmas)
    assert len(seen) == 2
    changing[1] = 2.0  # a list may change between steps
    with pytest.raises(ValueError, match="descend"):
        built.step(state, GOOD, sigmas=changing)


def test_noise_of_slots_is_that_of_each():
    shape = (3, 4, 5)
    found = slot_noise([5, 2**63 - 1, 5], [0, 7, 2], 3, shape)
    assert found.shape == (3, 3, 3, 4, 5) and found.is_contiguous()
    for noise, seed, start in zip(found, [5, 2**63 - 1, 5], [0, 7, 2], strict=True):
        for t in range(3):
            bits = np.random.Philox(key=seed, counter=[0, 0, 0, start + t])
            drawn = np.random.Generator(bits).standard_normal(shape, np.float32)
            assert np.array_equal(noise[:, t].numpy(), drawn)
        assert torch.equal(noise, frame_noise(seed, start, 3, shape))
