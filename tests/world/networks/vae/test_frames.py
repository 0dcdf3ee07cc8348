"""`to_frames` gives the bytes that frames always had, with and without OpenCV."""

import numpy as np
import pytest
import torch

from sanawm_env.world.networks.vae import frames as module
from sanawm_env.world.networks.vae.frames import to_frames


def as_before(pixels):
    """The rule, spelled out number by number in numpy."""
    with np.errstate(invalid="ignore", over="ignore"):
        levels = (pixels.float().numpy() + np.float32(1)) * np.float32(127.5)
        levels = np.nan_to_num(np.clip(np.rint(levels), 0, 255), nan=0)
    return np.moveaxis(levels.astype(np.uint8), 1, -1)


def hard_values():
    """Every half level and its neighbours, every level, what lies outside, and what is no number."""
    halves = torch.arange(-3, 260, 0.5, dtype=torch.float64) / 127.5 - 1
    near = torch.cat([halves, torch.nextafter(halves.float(), torch.tensor(9.0)).double(), halves - 1e-7]).float()
    beyond = [np.inf, -np.inf, np.nan, -np.nan, 1e10, -1e10, 3e38, -3e38, 2.0**31, -(2.0**31), 1e-45, -1.0, 1.0, -0.0]
    return torch.cat([near, torch.tensor(beyond, dtype=torch.float32)])


@pytest.fixture(params=["opencv", "torch"])
def way(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(module, "_opencv", lambda: None)
    else:
        assert module._opencv() is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_bytes_are_those_of_the_rule(way, dtype):
    values = hard_values()
    noise = torch.randn(3 * 3 * 2 * 16 * 24, generator=torch.Generator().manual_seed(0))
    noise[: len(values)] = values
    pixels = noise.reshape(3, 3, 2, 16, 24).to(dtype)
    assert np.array_equal(to_frames(pixels).numpy(), as_before(pixels))


@pytest.mark.parametrize("block", [1, 2 * 16 * 24 * 2, 1 << 18])
def test_slots_do_not_depend_on_the_block(way, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    pixels = torch.randn(5, 3, 2, 16, 24, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(to_frames(pixels).numpy(), as_before(pixels))


def test_views_are_taken_and_nothing_is_written_to(way):
    whole = torch.randn(2, 3, 5, 16, 24, generator=torch.Generator().manual_seed(2))
    before = whole.clone()
    part = whole[:, :, 1:]
    frames = to_frames(part)
    assert torch.equal(whole, before)
    assert np.array_equal(frames.numpy(), as_before(part))
    assert frames.shape == (2, 4, 16, 24, 3)
    assert to_frames(whole[:, :, :0]).shape == (2, 0, 16, 24, 3)
