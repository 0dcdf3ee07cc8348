"""Anchored worlds: the hint's code, an untouched start, and the rules that hold for every world."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sanawm_env.world.checkpoints.local import build_modules
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.views import check_anchor_vae, code_views, to_pixels
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig
from sanawm_env.world.state import WorldState

CONFIG = small_config(anchored=True, height=32, width=64)
CAMERA = np.array([[40.0, 40.0, 32.0, 16.0]])


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained(CONFIG)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 64, 3), dtype=np.uint8)


def path(count, frames=12, speed=0.03):
    c2w = np.tile(np.eye(4), (count, frames, 1, 1))
    c2w[:, :, 0, 3] = speed * np.arange(1, frames + 1)
    return c2w


def random_vae():
    vae = TinyVAE(TinyVAEConfig(channels=8, width=16))
    for value in vae.buffers():
        value.normal_(std=0.1)
    return vae


def test_a_whole_view_is_coded_as_the_vae_codes_it():
    vae, colour = random_vae(), torch.rand(2, 3, 8, 32, 64) * 2 - 1
    coded = code_views(vae, torch.cat((colour, torch.ones(2, 1, 8, 32, 64)), 1))
    assert torch.allclose(coded[:, :-1], vae.encode_blocks(colour), atol=1e-5)
    assert torch.equal(coded[:, -1], torch.ones(2, 2, 2, 4))


def test_what_is_not_seen_has_no_part_in_the_code():
    vae = random_vae()
    seen = (torch.rand(1, 1, 4, 32, 64) < 0.5).float()
    seen[..., 16:] = 0  # three of four columns of blocks show nothing
    colour = (torch.rand(1, 3, 4, 32, 64) * 2 - 1) * seen
    coded = code_views(vae, torch.cat((colour, seen), 1))
    assert not coded[..., 1:].any()
    assert coded[:, :-1, ..., 0].any()
    assert torch.allclose(coded[:, -1, 0, :, 0], seen.unflatten(3, (2, 16))[..., :16].mean((1, 2, 4, 5)))
    flat = code_views(vae, torch.cat((0.3 * seen.expand(-1, 3, -1, -1, -1), seen), 1))
    plain = vae.encode_blocks(torch.full_like(colour, 0.3))
    assert torch.allclose(flat[:, :-1, ..., 0], plain[..., 0], atol=1e-5), "a flat wall stays flat where it has holes"


def test_only_a_vae_with_a_linear_code_will_do(world):
    check_anchor_vae(world.vae)
    transformer, vae = build_modules(CONFIG)
    other = SimpleNamespace(spatial_stride=vae.spatial_stride, temporal_stride=4, latent_channels=8)
    with pytest.raises(ValueError, match=r"model\.anchor"):
        WorldModel(CONFIG, transformer, other, "x")


def test_a_fresh_anchor_changes_nothing():
    plain, _ = build_modules(small_config(height=32, width=64))
    anchored, _ = build_modules(CONFIG)
    for value in plain.parameters():
        torch.nn.init.normal_(value, std=0.05)
    anchored.load_state_dict(anchored.state_dict() | plain.state_dict())
    x, times, hint = torch.randn(1, 8, 2, 2, 4), torch.full((1, 2), 700.0), torch.randn(1, 9, 2, 2, 4)
    with torch.inference_mode():
        before, after = plain(x, times)[0], anchored(x, times, anchor=hint)[0]
        assert torch.equal(before, after)
        anchored.anchor.gate_proj.bias.data += 0.5
        moved = anchored(x, times, anchor=hint)[0]
        assert torch.allclose(before - moved, 0.5 * hint[:, :-1], atol=1e-5)
    with pytest.raises(ValueError, match=r"config\.anchor"):
        anchored(x, times)
    with pytest.raises(ValueError, match=r"config\.anchor"):
        plain(x, times, anchor=hint)
    with pytest.raises(ValueError, match=r"anchor \(B, C \+ 1"):
        anchored(x, times, anchor=hint[:, 1:])


def test_steps_use_the_anchor(world):
    state, _ = world.start(images(1), CAMERA, [3])
    assert torch.equal(state.first_frame, torch.from_numpy(images(1)))
    disparity = world.transformer.anchor.depth.disparity(to_pixels(state.first_frame), state.intrinsics)
    assert torch.allclose(state.first_disparity, disparity)
    _, frames = world.step(state, path(1))
    other = state.map(lambda value: value.clone())
    other.first_frame.copy_(torch.from_numpy(images(1, seed=9)))
    _, others = world.step(other, path(1))
    assert not np.array_equal(frames, others)


def test_slots_restore_and_replay_bit_for_bit(world, tmp_path):
    both, _ = world.start(images(2), CAMERA.repeat(2, 0), [1, 2])
    alone, _ = world.start(images(2)[1:], CAMERA, [2])
    sizes = {both.nbytes}
    for _ in range(3):
        both, frames = world.step(both, path(2))
        alone, own = world.step(alone, path(1))
        assert np.array_equal(frames[1:], own)
        sizes.add(both.nbytes)
    assert len(sizes) == 1, "the state does not grow"
    assert both.select([1]).equal(alone)
    alone.save(tmp_path / "state.safetensors")
    restored = WorldState.load(tmp_path / "state.safetensors", world.checkpoint)
    assert restored.equal(alone)
    assert np.array_equal(world.step(restored, path(1))[1], world.step(alone, path(1))[1])
    forked, _ = world.step(alone.fork(2), path(2))
    assert forked.select([0]).equal(forked.select([1]))


def test_worlds_without_an_anchor_carry_none():
    world = WorldModel.untrained(small_config(height=32, width=64))
    state, _ = world.start(images(1), CAMERA, [0])
    assert state.first_frame.numel() == state.first_disparity.numel() == 0
