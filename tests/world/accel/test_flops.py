"""The FLOP formula against torch's counter, which sees every matrix product of the real code."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sanawm_env.world.accel.flops import Flops, chunk_flops, chunk_lengths, clip_flops, forward_flops
from sanawm_env.world.config import small_config
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import denoise_chunk
from sanawm_env.world.schedules import RELEASE_SIGMAS

TEXT = SanaWMConfig(depth=4, hidden_size=48, head_dim=24, in_channels=5, caption_channels=12, text_length=6,
                    temporal_stride=4, softmax_every_n=2, pos_embed_tokens=0)  # fmt: skip
WORLD = small_config().model
torch.set_num_threads(1)
CONFIGS = {
    "text": TEXT,
    "patches": TEXT.replace(patch_size=(2, 2), mlp_ratio=2.0, camera_conv_tail=True),
    "frames": WORLD,
    "long_window": TEXT.replace(cached_chunks=3, chunk_frames=2),
    "all_delta": TEXT.replace(softmax_every_n=9),
    "all_softmax": TEXT.replace(softmax_every_n=1, softmax_scale="head", attention_dtype="bfloat16"),
}
GRID = (4, 6)


def model_of(config, dtype=torch.float32):
    with torch.device("meta"):
        return SanaWMTransformer(config).to(dtype).eval().requires_grad_(False)


def inputs(config, frames, grid, slots=1, dtype=torch.float32, text=None):
    rows, columns = config.patch_size
    x = torch.zeros(slots, config.in_channels, frames, grid[0] * rows, grid[1] * columns, device="meta", dtype=dtype)
    cond = {
        "raymap": torch.zeros(slots, frames, 20, device="meta"),
        "plucker": torch.zeros(slots, config.plucker_channels, frames, *grid, device="meta"),
    }
    if config.caption_channels:
        length = config.text_length if text is None else text
        cond["text"] = torch.zeros(slots, length, config.caption_channels, device="meta", dtype=dtype)
        cond["text_mask"] = torch.ones(slots, length, device="meta")
    return x, cond


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_streaming_call(name, frames):
    config = CONFIGS[name]
    model, (x, cond) = model_of(config), inputs(config, frames, GRID)
    cache = empty_cache(config, 1, GRID[0] * GRID[1], device="meta")
    for commit in (False, True):
        times = torch.zeros(1, frames, device="meta")
        found = counted(lambda: model(x, times, cache=cache, commit=commit, **cond))  # noqa: B023
        assert found == forward_flops(config, frames, GRID[0] * GRID[1]).total


@pytest.mark.parametrize("name", ["text", "patches", "all_delta"])
def test_a_bidirectional_call_of_many_frames(name):
    config = CONFIGS[name]
    x, cond = inputs(config, 7, GRID, text=3)
    found = counted(lambda: model_of(config)(x, torch.zeros(1, 7, device="meta"), **cond))
    assert found == forward_flops(config, 7, GRID[0] * GRID[1], text_length=3, streaming=False).total


@pytest.mark.parametrize(("slots", "steps"), [(1, 4), (3, 1)])
def test_a_chunk_is_its_denoising_calls_and_the_commit(slots, steps):
    """Counted on the sampler as it runs, on real tensors; slots cost alike."""
    config = TEXT
    torch.manual_seed(0)
    model = SanaWMTransformer(config).eval().requires_grad_(False)
    x, cond = inputs(config, 3, GRID, slots)
    cond = {name: torch.randn(value.shape) for name, value in cond.items()}
    sigmas = (1.0, *(0.5**i for i in range(1, steps)), 0.0)
    cache = empty_cache(config, slots, GRID[0] * GRID[1])
    found = counted(lambda: denoise_chunk(model, torch.randn(x.shape), cache, sigmas, **cond))
    expected = chunk_flops(config, 3, GRID[0] * GRID[1], steps=steps)
    # torch's counter does not know the fused CPU attention, which only the cross-attention uses at this size.
    assert found == slots * (expected.total - expected.text)


def test_the_release_at_its_true_size():
    """The first 4 of its 20 blocks at 704x1280: three delta rules and one softmax, as in every further 4."""
    config = RELEASE.replace(depth=4)
    x, cond = inputs(config, 3, (22, 40), dtype=torch.bfloat16)
    cache = empty_cache(config, 1, 880, device="meta", dtype=torch.bfloat16)
    found = counted(
        lambda: model_of(config, torch.bfloat16)(x, torch.zeros(1, 3, device="meta"), cache=cache, commit=True, **cond)
    )
    assert found == forward_flops(config, 3, 880).total


def test_a_minute_of_the_release():
    """The published estimate is 3.0 PFLOP, 0.4 of them in softmax attention."""
    steps = len(RELEASE_SIGMAS) - 1
    minute = clip_flops(RELEASE, 121, 880, steps=steps)
    assert sum(chunk_lengths(RELEASE, 121)) == 121 and len(list(chunk_lengths(RELEASE, 121))) == 40
    assert minute.total == pytest.approx(3.0e15, rel=0.03)
    assert minute.softmax == pytest.approx(0.4e15, rel=0.06)


def test_frame_0_alone_is_only_committed():
    config = WORLD
    assert list(chunk_lengths(config, 6)) == [1, 3, 2]
    expected = forward_flops(config, 1, 24) + chunk_flops(config, 3, 24, steps=2) + chunk_flops(config, 2, 24, steps=2)
    assert clip_flops(config, 6, 24, steps=2) == expected


def test_arithmetic_of_counts():
    one = Flops(linear=2, softmax=3)
    assert (one + one * 2).to_dict() == {
        "linear": 6, "depthwise": 0, "softmax": 9, "text": 0, "delta_rule": 0, "rays": 0, "total": 15,
    }  # fmt: skip
