"""The two halves of a step, and what the first one is told of the window."""

import numpy as np
import pytest
import torch

from sanawm_env.world import sampler
from sanawm_env.world.accel.capture import Programs
from sanawm_env.world.sampler import decode, denoise, record
from tests.world.accel.test_capture import Eager
from tests.world.test_model import RULES, begin, poses_for, world


def fillings(monkeypatch):
    """The `filled` of every chunk that is denoised from now on."""
    run, seen = sampler.denoise_chunk, []

    def watched(*rest, filled, **options):
        seen.append(filled)
        return run(*rest, filled=filled, **options)

    monkeypatch.setattr(sampler, "denoise_chunk", watched)
    return seen


@pytest.mark.parametrize("rule", RULES)
def test_halves_make_the_step_and_leave_each_others_memory(rule):
    model = world(rule)
    state = begin(model, 0)
    for latents in (2, 1):
        poses = poses_for(state, (0,), latents)
        expected, frames = model.step(state, poses)
        with torch.inference_mode():
            done = denoise(model.networks, state, torch.from_numpy(poses), model.config.sigmas)
            assert all(done.state.vae_tails[name] is value for name, value in state.vae_tails.items())
            assert done.state.last_frame is state.last_frame
            after, pixels = decode(model.networks, done)
        assert after.equal(expected) and np.array_equal(pixels.numpy(), frames)
        assert done.opening == (rule == "plus_one" and latents == 2)
        state = after


def test_the_window_is_counted_and_where_slots_disagree_it_is_masked(monkeypatch):
    """Slots of a batch that agree get their number, others None; both give a lone slot's frames up to rounding."""
    alone, together = world(), world(batched=True)
    state = begin(together, 0, 1)
    seen = fillings(monkeypatch)
    for latents in (2, 2, 2):
        state, _ = together.step(state, poses_for(state, (0, 1), latents))
    assert seen == [1, 3, 5] and alone.config.model.window_capacity == 5
    fresh = begin(together, 2)
    mixed = state.replace_slots([1], fresh)
    seen.clear()
    _, frames = together.step(mixed, np.concatenate([poses_for(state.select([0]), (0,), 2), poses_for(fresh, (2,), 2)]))
    assert seen == [None]
    seen.clear()
    _, first = alone.step(mixed.select([0]), poses_for(state.select([0]), (0,), 2))
    _, second = alone.step(fresh, poses_for(fresh, (2,), 2))
    assert seen == [5, 1]
    off = np.abs(frames.astype(int) - np.concatenate([first, second]).astype(int))
    assert off.max() <= 1 and off.mean() < 0.01


@pytest.mark.parametrize("rule", RULES)
def test_the_phase_says_what_is_fixed(rule):
    model = world(rule, text=6)
    images = np.zeros((2, model.config.height, model.config.width, 3), np.uint8)
    text = torch.randn(2, 5, 6)
    state, _ = model.start(images, [[90.0, 90, 56, 32]] * 2, [1, 2], text)
    poses = torch.from_numpy(poses_for(state, (0, 1), 2))
    programs = Programs(Eager(), 1)
    with torch.inference_mode():
        phase = record(model.networks, state, poses, (1.0, 0.5, 0.0), programs)
    opening = rule == "plus_one"
    assert (phase.slots, phase.frames, phase.opening, phase.filled) == (2, 2 + opening, opening, 1 - opening)
    assert phase.sigmas == (1.0, 0.5, 0.0) and phase.text_length == 5
    values = programs.find(phase, model.transformer).inputs
    assert values["noise"].shape[2] == phase.frames and ("clean" in values) == opening
    assert torch.equal(values["text"], state.text)
