"""Warping frame 0: identity, rotation, parallax, occlusion, what is behind, and slots that do not meet."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.scenes import make_clips
from sanawm_env.world.networks.anchor.warp import anchor_disparity, coarse_disparity, joined, warp_anchor

H, W = 64, 96
CAMERA = torch.tensor([[60.0, 60.0, W / 2, H / 2]])


def pose(*, turn=(0.0, 0.0, 0.0), move=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = move
    return torch.from_numpy(matrix)


def views(*poses):
    return torch.stack(poses)[None]


def smooth_image(seed=0):
    """Few sines, so that reading between pixels costs nothing."""
    v, u = np.mgrid[:H, :W]
    rng = np.random.default_rng(seed)
    waves = [np.sin(u * a + v * b + c) for a, b, c in rng.uniform(0.05, 0.15, (3, 3))]
    return torch.from_numpy((127.5 + 100 * np.stack(waves, -1)).astype(np.uint8))[None]


def pixels(image):
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


def plane(metres):
    return torch.full((1, H // 2, W // 2), 1 / metres)


def test_where_it_started_the_view_is_the_image():
    image = smooth_image()
    colour, seen = warp_anchor(image, torch.rand(1, H // 2, W // 2), views(pose()), CAMERA)
    assert seen.all()
    assert torch.allclose(colour[:, :, 0], pixels(image), atol=1e-3)


def test_turning_does_not_ask_for_depth():
    image, around = smooth_image(), views(pose(turn=(0.05, -0.2, 0.03)))
    near, seen_near = warp_anchor(image, plane(0.5), around, CAMERA)
    far, seen_far = warp_anchor(image, torch.zeros(1, H // 2, W // 2), around, CAMERA)
    both = (seen_near * seen_far).bool()
    assert both.float().mean() > 0.6
    assert ((near - far) * both).abs().max() < 1e-3


def test_a_wall_moves_by_its_parallax():
    # 60 px focal length, 2 m away, 0.2 m to the right: 6 pixels to the left.
    image = smooth_image()
    colour, seen = warp_anchor(image, plane(2.0), views(pose(move=(0.2, 0.0, 0.0))), CAMERA)
    assert torch.allclose(colour[0, :, 0, :, :-6], pixels(image)[0, :, :, 6:], atol=2e-3)
    assert seen[0, 0, 0, :, :-6].all()
    assert not seen[0, 0, 0, :, -6:].any(), "what enters the picture is not known"
    assert not colour[0, :, 0, :, -6:].any()


def test_moving_on_leaves_no_cracks():
    _, seen = warp_anchor(smooth_image(), plane(2.0), views(pose(move=(0.0, 0.0, 0.9))), CAMERA)
    assert seen.all()


def test_the_nearer_thing_hides_the_farther():
    image = torch.zeros(1, H, W, 3, dtype=torch.uint8)
    image[:, :, 40:56] = 255  # a bright post 1 m away before a dark wall 4 m away
    disparity = plane(4.0).clone()
    disparity[:, :, 20:28] = 1.0
    colour, seen = warp_anchor(image, disparity, views(pose(move=(-0.2, 0.0, 0.0))), CAMERA)
    # The post moves 12 px to the right, the wall 3: the post covers what was beside it and bares what it covered.
    row = colour[0, 0, 0, H // 2]
    assert (row[53:67] > 0.9).all()
    assert (row[70:] < -0.9).all()
    assert not seen[0, 0, 0, H // 2, 46:50].any()


@pytest.mark.parametrize(("draw", "magnified"), [(anchor_disparity, 3.5), (coarse_disparity, 2.5)])
def test_what_stands_behind_does_not_shine_through_a_magnified_surface(draw, magnified):
    """The right half of the picture is 1 m away, the left one 10 m; the camera goes right, up to the near half."""
    disparity = plane(10.0).clone()
    disparity[:, :, W // 4 :] = 1.0
    ahead = pose(move=(0.3, 0.0, 1 - 1 / magnified))
    seen = draw(disparity, views(ahead), CAMERA)[0, 0]
    edge = max(0, math.ceil((W / 2 - 60 * 0.3 * magnified) / 2))
    assert (seen[2:-2, edge + 1 : -2] > magnified - 0.1).all()
    if edge:
        assert (seen[2:-2, : edge - 1] < 1).all(), "and the edge stays where it is"


def test_a_plane_for_each_pixel_of_a_place_and_back():
    picture = torch.rand(16, 48)
    planes = picture.unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).permute(1, 3, 0, 2)  # (2, 2, h, w)
    assert torch.equal(joined(planes), picture)


def test_behind_the_camera_there_is_nothing():
    colour, seen = warp_anchor(smooth_image(), plane(2.0), views(pose(turn=(0.0, math.pi, 0.0))), CAMERA)
    assert not seen.any()
    assert not colour.any()
    walked_through, seen = warp_anchor(smooth_image(), plane(2.0), views(pose(move=(0.0, 0.0, 3.0))), CAMERA)
    assert not seen.any()
    assert torch.isfinite(walked_through).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.floats(-1.5, 1.5), min_size=12, max_size=12))
def test_slots_and_views_do_not_meet(seed, numbers):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (2, H, W, 3), generator=generator, dtype=torch.uint8)
    disparity = torch.rand(2, H // 2, W // 2, generator=generator)
    poses = torch.stack([pose(turn=numbers[i : i + 3], move=numbers[i + 3 : i + 6]) for i in (0, 6)])
    c2w = torch.stack((poses, poses.flip(0)))
    cameras = CAMERA.repeat(2, 1) * torch.tensor([[1.0], [1.1]])
    colour, seen = warp_anchor(image, disparity, c2w, cameras)
    assert torch.isfinite(colour).all()
    assert colour.abs().max() <= 1.0
    for slot in range(2):
        for view in range(2):
            part = slice(slot, slot + 1)
            alone, seen_alone = warp_anchor(image[part], disparity[part], c2w[part, view : view + 1], cameras[part])
            assert torch.equal(alone[0, :, 0], colour[slot, :, view])
            assert torch.equal(seen_alone[0, :, 0], seen[slot, :, view])


@pytest.mark.parametrize("seed", range(9_000_402, 9_000_406))
def test_true_depth_shows_the_true_next_second(seed):
    clip = make_clips([seed], 17, H, W)
    c2w = torch.linalg.solve(clip.c2w[:, :1].double(), clip.c2w.double())
    depth = -torch.nn.functional.max_pool2d(-clip.depth[:, 0].clamp_max(1e6), 2)
    colour, seen = warp_anchor(clip.rgb[:, 0], 1 / depth, c2w[:, 1:], clip.intrinsics)
    truth = torch.stack([pixels(clip.rgb[:, i]) for i in range(1, 17)], 2)
    still = pixels(clip.rgb[:, 0])[:, :, None]
    warped = ((colour - truth).square() * seen)[:, :, -1].sum() / seen[:, :, -1].sum()
    frozen = ((still - truth).square() * seen)[:, :, -1].sum() / seen[:, :, -1].sum()
    assert seen.mean() > 0.5
    assert warped < 0.35 * frozen
