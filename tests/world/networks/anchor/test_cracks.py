"""Cracks between what landed, closed up to a width and no further."""

import torch

from sanawm_env.world.networks.anchor.cracks import without_cracks


def test_wider_cracks_are_closed_and_what_is_left_of_a_surface_that_is_too_near_goes():
    depth = torch.full((1, 24, 40), 0.5)
    depth[:, :, 20:] = -1.0
    depth[:, ::5, :12] = 2.0  # rows of a near surface, four places apart
    depth[:, 10, 17] = 2.0  # a dot before what stands behind, and one before nothing
    depth[:, 10, 30] = 2.0
    clean = without_cracks(depth, 3)
    assert (clean[:, :21, :12] == 2.0).all() and (clean[:, :, 12:20] == 0.5).all() and (clean[:, :, 20:] == -1.0).all()
    assert not (without_cracks(depth)[:, :21, :12] == 2.0).all(), "and narrow ones alone where that is asked"
