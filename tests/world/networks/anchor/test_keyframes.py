"""Keyframes: what is drawn from them, when one is kept, which one goes; and worlds that have some."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation

from sanawm_env.world.accel.overlap import Inline, stream
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.keyframes import (
    NEW,
    Keyframes,
    explained_disparity,
    keyframe_views,
    remember,
)
from sanawm_env.world.networks.anchor.warp import relative_poses, warp_anchor
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.state import WorldState

H, W, K = 32, 64, 3
CAMERA = torch.tensor([[32.0, 32.0, W / 2, H / 2]])  # 90 degrees wide


def pose(yaw=0.0, x=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    matrix[0, 3], matrix[2, 3] = x, z
    return torch.from_numpy(matrix)[None]


def plane(metres):
    return torch.full((1, H // 2, W // 2), 1 / metres)


def picture(level):
    return torch.full((1, H, W, 3), level, dtype=torch.uint8)


def memory(*kept):
    """Places of `(level, metres, pose)`."""
    keys = Keyframes(
        torch.zeros(1, K, H, W, 3, dtype=torch.uint8),
        torch.zeros(1, K, H // 2, W // 2),
        torch.zeros(1, K, 4, 4, dtype=torch.float64),
        torch.zeros(1, K, dtype=torch.bool),
    )
    for place, (level, metres, c2w) in enumerate(kept):
        keys.frame[:, place], keys.disparity[:, place], keys.c2w[:, place] = picture(level), plane(metres), c2w
        keys.used[:, place] = True
    return keys


def levels(views):
    """Grey levels of what is seen and NaN elsewhere, `(H, W)` of the first view."""
    grey = ((views[0, 0, 0] + 1) * 127.5).round()
    return torch.where(views[0, 3, 0] > 0, grey, torch.nan)


def test_poses_as_another_sees_them():
    origin, there = pose(30, 1, 2), torch.cat((pose(-80, 0.3, 1), pose(10, 4, -2)))[None]
    expected = torch.linalg.inv(origin)[:, None] @ there
    torch.testing.assert_close(relative_poses(origin, there), expected)


def test_an_empty_memory_draws_frame_0_alone():
    image = torch.randint(0, 256, (1, H, W, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    around = torch.cat((pose(), pose(20), pose(5, 0.2, 0.4)))[None]
    depth = torch.rand(1, H // 2, W // 2, generator=torch.Generator().manual_seed(1))
    views = keyframe_views(image, depth, memory(), around, CAMERA)
    colour, seen = warp_anchor(image, depth, around, CAMERA)
    assert (views[:, 3:] != seen).float().mean() < 0.01  # rounding at the edges of pixels
    both = (views[:, 3:] * seen).bool()
    assert ((views[:, :3] - colour) * both).abs().quantile(0.99) < 1e-3


def test_behind_the_camera_a_keyframe_answers():
    away = pose(180)
    nothing = keyframe_views(picture(40), plane(4), memory(), away[None], CAMERA)
    assert not nothing.any()
    views = keyframe_views(picture(40), plane(4), memory((200, 4, away)), away[None], CAMERA)
    assert (levels(views) == 200).all()
    known = explained_disparity(plane(4), memory((200, 4, away)), away[None], CAMERA)
    torch.testing.assert_close(known[0, 0], torch.full((H // 2, W // 2), 0.25))


def test_frame_0_comes_first_among_equals_and_what_is_nearer_hides_it():
    here = pose()[None]
    equal = keyframe_views(picture(40), plane(4), memory((200, 3.9, pose())), here, CAMERA)
    assert (levels(equal) == 40).all()
    nearer = keyframe_views(picture(40), plane(4), memory((200, 2, pose())), here, CAMERA)
    assert (levels(nearer) == 200).all()
    two = memory((200, 2, pose()), (120, 1, pose()))
    assert (levels(keyframe_views(picture(40), plane(4), two, here, CAMERA)) == 120).all()


def test_a_place_that_is_not_used_shows_nothing():
    keys = memory((200, 1, pose()))
    keys.used[:] = False
    assert (levels(keyframe_views(picture(40), plane(4), keys, pose()[None], CAMERA)) == 40).all()


def known_share(share):
    known = plane(4)
    known[..., : round((1 - share) * W // 2)] = -1
    return known


@pytest.mark.parametrize(
    ("share", "kept"), [(1.0, False), (1 - NEW + 0.05, False), (1 - NEW - 0.05, True), (0.0, True)]
)
def test_a_frame_is_kept_if_enough_of_it_is_new(share, kept):
    keys = remember(plane(4), memory(), picture(90), plane(3), known_share(share), pose(120)[:1], CAMERA)
    assert keys.used.tolist() == [[kept, False, False]]
    assert bool((keys.frame[:, 0] == 90).all()) is kept
    assert torch.equal(keys.c2w[0, 0], pose(120)[0] if kept else torch.zeros(4, 4, dtype=torch.float64))


def test_the_one_that_the_others_explain_goes():
    full = memory((10, 4, pose(100)), (20, 4, pose(190)), (30, 4, pose(195)))
    keys = remember(plane(4), full, picture(90), plane(4), known_share(0.0), pose(-80), CAMERA)
    assert keys.used.all()
    # Those at 190 and 195 degrees show nearly the same, and the first of them is explained from both sides.
    assert [int(level) for level in keys.frame[0, :, 0, 0, 0]] == [10, 90, 30]


@pytest.fixture(scope="module")
def world():
    config = small_config(anchored=True, height=H, width=W, max_rotation=0.4)
    return WorldModel.untrained(config.replace(model=config.model.replace(keyframes=2)), seed=1)


def turning(slots, begin, count=4):
    yaws = 12.0 * (begin + 1 + np.arange(count))
    return np.repeat(np.concatenate([pose(yaw).numpy() for yaw in yaws])[None], slots, 0)


def begin(world, slots):
    images = np.random.default_rng(0).integers(0, 256, (2, H, W, 3), dtype=np.uint8)[-slots:]
    state, _ = world.start(images, CAMERA.repeat(slots, 1).numpy(), [1, 2][-slots:])
    return state


def test_a_world_keeps_frames_and_its_state_does_not_grow(world):
    state = begin(world, 1)
    sizes, used = {state.nbytes}, [int(state.key_used.sum())]
    for step in range(8):
        state, frames = world.step(state, turning(1, 4 * step))
        sizes.add(state.nbytes)
        used.append(int(state.key_used.sum()))
        if used[-1] > used[-2]:
            assert np.array_equal(state.key_frame[0, used[-1] - 1].numpy(), frames[0, -1])
            assert torch.equal(state.key_c2w[0, used[-1] - 1], state.c2w[0])
    assert used[0] == 0 and used[-1] == 2 and len(sizes) == 1


def test_slots_files_and_forks_are_exact(world, tmp_path):
    both, alone = begin(world, 2), begin(world, 1)
    for step in range(5):
        both, frames = world.step(both, turning(2, 4 * step))
        alone, own = world.step(alone, turning(1, 4 * step))
        assert np.array_equal(frames[1:], own)
    assert both.select([1]).equal(alone) and alone.key_used.any()
    alone.save(tmp_path / "s.safetensors")
    again = WorldState.load(tmp_path / "s.safetensors", world.checkpoint)
    assert again.equal(alone)
    after, frames = world.step(again.fork(2), turning(2, 20))
    assert np.array_equal(frames[:1], world.step(alone, turning(1, 20))[1]) and after.select([0]).equal(
        after.select([1])
    )


def test_decoding_beside_denoising_gives_the_same(world):
    chunks = [turning(1, 4 * step) for step in range(4)]
    plain = list(stream(world, begin(world, 1), chunks))
    beside = list(stream(world, begin(world, 1), chunks, overlap=Inline()))
    assert all(a.equal(b) and np.array_equal(f, g) for (a, f), (b, g) in zip(plain, beside, strict=True))


def test_states_of_before_are_those_of_a_world_without(tmp_path, world):
    plain = WorldModel.untrained(small_config(anchored=True, height=H, width=W), seed=1)
    state = begin(plain, 1)
    assert state.key_frame.shape == (1, 0, H, W, 3)
    state.save(tmp_path / "new.safetensors")
    tensors = {k: v for k, v in load_file(tmp_path / "new.safetensors").items() if not k.startswith("key_")}
    save_file(tensors, tmp_path / "old.safetensors", state.metadata() | {"version": "2"})
    old = WorldState.load(tmp_path / "old.safetensors", plain.checkpoint)
    assert old.equal(state)
    with pytest.raises(ValueError, match="checkpoint"):
        world.step(old, turning(1, 0))


@pytest.mark.parametrize(("keyframes", "anchor"), [(-1, True), (2, False)])
def test_memories_that_cannot_be(keyframes, anchor):
    with pytest.raises(ValueError, match="keyframes"):
        SanaWMConfig(depth=4, hidden_size=64, head_dim=16, keyframes=keyframes, anchor=anchor)
