"""Depth of anchored worlds."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth
from sanawm_env.scenes import make_clips
from sanawm_env.world.config import small_config
from sanawm_env.world.networks.anchor.depth import aligned


@pytest.fixture(scope="module")
def world():
    """Anchored, with random weights."""
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1, max_chunk_frames=1)
    return WorldModel.untrained(config.replace(model=config.model.replace(anchor=True)))


@pytest.fixture(scope="module")
def small():
    return WorldModel.load("small")


def test_at_the_start_it_is_the_depth_the_anchor_warps(world):
    state, frames = world.start(np.zeros((2, 32, 48, 3), np.uint8), [[40, 40, 24, 16]] * 2, [0, 1])
    for depth, disparity in zip(AnchoredDepth(world).depth(state, frames[:, 0]), state.first_disparity, strict=True):
        assert depth.shape == (32, 48) and depth.dtype == np.float32
        with np.errstate(divide="ignore"):
            assert np.array_equal(depth[::2, ::2], 1 / disparity.numpy())
        assert np.array_equal(depth[::2, ::2], depth[1::2, 1::2])


def test_a_wall_comes_nearer_by_the_way_walked(world):
    """What frame 0 shows keeps its place, whatever the present picture is."""
    state, _ = world.start(np.zeros((1, 32, 48, 3), np.uint8), [[40, 40, 24, 16]], [0])
    c2w = torch.eye(4, dtype=torch.float64)[None].clone()
    c2w[0, 2, 3] = 1.5
    wall = state.changed(first_disparity=torch.full_like(state.first_disparity, 0.25), c2w=c2w)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    for picture in pictures:
        assert np.allclose(AnchoredDepth(world).depth(wall, [picture])[0], 2.5, atol=1e-5)


def test_where_frame_0_ends_the_network_looks_at_the_present_picture(world):
    state, _ = world.start(np.zeros((1, 32, 48, 3), np.uint8), [[40, 40, 24, 16]], [0])
    c2w = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))[None]  # turned round
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    turned = state.changed(c2w=c2w)
    alone, _ = world.start(picture[None], [[40, 40, 24, 16]], [0])
    source = AnchoredDepth(world)
    assert np.array_equal(source.depth(turned, [picture])[0], source.depth(alone, [picture])[0])


def test_a_guess_is_brought_to_the_scale_of_what_is_known():
    guess = torch.full((3, 4, 10), 0.5)
    known = torch.full((3, 4, 10), -1.0)
    known[0, :, :5], known[0, 0, 0] = 0.25, 9.0  # all at 4 m but for one pixel
    known[1, 0, :4] = 0.25  # too little
    known[2] = 0.001  # the sky has no scale
    assert torch.equal(aligned(guess, known), torch.tensor([0.25, 0.5, 0.5])[:, None, None].expand(3, 4, 10))


def test_a_slot_does_not_depend_on_its_neighbours(world):
    pictures = np.random.default_rng(1).integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)
    state, _ = world.start(pictures, [[40, 40, 24, 16]] * 5, range(5))
    together = AnchoredDepth(world).depth(state, list(pictures))
    for slot in range(5):
        (alone,) = AnchoredDepth(world).depth(state.select([slot]), [pictures[slot]])
        assert np.array_equal(alone, together[slot])
    batched = copy.copy(world)
    batched.batched = True
    for one, other in zip(together, AnchoredDepth(batched).depth(state, list(pictures)), strict=True):
        np.testing.assert_allclose(1 / one, 1 / other, atol=1e-5)


def test_an_autocast_around_it_changes_nothing(world):
    env = SanaWMEnv(world, sensors="depth")
    _, plain = env.reset(seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        _, cast = env.restore(env.snapshot())
    assert np.array_equal(plain["depth"], cast["depth"])


def test_the_built_in_world_knows_rooms(small):
    """Held-out scenes, their true pictures: metres and order of what is seen, here and after a walk."""
    config = small.config
    clips = make_clips(range(20_000_100, 20_000_106), 25, config.height, config.width)
    source, errors, orders = AnchoredDepth(small), [], []
    for rgb, true, c2w, camera in zip(clips.rgb, clips.depth, clips.c2w.double(), clips.intrinsics, strict=True):
        state, _ = small.start(rgb[:1].numpy(), camera[None].numpy(), [0])
        for frame in (0, 24):
            here = state.changed(c2w=(torch.linalg.inv(c2w[0]) @ c2w[frame])[None])
            (depth,) = source.depth(here, [rgb[frame].numpy()])
            near = (true[frame] < 50).numpy()
            truth = true[frame].numpy()[near]
            errors.append(np.median(np.abs(depth[near] - truth) / truth))
            orders.append(spearmanr(depth[near], truth).statistic)
    assert np.median(errors) < 0.2 and np.median(orders) > 0.8


def test_files_and_batches_of_an_anchored_world(world, tmp_path):
    """Depth is no part of a file: who reads one computes it anew, to the bit."""
    env = SanaWMEnv(world, sensors="depth")
    envs = SanaWMVectorEnv(2, world, sensors="depth")
    env.reset(seed=3)
    envs.reset(seed=2)
    action = [0.2, 0, 1, 0, 0.5, 0]
    *_, info = env.step(action)
    *_, infos = envs.step([action, action])
    assert np.array_equal(info["depth"], infos["depth"][1])
    env.snapshot().save(tmp_path / "moment.safetensors")
    for twin in (env, SanaWMEnv(world, sensors="depth")):
        _, read = twin.restore(tmp_path / "moment.safetensors")
        assert np.array_equal(read["depth"], info["depth"])
