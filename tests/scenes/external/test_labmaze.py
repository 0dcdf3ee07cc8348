"""Mazes are free where they say so, and MuJoCo's pictures, depth and poses belong together."""

import numpy as np
import pytest

from sanawm_env.scenes.external.labmaze import Maze, draw_maze, film
from sanawm_env.scenes.motion import CLEARANCE, free_path


def hall() -> Maze:
    """A hall of 3 by 4 cells of 2 m within walls, with a pillar in the middle."""
    walls = np.ones((6, 5), bool)
    walls[1:5, 1:4] = False
    return Maze(walls, np.zeros_like(walls, int), np.array([[5.0, 6.0, 0.25, 1.0]]), 2.0, 3.0)


def test_clearance_is_the_distance_to_walls_pillars_floor_and_ceiling():
    points = np.array([[3.0, -1.5, 4.0], [5.0, -1.5, 7.0], [5.75, -1.5, 6.0], [5.0, -1.5, 6.1], [3.0, -2.9, 3.0]])
    np.testing.assert_allclose(hall().clearance(points), [1.0, 0.75, 0.5, -0.15, 0.1])
    assert hall().clearance(points[None]).shape == (1, 5)
    assert hall().clearance(np.array([[1.0, -1.5, 5.0], [-1.0, -1.5, 5.0]])).tolist() == [-1.0, -1.0]


def test_paths_keep_away_from_things_and_can_stay_level():
    for level in (False, True):
        paths = np.stack([free_path(seed, hall(), 33, level=level) for seed in range(12)])
        assert hall().clearance(paths[..., :3, 3]).min() >= CLEARANCE
        assert np.ptp(paths[..., :3, 3], axis=1).max() > 0.3
        assert level == bool(np.ptp(paths[..., 1, 3], axis=1).max() < 1e-9)
        assert level == bool(np.abs(paths[..., 1, 2]).max() < 1e-9), "no pitch"


@pytest.mark.parametrize("seed", [2, 20_000_001])
def test_one_frame_warped_is_the_other(needs, warp_psnr, seed):
    needs("labmaze", "mujoco")
    take = film(seed, 33, 64, 112)
    assert draw_maze(seed).clearance(take.c2w[:, :3, 3]).min() >= CLEARANCE
    warped, frozen, seen = warp_psnr(take)
    assert seen > 0.4 and warped > 24 and warped > frozen + 6


def test_a_seed_is_one_clip(needs):
    needs("labmaze", "mujoco")
    one, same, other = film(3, 2, 32, 48), film(3, 2, 32, 48), film(4, 2, 32, 48)
    for name in ("rgb", "depth", "c2w", "intrinsics"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.rgb, other.rgb)
