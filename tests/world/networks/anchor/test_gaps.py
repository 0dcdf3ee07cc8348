"""Gaps: what comes into them, from which side, and what is left alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.world.networks.anchor.gaps import fill_gaps
from sanawm_env.world.networks.anchor.warp import joined

H, W = 8, 24  # places; twice as many pixels


def planes_of(picture, known):
    """`(1, 4, 1, 2, 2, h, w)` of grey levels `(2h, 2w)` and of places that are known `(h, w)`."""
    pixels = torch.stack([picture, picture, picture, torch.ones_like(picture)])
    planes = pixels.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 2, 4, 1, 3)  # (4, 2, 2, h, w)
    return (planes * known)[None, :, None].contiguous()


def columns():
    """A picture whose pixel columns can be told apart."""
    return torch.arange(2.0 * W).expand(2 * H, 2 * W)


def filled(picture, known, depth=None, own=None):
    """Grey levels `(2h, 2w)`, NaN where nothing is known."""
    depth = torch.full((H, W), 0.25) if depth is None else depth
    own = torch.zeros(H, W, dtype=torch.bool) if own is None else own
    views = joined(fill_gaps(planes_of(picture, known), depth[None, None], own[None, None]))[0, :, 0]
    return torch.where(views[3] > 0, views[0], torch.nan)


def gap(first, last):
    known = torch.ones(H, W, dtype=torch.bool)
    known[:, first : last + 1] = False
    return known


def test_a_plane_for_each_pixel_of_a_place_and_back():
    picture = torch.rand(2 * H, 2 * W)
    assert torch.equal(joined(planes_of(picture, torch.ones(H, W)))[0, 0, 0], picture)


def test_what_is_farther_goes_on_mirrored_at_the_border():
    depth = torch.full((H, W), 1.0)
    depth[:, 12:] = 0.25  # behind a near thing at the left a wall goes on
    levels = filled(columns(), gap(8, 12), depth)[5]
    # The places at the rim, 7 and 13, have colours of both sides: the border is that of place 14, pixel 28.
    assert levels[14:28].tolist() == [55.0 - p for p in range(14, 28)]
    assert levels[:14].tolist() == list(range(14)) and levels[28:].tolist() == list(range(28, 2 * W))


def test_what_is_mirrored_is_folded_where_another_thing_begins():
    depth = torch.full((H, W), 0.25)
    depth[:, :6] = 1.0
    levels = filled(columns(), gap(10, W - 1), depth)[0]
    # Of the wall, places 6 to 8 are left: six pixels, back and forth.
    there = list(range(12, 18))
    assert levels[18:36].tolist() == there[::-1] + there + there[::-1]


def test_the_closer_border_of_row_and_column():
    rows = torch.arange(2.0 * H)[:, None].expand(2 * H, 2 * W)
    known = torch.ones(H, W, dtype=torch.bool)
    known[6:] = False  # below the picture
    levels = filled(rows, known)
    assert levels[:, 3].tolist() == [*range(10), 9, 8, 7, 6, 5, 4]


def test_close_beside_frame_0_the_network_goes_on_and_farther_away_a_mirror():
    own = gap(4, W - 1)
    levels = filled(columns(), own, own=own)[0]
    assert levels[:8].tolist() == list(range(8)) and levels[8:28].isnan().all()  # ten places
    there = [*range(8)]
    assert levels[28:].tolist() == ((there[::-1] + there) * 3)[20:40]


def test_frame_0_is_never_changed_and_nothing_comes_of_nothing():
    own = torch.zeros(H, W, dtype=torch.bool)
    own[3, 5:9] = True
    picture = torch.rand(2 * H, 2 * W)
    assert torch.equal(filled(picture, own, own=own)[6:8, 10:18], picture[6:8, 10:18])
    assert filled(picture, torch.zeros(H, W, dtype=torch.bool)).isnan().all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.05, 0.95), sky=st.booleans())
def test_every_colour_is_one_that_is_known(seed, share, sky):
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(H, W, generator=generator) < share
    own = known & (torch.rand(H, W, generator=generator) < 0.3)
    depth = torch.zeros(H, W) if sky else torch.rand(H, W, generator=generator)
    picture = torch.rand(2 * H, 2 * W, generator=generator)
    double = known.repeat_interleave(2, 0).repeat_interleave(2, 1)
    levels = filled(picture, known, depth, own)
    shown = ~levels.isnan()
    assert (shown | ~double).all()
    assert torch.isin(levels[shown], picture[double]).all()
