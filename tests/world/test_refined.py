"""Stage 2 inside a world: purity, slots that never meet, forks that share, files, cold starts, refusals."""

import functools

import numpy as np
import pytest
import torch

from sanawm_env.world.rollout import Start
from sanawm_env.world.rollout import begin as begin_along
from sanawm_env.world.state import StateError, WorldState
from tests.world.refined_worlds import encode, other_weights, refined, refiner_for
from tests.world.test_model import RULES, K, begin, images, poses_for
from tests.world.test_model import world as plain


@functools.cache
def world(rule="alone", batched=None):
    return refined(plain(rule, batched=batched))


def step(model, state, kinds=None, latents=3):
    return model.step(state, poses_for(state, kinds or range(state.slots), latents))


def walk(model, state, steps, kinds=None):
    frames = []
    for _ in range(steps):
        state, made = step(model, state, kinds)
        frames.append(made)
    return state, np.concatenate(frames, axis=1)


@pytest.mark.parametrize("rule", RULES)
def test_frames_are_refined_and_stage_1_never_knows(rule):
    model, stage1 = world(rule), plain(rule)
    state, other = begin(model, 0), begin(stage1, 0)
    sizes = {state.nbytes}
    for filled in (3, 5, 5):
        before = state.map(torch.clone)
        after, frames = step(model, state)
        again, twin = step(model, state)
        assert state.equal(before) and after.equal(again) and np.array_equal(frames, twin)
        state = after
        other, raw = step(stage1, other)
        assert frames.shape == raw.shape and not np.array_equal(frames, raw)
        assert all(
            torch.equal(a, b)
            for a, b in zip(state.cache.leaves(state.cache), other.cache.leaves(other.cache), strict=True)
        )
        assert state.refiner.slots[0].filled == filled
        assert state.refiner.slots[0].next_frame == int(state.cache.frames[0])
        sizes.add(state.nbytes)
    assert len(sizes) == 1
    kept = model.refiner.nbytes(*model.latent_size)
    assert state.nbytes - other.nbytes == kept + 4 * 12 * 4 + 4


@pytest.mark.parametrize("rule", RULES)
def test_slot_of_a_batch_is_a_batch_of_one(rule, tmp_path):
    """At other blocks, too: slots that were reset, forked, restored and put together."""
    model = world(rule)
    ahead, _ = walk(model, begin(model, 0, 1), 2)
    ahead.save(tmp_path / "state.safetensors")
    loaded = WorldState.load(tmp_path / "state.safetensors", model.checkpoint)
    assert loaded.equal(ahead) and loaded.refiner.refiner == model.refiner.checkpoint
    mixed = WorldState.cat([loaded.select([1]), begin(model, 2), ahead.narrow(0)]).replace_slots([1], begin(model, 5))
    assert [slot.filled for slot in mixed.refiner.slots] == [5, 0, 5]
    after, frames = step(model, mixed, (1, 7, 0))
    for i, kind in enumerate((1, 7, 0)):
        alone, own = step(model, mixed.select([i]), (kind,))
        assert after.select([i]).equal(alone) and np.array_equal(frames[i : i + 1], own)
    forked = after.fork(2, reseed=range(6))
    apart, _ = step(model, forked, (0, 0, 1, 1, 2, 2))
    assert not apart.select([0]).equal(apart.select([1]))
    assert apart.equal(step(model, forked.map(torch.clone), (0, 0, 1, 1, 2, 2))[0])


def test_slots_in_one_forward_are_grouped_by_their_histories():
    exact, batched = world(), world(batched=True)
    late, _ = walk(exact, begin(exact, 0), 3)
    state = WorldState.cat([begin(exact, 1), late, walk(exact, begin(exact, 2), 2)[0]])
    assert [slot.filled for slot in state.refiner.slots] == [0, 5, 5]
    calls = []
    hook = batched.refiner.model.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    after, frames = step(batched, state)
    hook.remove()
    assert sorted(calls) == [1] * 4 + [2] * 4, "three denoise, the fourth remembers"
    wanted, exactly = step(exact, state)
    assert np.abs(frames.astype(int) - exactly).max() <= 1
    assert [s.next_frame for s in after.refiner.slots] == [s.next_frame for s in wanted.refiner.slots]


def test_forks_share_until_they_go_on():
    model = world()
    state, _ = step(model, begin(model, 0))
    forked = state.fork(4)
    one = state.refiner.nbytes
    assert forked.refiner.nbytes == 4 * one and forked.refiner.held_bytes == one
    assert forked.nbytes == 4 * state.nbytes
    after, _ = step(model, forked, range(4))
    sink, history = (getattr(state.refiner.slots[0], name).nbytes for name in ("sink", "history"))
    assert after.refiner.held_bytes == one + 3 * history
    assert {slot.sink.data_ptr() for slot in after.refiner.slots} == {state.refiner.slots[0].sink.data_ptr()}
    assert sink > 0 and forked.select([3]).equal(state)


