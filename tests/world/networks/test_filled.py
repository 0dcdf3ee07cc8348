"""Softmax attention over the filled places of the window alone, against all places under a mask."""

import pytest
import torch

from sanawm_env.world.networks.cache import common_fill, empty_cache, fills
from tests.world.networks.test_transformer import COLUMNS, ROWS, SMALL, WINDOWS, build, inputs, of_frames

CONFIGS = WINDOWS | {"no_text": SMALL.replace(window_frames=4, first_chunk="alone", caption_channels=0)}


def steps(config, length, count):
    """Arguments and conditions of the chunks of one rollout of two slots, the first chunk first."""
    lengths = [1 if config.first_chunk == "alone" else 1 + length, *([length] * count)]
    x, timesteps, cond = inputs(config.replace(caption_channels=config.caption_channels or 12), 2, sum(lengths))
    if not config.caption_channels:
        cond = {name: cond[name] for name in ("raymap", "plucker")}
    start = 0
    for frames in lengths:
        part = slice(start, start + frames)
        start += frames
        yield (x[:, :, part], timesteps[:, part]), of_frames(cond, part.start, part.stop)


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_and_committed_caches_equal_the_masked_ones(name, length):
    config = CONFIGS[name]
    model = build(config)
    cache = empty_cache(config, 2, ROWS * COLUMNS)
    seen = []
    for arguments, cond in steps(config, length, 4):
        filled = common_fill(cache)
        seen.append(filled)
        masked, masked_cache = model(*arguments, cache=cache, commit=True, **cond)
        found, found_cache = model(*arguments, cache=cache, commit=True, filled=filled, **cond)
        torch.testing.assert_close(found, masked, rtol=0, atol=2e-5)
        theirs = masked_cache.flat()
        for key, value in found_cache.flat().items():
            torch.testing.assert_close(value, theirs[key], rtol=0, atol=2e-5, msg=key)
            assert value.shape == theirs[key].shape and value.dtype == theirs[key].dtype
        cache = found_cache
    assert seen[0] == 0 and max(seen) > seen[1]


def test_what_lies_in_empty_places_is_never_read():
    """Even a NaN in an empty place, which a mask would let through to the products, changes nothing."""
    config = CONFIGS["chunks_sink"]
    model = build(config)
    (opening, opening_cond), (later, cond), *_ = steps(config, 3, 2)
    _, cache = model(*opening, cache=empty_cache(config, 2, ROWS * COLUMNS), commit=True, filled=0, **opening_cond)
    assert common_fill(cache) == 4 and cache.window_chunk.shape[1] == 7
    clean, _ = model(*later, cache=cache, filled=4, **cond)
    for block in cache.blocks:
        for name in {"k", "v", "cam_k", "cam_v"} & block.keys():
            block[name][:, :3] = torch.nan
    spoilt, _ = model(*later, cache=cache, filled=4, **cond)
    masked, _ = model(*later, cache=cache, **cond)
    assert torch.equal(spoilt, clean) and masked.isnan().any()


def test_too_small_a_number_is_another_answer():
    """The promise counts: the frames that are left out do matter."""
    config = CONFIGS["chunks_sink"]
    model = build(config)
    cache = empty_cache(config, 2, ROWS * COLUMNS)
    for arguments, cond in steps(config, 3, 2):
        filled = common_fill(cache)
        if filled:
            right, _ = model(*arguments, cache=cache, filled=filled, **cond)
            wrong, _ = model(*arguments, cache=cache, filled=filled - 1, **cond)
            assert (right - wrong).abs().max() > 1e-3
        _, cache = model(*arguments, cache=cache, commit=True, filled=filled, **cond)


@pytest.mark.parametrize("filled", [-1, 8])
def test_numbers_that_no_window_has(filled):
    config = CONFIGS["chunks_sink"]
    (arguments, cond), *_ = steps(config, 3, 0)
    cache = empty_cache(config, 2, ROWS * COLUMNS)
    with pytest.raises(ValueError, match="0 to 7 here"):
        build(config)(*arguments, cache=cache, filled=filled, **cond)
    with pytest.raises(ValueError, match="0 to 0 here"):
        build(config)(*arguments, filled=filled, **cond)


def test_slots_that_disagree_have_no_common_fill():
    cache = empty_cache(SMALL, 2, ROWS * COLUMNS)
    assert common_fill(cache) == 0
    cache.window_chunk[1, -2:] = 0
    assert common_fill(cache) is None
    cache.window_chunk[0, -2:] = 5
    assert common_fill(cache) == 2


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_kinds_of_steps_are_those_of_a_rollout(name, length):
    """`fills` foretells the filling before every step, without a model."""
    config = CONFIGS[name].replace(depth=1, softmax_every_n=1)
    model, cache, seen = build(config), empty_cache(config, 2, ROWS * COLUMNS), []
    room = (config.max_cached_frames - 1) // length if name == "keep_all" else 10
    for arguments, cond in steps(config, length, room - 1):
        seen.append(common_fill(cache))
        _, cache = model(*arguments, cache=cache, commit=True, **cond)
    if config.first_chunk == "alone":
        seen.append(common_fill(cache))
        assert seen.pop(0) == 0  # the commit of frame 0, which is no step
    expected = fills(config, length)
    assert seen[: len(expected)] == expected and len(set(expected)) == len(expected)
    assert set(seen) == set(expected)
