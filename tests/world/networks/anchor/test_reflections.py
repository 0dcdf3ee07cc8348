"""Reflections: where frame 0 goes on, what is drawn from it there, and the built-in world that has some."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.reflections import reflected_disparity, reflected_views, reflections_of
from sanawm_env.world.networks.anchor.views import show_made_up
from sanawm_env.world.networks.anchor.warp import warp_anchor
from sanawm_env.world.networks.config import SanaWMConfig

H, W = 32, 64
CAMERA = torch.tensor([[32.0, 32.0, W / 2, H / 2]])  # 90 degrees wide


def pose(yaw=0.0, x=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    matrix[0, 3], matrix[2, 3] = x, z
    return torch.from_numpy(matrix)[None, None]


def ramp():
    """An image whose columns can be told apart, `(1, H, W, 3)`."""
    return torch.linspace(0, 255, W).round().to(torch.uint8)[None, None, :, None].expand(1, H, W, 3).contiguous()


def plane(metres=4.0):
    return torch.full((1, H // 2, W // 2), 1 / metres)


def row(views, at=H // 2):
    """Grey levels of a row of the first view, NaN where nothing is shown."""
    grey = (views[0, 0, 0, at] + 1) * 127.5
    return torch.where(views[0, 3, 0, at] > 0, grey, torch.nan)


def test_a_turn_by_the_field_of_view_shows_the_image_mirrored_and_by_two_as_it_is():
    image = ramp()
    for turn in (90, -90):
        mirrored = reflected_views(image, plane(), pose(turn), CAMERA, 4)
        torch.testing.assert_close(row(mirrored), image[0, 0, :, 0].flip(0).float(), atol=1.0, rtol=0)
    # Straight back is where both sides end: each shows its half, and they meet without a gap.
    back = row(reflected_views(image, plane(), pose(180), CAMERA, 4))
    torch.testing.assert_close(back, image[0, 0, :, 0].float(), atol=1.0, rtol=0)


def test_it_goes_on_where_the_picture_ends():
    """Across the edge colour and depth change by no more than a few columns do."""
    image, disparity = ramp(), torch.linspace(0.2, 0.6, W // 2).expand(1, H // 2, W // 2).contiguous()
    levels = row(reflected_views(image, disparity, pose(45), CAMERA, 4))
    assert not levels.isnan().any() and levels.diff().abs().max() < 6 * 255 / W
    known = reflected_disparity(disparity, pose(45), CAMERA, 4)[0, 0, H // 4]
    assert (known > 0).all() and known.diff().abs().max() < 6 * 0.4 / (W // 2)


def test_where_frame_0_shows_something_it_alone_counts():
    image, near = ramp(), plane(4.0)
    near[:, :, :4] = 1.0  # a post at the left edge, whose reflection stands beside it
    around = torch.cat((pose(), pose(10), pose(-20, 0.3, 0.5), pose(0, -0.4, 0.2)), 1)
    colour, seen = warp_anchor(image, near, around, CAMERA)
    views = reflected_views(image, near, around, CAMERA, 4)
    torch.testing.assert_close(views[:, :3] * seen, colour)
    assert (views[:, 3:4] >= seen).all() and views[:, 3:4].sum() > seen.sum()


def test_a_place_is_there_again():
    """From two places the same reflected surface has the same colour, and its depth differs as the way between them."""
    image = ramp()
    here, nearer = (reflected_views(image, plane(), pose(90, x=x), CAMERA, 4) for x in (0.0, 1.0))
    assert row(here)[W // 2] == pytest.approx(row(nearer)[W // 2], abs=3)
    depth = [1 / float(reflected_disparity(plane(), pose(90, x=x), CAMERA, 4)[0, 0, H // 4, W // 4]) for x in (0, 1)]
    assert depth[0] == pytest.approx(4, rel=0.02) and depth[1] == pytest.approx(3, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(
    left=st.floats(0.2, 3.0), right=st.floats(0.2, 3.0), turn=st.floats(-180, 180), count=st.sampled_from([2, 4, 6, 8])
)
def test_no_direction_is_shown_by_both_sides_and_what_is_reached_has_no_gap(left, right, turn, count):
    focal = W / (left + right)
    camera = torch.tensor([[focal, focal, left * focal, H / 2]])
    origins, until = reflections_of(camera, W, count)
    assert origins.shape == (1, 1 + count, 4, 4) and until.shape == (1, count)
    torch.testing.assert_close(origins @ origins.transpose(2, 3), torch.eye(4, dtype=torch.float64).expand_as(origins))
    # A ray on the horizon, in each picture's own coordinates: is it inside, and before the half turn?
    angle = math.radians(turn)
    ray = torch.tensor([math.sin(angle), 0.0, math.cos(angle), 0.0], dtype=torch.float64)
    shown = []
    for k in range(1 + count):
        x, _, z, _ = (origins[0, k].T @ ray).tolist()
        inside = z > 1e-9 and -left + 1e-6 < x / z < right - 1e-6
        if inside and k:
            share = (x / z + left) / (left + right)
            near_right = ((k - 1) % 2 == 0) == ((k - 1) // 2 % 2 == 0)
            inside = (1 - share if near_right else share) < float(until[0, k - 1]) - 1e-6
        shown.append(inside)
    assert sum(shown) <= 1
    span = math.atan(left) + math.atan(right)
    side = math.atan(right) if angle > 0 else math.atan(left)
    borders = [side + n * span for n in range(-1, count)]
    if abs(angle) < side + count // 2 * span and min(abs(abs(angle) - border) for border in [*borders, math.pi]) > 1e-3:
        assert sum(shown) == 1


def test_a_batch_is_drawn_as_each_by_itself():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, H, W, 3), dtype=torch.uint8, generator=generator)
    disparity = torch.rand(3, H // 2, W // 2, generator=generator)
    camera = torch.tensor([[32.0, 32.0, 32.0, 16.0], [40.0, 40.0, 30.0, 15.0], [20.0, 20.0, 40.0, 16.0]])
    c2w = torch.cat([torch.cat((pose(yaw, 0.1), pose(yaw + 100)), 1) for yaw in (0, 70, -150)])
    together = reflected_views(image, disparity, c2w, camera, 4)
    for i in range(3):
        part = slice(i, i + 1)
        assert torch.equal(reflected_views(image[part], disparity[part], c2w[part], camera[part], 4)[0], together[i])


def test_sky_and_a_camera_inside_a_wall_are_finite():
    for disparity in (torch.zeros(1, H // 2, W // 2), plane(1e-3)):
        views = reflected_views(ramp(), disparity, pose(120, x=0.2, z=0.4), CAMERA, 4)
        assert torch.isfinite(views).all()
        assert torch.isfinite(reflected_disparity(disparity, pose(120, x=0.2, z=0.4), CAMERA, 4)).all()


def test_a_world_with_reflections_starts_and_turns_like_one_without():
    """Standing still they show the same; the state is as large; beyond the first view they differ."""
    config = small_config(anchored=True)
    plain = WorldModel.untrained(config)
    model = SanaWMConfig(**config.model.to_dict() | {"reflections": 4})
    other = WorldModel(config.replace(model=model), plain.transformer, plain.vae, "reflected")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, config.height, config.width, 3), dtype=np.uint8)
    camera = np.array([[config.width / 2, config.width / 2, config.width / 2, config.height / 2]])
    turns = np.stack([pose(30.0 * i)[0, 0].numpy() for i in range(1, 13)])[None]
    states = [world.start(image, camera, [0])[0] for world in (plain, other)]
    assert states[0].nbytes == states[1].nbytes
    still = np.tile(np.eye(4), (1, 12, 1, 1))
    assert np.array_equal(plain.step(states[0], still)[1], other.step(states[1], still)[1])
    frames = [world.step(state, turns)[1] for world, state in zip((plain, other), states, strict=True)]
    assert np.isfinite(frames[1]).all() and not np.array_equal(*frames)


def test_a_camera_that_went_through_what_is_reflected_still_sees_something():
    """Past all surfaces nothing is near: pictures show what they hold in this direction, and depth is not known."""
    through = pose(90, x=9.0)
    assert (reflected_disparity(plane(), through, CAMERA, 4) < 0).all()
    views = reflected_views(ramp(), plane(), through, CAMERA, 4)
    assert (views[:, 3:] == 1).all()
    torch.testing.assert_close(row(views), ramp()[0, 0, :, 0].flip(0).float(), atol=1.0, rtol=0)


def up(degrees):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    return torch.from_numpy(matrix)[None, None]


def test_above_and_below_the_picture_it_goes_on_but_close_beside_it_the_network_does():
    """The picture reaches 26.6 degrees up: of a camera that looks up by 45 its first row is row 26 or 27 of 32."""
    for sign in (1, -1):
        views = reflected_views(ramp(), plane(), up(sign * 45), CAMERA, 4)[0, :, 0]
        shown, made_up = (views[k] if sign > 0 else views[k].flip(0) for k in (3, 4))
        middle = slice(W // 4, -W // 4)
        assert (shown[28:, middle] == 1).all() and not made_up[28:, middle].any(), "frame 0's own"
        assert not shown[6:24, middle].any() and not made_up[6:24, middle].any(), "left to the network"
        assert (shown[:4, middle] == 1).all()
        assert (reflected_views(ramp(), plane(), up(sign * 80), CAMERA, 4)[:, 3:] == 1).all()


def test_a_reflected_surface_has_no_cracks_from_near_and_is_not_shown_from_very_near():
    """Its columns are 3 and then 32 times as wide, or 10; sensors know of it as long as it is ahead."""
    near = reflected_views(ramp(), plane(), pose(90, x=2.7), CAMERA, 4)
    assert (row(near).diff() <= 0).all() and row(near).max() - row(near).min() == pytest.approx(255 / 3, abs=5)
    very = reflected_views(ramp(), plane(), pose(90, x=3.875), CAMERA, 4)
    assert row(very).max() - row(very).min() == pytest.approx(255, abs=2)
    known = reflected_disparity(plane(), pose(90, x=3.6), CAMERA, 4)
    assert known.max() == pytest.approx(2.5, rel=0.01)


def test_frame_0_is_not_made_up_what_is_reflected_is_and_between_them_it_changes_gradually():
    views = reflected_views(ramp(), plane(), torch.cat((pose(), pose(45), pose(90)), 1), CAMERA, 4)
    assert not views[0, 4, 0].any()
    assert (views[0, 4, 2] == 1).all()
    border = views[0, 4, 1, H // 2]
    assert border.unique().numel() > 2 and (border.diff() >= -1e-6).all()
    assert border[0] == 0 and border[-1] == 1 and ((border > 0) & (border < 1)).sum() <= 4


def test_what_is_made_up_is_shown_as_it_stands_and_nothing_else_changes():
    """The decoder's pixels, whatever they are, stay where frame 0 answers, and go where a reflection does."""
    views = reflected_views(ramp(), plane(), torch.cat((pose(), pose(90), pose(90), pose(45)), 1), CAMERA, 4)
    pixels = torch.full((1, 3, 3, H, W), 0.25)  # a decoder that begins with frame 1
    shown = show_made_up(pixels, views)
    torch.testing.assert_close(shown[:, :, :2], views[:, :3, 1:3])
    own = views[:, 4:, 3] == 0
    assert own.any() and not own.all() and (shown[:, :, 2][own.expand(-1, 3, -1, -1)] == 0.25).all()
    assert show_made_up(pixels, views[:, :4]) is pixels


@pytest.mark.parametrize(
    "wrong",
    [{"reflections": -2}, {"reflections": 3}, {"reflections": 2, "anchor": False}, {"reflections": 2, "keyframes": 1}],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="reflections must be 0, or even and positive in an anchored world without"):
        SanaWMConfig(**{"anchor": True} | wrong)