def test_chunks_that_are_no_blocks_are_cut_and_stream_agrees():
    """A path may end inside a block; the reference's offline way allows that, too."""
    model = world()
    state = begin(model, 0)
    short, frames = step(model, state, latents=2)
    assert short.refiner.slots[0].filled == 2 and frames.shape[1] == 8
    chunks = [poses_for(state, (0,), 3)]
    after, made = model.step(state, chunks[0])
    chunks.append(poses_for(after, (0,), 2))
    wanted = [(after, made), model.step(after, chunks[1])]
    for overlap in (False, True):
        for (reached, shown), (a, b) in zip(model.stream(state, chunks, overlap=overlap), wanted, strict=True):
            assert reached.equal(a) and np.array_equal(shown, b)


@pytest.mark.parametrize("rule", RULES)
def test_cold_start_at_any_block(rule):
    model, stage1 = world(rule), plain(rule)
    start = begin(stage1, 0)
    assert model.begin_refining(start).equal(begin(model, 0))
    state, _ = walk(stage1, start, 2)
    text = encode("rain")
    cold = model.begin_refining(state, text)
    assert cold.without_refiner().equal(state) and cold.refiner.slots[0].filled == 0
    assert cold.refiner.slots[0].next_frame == int(state.cache.frames[0]) == 7
    assert not torch.equal(cold.refiner.slots[0].sink, begin(model, 0).refiner.slots[0].sink), "of another text"
    after, frames = step(model, cold)
    raw, unrefined = step(stage1, state)
    assert not np.array_equal(frames, unrefined) and torch.equal(after.cache.frames, raw.cache.frames)
    both = model.begin_refining(WorldState.cat([state, state]), text.expand(2, -1, -1))
    assert both.select([1]).equal(cold)


def test_text_and_seed_decide():
    model = world()
    given = images(0), [K], [100]
    empty, _ = model.start(*given)
    words, _ = model.start(*given, refiner_text=encode(""))
    rain, _ = model.start(*given, refiner_text=encode("rain"))
    assert empty.equal(words)
    start = Start(images(0)[0], np.array(K))
    assert begin_along(model, [start], [100], refiner_texts=[encode("rain")])[0].equal(rain)
    reseeded = empty.fork(1, reseed=[5])
    results = [step(model, state)[0].refiner.slots[0].history for state in (empty, rain, reseeded)]
    assert not torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_what_does_not_belong_together(monkeypatch, tmp_path):
    model, stage1 = world(), plain()
    state, raw = begin(model, 0), begin(stage1, 0)
    poses = poses_for(state, (0,), 3)
    for call, message in (
        (lambda: stage1.step(state, poses), "this world has no refiner; load the world with refiner='stream'"),
        (lambda: model.step(raw, poses), "begin with world.begin_refining"),
        (lambda: other_weights(model).step(state, poses), "weights, type or window differ"),
        (lambda: refined(plain(), kv_max_frames=4).step(state, poses), "weights, type or window differ"),
        (lambda: model.begin_refining(state), "this world has no refiner|holds a refiner's memory"),
        (lambda: WorldState.cat([state, raw]), "cannot be joined"),
        (lambda: state.fork(2).replace_slots([0], raw), "cannot be joined"),
    ):
        with pytest.raises(StateError, match=message):
            call()
    for call, message in (
        (lambda: stage1.begin_refining(raw), "no refiner; load it with"),
        (lambda: stage1.start(images(0), [K], [1], refiner_text=encode("")), "leave it out"),
        (lambda: model.start(images(0), [K], [1], refiner_text=encode("").expand(2, -1, -1)), r"must be \(1, L, 12\)"),
        (lambda: stage1.with_refiner(refiner_for(8, 8, 32)), "A SANA-WM release has one that fits"),
        (lambda: WorldState(**{**vars(state.fork(2)), "refiner": state.refiner}), "memory is of 1 slots"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    state.save(tmp_path / "state.safetensors")
    with pytest.raises(StateError, match="this world has no refiner"):
        stage1.step(WorldState.load(tmp_path / "state.safetensors"), poses)
    monkeypatch.setattr("sanawm_env.world.accel.device.look_at", lambda device: type("Free", (), {"memory": 1000}))
    for call in (lambda: begin(model, 0), lambda: model.begin_refining(raw)):
        with pytest.raises(
            MemoryError, match=r"window needs .* GB for 1 slots, 1e-06 GB are free on cpu; take a smaller"
        ):
            call()
    model.step(state, poses)  # goes on
