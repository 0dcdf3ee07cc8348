"""A stream along known poses gives what repeated steps give, wherever chunks are decoded."""

import numpy as np
import pytest
import torch

from sanawm_env.world.accel import overlap as module
from sanawm_env.world.accel.overlap import Inline, stream
from sanawm_env.world.rollout import rollout_chunks, starts_of
from tests.world.accel.test_warmup import RULES, cuda_world, world
from tests.world.test_model import HEIGHT, WIDTH, K, begin, path

LENGTHS = (2, 1, 3, 2)


def walks(*kinds):
    """Poses of each step, for a slot of each kind."""
    whole = np.stack([path(kind, 4 * sum(LENGTHS)) for kind in kinds])
    return np.split(whole, 4 * np.cumsum(LENGTHS)[:-1], axis=1)


def plain(model, state, chunks, **options):
    for poses in chunks:
        state, frames = model.step(state, poses, **options)
        yield state, frames


def same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected) == len(LENGTHS)
    for (state, frames), (other, others) in zip(found, expected, strict=True):
        assert state.equal(other) and np.array_equal(frames, others)


@pytest.mark.parametrize("beside", [None, Inline()], ids=["plain", "beside"])
@pytest.mark.parametrize("rule", RULES)
def test_equals_repeated_steps_bit_for_bit(rule, beside):
    model = world(rule)
    state = begin(model, 0)
    before = state.map(torch.clone)
    expected = list(plain(model, state, walks(0), sigmas=(1.0, 0.5, 0.0)))
    same(stream(model, state, walks(0), sigmas=(1.0, 0.5, 0.0), overlap=beside), expected)
    assert state.equal(before)
    states = [after for after, _ in expected]
    same(
        stream(model, states[0], walks(0)[1:] + walks(0)[:1], overlap=beside),
        plain(model, states[0], walks(0)[1:] + walks(0)[:1]),
    )


@pytest.mark.parametrize("batched", [False, True])
def test_slots(batched):
    """Slots one by one, and together; and slots in different phases, which meet after a step."""
    model = world("plus_one", batched=batched)
    state = begin(model, 0, 1)
    same(stream(model, state, walks(0, 1), overlap=Inline()), plain(model, state, walks(0, 1)))
    ahead, _ = model.step(state, walks(0, 1)[0])
    mixed = ahead.replace_slots([1], begin(model, 2))
    assert not model.together(mixed) and model.together(ahead) == batched
    same(stream(model, mixed, walks(0, 1), overlap=Inline()), plain(model, mixed, walks(0, 1)))


class Order(Inline):
    """Notes what happens when."""

    def __init__(self, notes):
        self.notes, self.count = notes, 0

    def begin(self, world, chunk):
        self.notes.append(f"decode {int(chunk.state.frame_index)}")
        return super().begin(world, chunk)

    def end(self, running):
        self.notes.append(f"out {int(running.state.frame_index)}")
        return super().end(running)


def test_the_next_chunk_is_denoised_before_the_last_one_is_waited_for(monkeypatch):
    notes, model = [], world()
    run = module.denoise

    def denoise(world, state, *rest, **options):
        done = run(world, state, *rest, **options)
        notes.append(f"denoise {int(done.state.frame_index)}")
        return done

    monkeypatch.setattr(module, "denoise", denoise)
    for state, _ in stream(model, begin(model, 0), walks(0)[:3], overlap=Order(notes)):
        notes.append(f"have {int(state.frame_index)}")
    assert notes == [
        "denoise 8", "decode 8", "denoise 12", "out 8", "have 8", "decode 12", "denoise 24", "out 12", "have 12",
        "decode 24", "out 24", "have 24",
    ]  # fmt: skip


@pytest.mark.parametrize("beside", [None, Inline()], ids=["plain", "beside"])
def test_a_bad_pose_is_refused_and_what_came_before_is_right(beside):
    model = world()
    state = begin(model, 0)
    chunks = [*walks(0)[:2], np.full((1, 4, 4, 4), np.nan)]
    found = []
    with pytest.raises(ValueError, match="finite"):
        for item in stream(model, state, chunks, overlap=beside):
            found.append(item)
    expected = list(plain(model, state, chunks[:2]))
    assert len(found) == 2 and all(a.equal(b) for (a, _), (b, _) in zip(found, expected, strict=True))
    with pytest.raises(ValueError, match="checkpoint"):
        next(stream(world(depth=1), state, chunks, overlap=beside))


def test_a_rollout_is_streamed_and_its_frames_are_those_of_steps(monkeypatch):
    """The last latent frame is filled up by holding the pose, and cut."""
    model = world("plus_one")
    image = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    poses = np.concatenate([np.eye(4)[None], path(0, 13)])
    state, first = model.start(image, [K], [7])
    expected = [first]
    for begins in (1, 9):
        some = poses[begins : begins + 8]
        held = np.concatenate([some, np.repeat(some[-1:], -len(some) % 4, axis=0)])
        state, frames = model.step(state, held[None])
        expected.append(frames[:, : len(some)])
    begun, run = [], Inline.begin
    monkeypatch.setattr(Inline, "begin", lambda self, *chunk: begun.append(1) or run(self, *chunk))
    for overlap in (None, True):
        found = list(rollout_chunks(model, starts_of(image, [K]), poses[None], [7], chunk_frames=2, overlap=overlap))
        assert [some.shape[1] for some in found] == [1, 8, 5]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert len(begun) == (2 if overlap else 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_cuda_streams_give_the_frames_of_one():
    model = cuda_world()
    state = begin(model, 0, 1)
    same(model.stream(state, walks(0, 1), overlap=True), plain(model, state, walks(0, 1)))
