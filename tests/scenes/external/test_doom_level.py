"""A Doom level's free ground and exact depth, on a level built by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from sanawm_env.scenes.external.doom_level import Ground, Level

FOCAL = np.array([16.0, 16.0, 16.0, 8.0])


def ring(x0, y0, x1, y1, blocking=True):
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return [
        SimpleNamespace(x1=a[0], y1=a[1], x2=b[0], y2=b[1], is_blocking=blocking)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]


@pytest.fixture
def level():
    """A room of 400 by 200, 100 high, a step of 16 at its east end, and behind that a niche with a low ceiling."""
    door = SimpleNamespace(x1=300.0, y1=0.0, x2=300.0, y2=200.0, is_blocking=False)
    niche = SimpleNamespace(x1=400.0, y1=0.0, x2=400.0, y2=200.0, is_blocking=False)
    west, step, end = ring(0.0, 0.0, 300.0, 200.0), ring(300.0, 0.0, 400.0, 200.0), ring(400.0, 0.0, 450.0, 200.0)
    west[1], step[3], step[1], end[3] = door, door, niche, niche
    return Level.read(
        [
            SimpleNamespace(floor_height=0.0, ceiling_height=100.0, lines=west),
            SimpleNamespace(floor_height=16.0, ceiling_height=100.0, lines=step),
            SimpleNamespace(floor_height=16.0, ceiling_height=80.0, lines=end),
        ]
    )


def test_lines_know_both_sides(level):
    assert len(level.lines) == 10 and (level.sides[:, 1] >= 0).sum() == 2
    assert [level.sector_at(x, 100.0) for x in (150, 350, 420, 500, -1)] == [0, 1, 2, -1, -1]


def test_depth_of_walls_floors_steps_and_lintels(level):
    depth = level.depth(np.array([100.0, 100.0, 41.0]), 0.0, FOCAL, 16, 32)
    slope = (np.arange(16) + 0.5 - 8) / 16
    middle = depth[:, 16]
    for row, z in enumerate(middle):
        height = 41 - slope[row] * z  # of what is seen there
        if slope[row] > 0 and z < 200:
            assert height == pytest.approx(0), "the floor before the step"
        elif z == pytest.approx(200):
            assert 0 <= height <= 16, "the step"
        elif z == pytest.approx(300):
            assert 80 <= height <= 100, "the lintel of the niche"
        elif z == pytest.approx(350):
            assert 16 <= height <= 80, "the wall at the end"
        else:
            assert height == pytest.approx(16) or height in (pytest.approx(100), pytest.approx(80))
    assert {200.0, 350.0} <= set(middle.round(6))
    # To the north there is nothing but the room's own wall, 100 away.
    north = level.depth(np.array([100.0, 100.0, 41.0]), np.pi / 2, FOCAL, 16, 32)
    assert north.max() == pytest.approx(100) and north[8, 16] == pytest.approx(100)


def test_ground_ends_at_steps_and_walls(level):
    pieces = level.grounds()
    assert pieces[0] != pieces[1] == pieces[2]
    ground = Ground(level, pieces == pieces[0], unit=10.0, margin=0.5)
    assert ground.bounds == (0.0, 30.0, 0.0, 20.0)
    points = np.array([[15.0, -1.0, 10.0], [29.0, -9.0, 10.0], [31.0, 0.0, 10.0], [5.0, 0.0, 3.0]])
    np.testing.assert_allclose(ground.clearance(points), [9.5, 0.5, -1.5, 2.5])
    assert ground.clearance(points[None]).shape == (1, 4)
