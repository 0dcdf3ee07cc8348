"""The streaming refiner as a pure function: slots, histories, cold starts, refusals."""

import pytest
import torch

from sanawm_env.world.networks.refiner.config import StreamSettings
from sanawm_env.world.networks.refiner.state import RefinerState
from sanawm_env.world.networks.refiner.stream import refine, start
from tests.world.networks.refiner.refiner_models import CONFIG, latents, texts, transformer

STREAM = StreamSettings()


@pytest.fixture(scope="module")
def model():
    with torch.inference_mode():
        yield transformer()


def walk(model, state, blocks, seed=10, stream=STREAM, frames=3):
    out = []
    for k in range(blocks):
        slots = len(state)
        state, made = refine(
            model, stream, state, latents(slots, frames, seed + k), latents(slots, frames, 99 + seed + k)
        )
        out.append(made)
    return state, torch.cat(out, dim=2)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


def test_window_grows_frame_by_frame_and_keeps_its_size(model):
    state = start(model, STREAM, latents(1, 1, 0), texts(1))
    sizes, sink = {state.nbytes}, state.slots[0].sink
    for filled in (3, 6, 9, 10, 10):
        before = state.map(torch.clone)
        after, _ = walk(model, state, 1, seed=filled)
        assert same(state, before), "a state is never written"
        state = after
        assert state.slots[0].filled == filled and state.slots[0].sink is sink
        sizes.add(state.nbytes)
        empty = (10 - filled) * 6
        assert not state.slots[0].history[:, :, :empty].any() and state.slots[0].history[:, :, empty:].any()
    kept = STREAM.nbytes(CONFIG, 6, torch.float32)
    assert sizes == {kept + 8 * 12 * 4 + 8}
    # 7.6 GB of keys and values at 704x1280.
    assert StreamSettings().nbytes(type(CONFIG)(), 22 * 40, torch.bfloat16) == 7_612_661_760
    assert StreamSettings(kv_max_frames=4).nbytes(type(CONFIG)(), 22 * 40, torch.bfloat16) == 2_768_240_640


def test_copies_share_what_they_have_in_common(model):
    one, _ = walk(model, start(model, STREAM, latents(1, 1, 0), texts(1)), 1)
    many = one.select([0] * 4)
    assert many.held_bytes == one.nbytes and many.nbytes == 4 * one.nbytes
    apart, made = walk(model, many, 1)
    assert not torch.equal(made[0], made[1])
    own = 4 * one.slots[0].history.nbytes
    assert apart.held_bytes == one.nbytes - one.slots[0].history.nbytes + own
    assert same(one, many.select([2])) and same(one.map(torch.clone), one)
    assert many.map(torch.clone).held_bytes == one.nbytes


def test_slots_agree_with_themselves_alone(model):
    """At other blocks, too, as long as their histories are equally long."""
    first = start(model, STREAM, latents(1, 1, 0), texts(1))
    late, _ = walk(model, first, 6)
    early, _ = walk(model, first, 4, seed=50)
    assert late.slots[0].filled == early.slots[0].filled == 10
    both = RefinerState.cat([late, early])
    z, eps = latents(2, 3, 7), latents(2, 3, 8)
    after, made = refine(model, STREAM, both, z, eps)
    for i, state in enumerate((late, early)):
        alone, own = refine(model, STREAM, state, z[i : i + 1], eps[i : i + 1])
        assert torch.allclose(made[i : i + 1], own, atol=1e-5)
        assert torch.allclose(after.slots[i].history, alone.slots[0].history, atol=1e-5)
        assert after.slots[i].next_frame == alone.slots[0].next_frame
    swapped, other = refine(model, STREAM, both.select([1, 0]), z[[1, 0]], eps[[1, 0]])
    assert torch.allclose(other, made[[1, 0]], atol=1e-5)
    assert [slot.next_frame for slot in swapped.slots] == [16, 22]


def test_a_cold_start_is_a_fresh_stream_that_stands_elsewhere(model):
    z, text = latents(1, 1, 0), texts(1)
    begun = start(model, STREAM, z, text)
    cold = start(model, STREAM, z, text, next_frame=31)
    assert same(begun, cold) and cold.slots[0].next_frame == 31 and cold.slots[0].filled == 0
    _, near = walk(model, begun, 2)
    _, far = walk(model, cold, 2)
    # Positions are relative but for frame 0, whose middle is not half a latent before its end.
    assert not torch.equal(near, far) and torch.allclose(near, far, atol=0.2)


def test_a_text_and_its_mask_count(model):
    z = latents(1, 1, 0)
    mask = torch.ones(1, 8)
    mask[:, 5:] = 0
    plain = start(model, STREAM, z, texts(1))
    _, made = walk(model, plain, 1)
    _, masked = walk(model, start(model, STREAM, z, texts(1), mask), 1)
    cut = texts(1)[:, :5]
    _, shorter = walk(model, start(model, STREAM, z, cut), 1)
    assert torch.allclose(masked, shorter, atol=1e-5) and not torch.allclose(masked, made, atol=1e-3)


def test_what_is_refused(model):
    state = start(model, STREAM, latents(2, 1, 0), texts(2))
    with pytest.raises(ValueError, match=r"\(2, 8, 1 to 3, h, w\)"):
        refine(model, STREAM, state, latents(2, 4, 1), latents(2, 4, 1))
    with pytest.raises(ValueError, match="noise of that shape"):
        refine(model, STREAM, state, latents(2, 3, 1), latents(2, 2, 1))
    with pytest.raises(ValueError, match=r"takes latents \(B, 8, T, h, w\)"):
        refine(model, STREAM, state, latents(2, 3, 1)[:, :4], latents(2, 3, 1)[:, :4])
    ahead, _ = walk(model, state.select([0]), 1)
    with pytest.raises(ValueError, match=r"slots with \[0, 3\] frames of history cannot share a forward"):
        refine(model, STREAM, RefinerState.cat([state.select([1]), ahead]), latents(2, 3, 1), latents(2, 3, 1))
    with pytest.raises(ValueError, match="starts from the first 1"):
        start(model, STREAM, latents(1, 2, 0), texts(1))
    with pytest.raises(ValueError, match=r"text must be \(1, L, 12\)"):
        start(model, STREAM, latents(1, 1, 0), texts(2))
    with pytest.raises(ValueError, match="1 frames from 1 on"):
        start(model, STREAM, latents(1, 1, 0), texts(1), next_frame=0)
    for change, message in (({"kv_max_frames": 0}, "at least 1"), ({"fps": 0}, "fps"), ({"commit": "x"}, "commit")):
        with pytest.raises(ValueError, match=message):
            StreamSettings(**change)
    with pytest.raises(ValueError, match="descend"):
        StreamSettings(sigmas=(0.5, 0.6, 0.0))
