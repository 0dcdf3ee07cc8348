from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.data.annotation import scale
from sanawm_env.data.annotation.structure.adjustment import Checks
from sanawm_env.data.annotation.structure.agreement import Apart
from sanawm_env.data.annotation.structure.mapping import Model
from sanawm_env.data.annotation.structure.solve import Solution
from tests.data.annotation.conftest import LENS, path

HEIGHT = 1.3
UNIT = 0.37
"""Metres of a unit of the path."""


def solution(seed=0):
    """Cameras 1.3 m over a floor with a wall behind it, in a unit of 0.37 m."""
    rng = np.random.default_rng(seed)
    floor = np.column_stack([rng.uniform(-3, 3, 150), rng.normal(HEIGHT, 0.004, 150), rng.uniform(1, 8, 150)])
    wall = np.column_stack([rng.uniform(-3, 3, 150), rng.uniform(-2, HEIGHT, 150), rng.normal(8, 0.01, 150)])
    points = np.concatenate([floor, wall])
    c2w = path(33, (1.0, 0.0, 0.6))
    c2w[:, 1, 3] = 0
    keys = (0, 16, 32)
    seen = []
    for key in keys:
        local = (points - c2w[key, :3, 3]) @ c2w[key, :3, :3]
        at = local[:, :2] / local[:, 2:] * LENS[:2] + LENS[2:]
        rows = np.nonzero((local[:, 2] > 0) & (at > 0).all(1) & (at < [256, 192]).all(1))[0]
        seen.append((rows, at[rows]))
    c2w[:, :3, 3] /= UNIT
    checks = Checks(Apart(0.001, 0.01), 0.0, 1.0, 0.0)
    model = Model(c2w[list(keys)], LENS, points / UNIT, np.full(len(points), -1), tuple(seen), 0.2, 5.0, checks)
    return Solution(c2w, LENS, {"halves_apart": [0.01, 0.02]}, (), model, keys)


PICTURES = [np.zeros((192, 256, 3), np.uint8)] * 3


def test_height_over_the_floor():
    found = scale.from_camera_height(HEIGHT)(solution(), PICTURES, 0)
    assert found.factor == pytest.approx(UNIT, rel=0.01) and found.uncertainty < 0.1


def test_no_floor_is_told():
    given = solution()
    above = given.model.points[given.model.points[:, 1] < HEIGHT / UNIT - 0.3]
    given = replace(given, model=replace(given.model, points=above))
    with pytest.raises(scale.NoScale, match="no floor"):
        scale.from_camera_height(HEIGHT)(given, PICTURES, 0)
    with pytest.raises(scale.NoScale, match="no point"):
        scale.from_camera_height(HEIGHT)(replace(given, model=None), PICTURES, 0)


def test_a_known_distance():
    given = solution()
    metres = float(np.linalg.norm(given.c2w[32, :3, 3] - given.c2w[0, :3, 3]) * UNIT)
    found = scale.from_distance(0, 32, metres)(given, PICTURES, 0)
    assert found.factor == pytest.approx(UNIT) and found.uncertainty == 0.02
    with pytest.raises(scale.NoScale, match="no frame 99"):
        scale.from_distance(0, 99, 1.0)(given, PICTURES, 0)
    with pytest.raises(ValueError, match="positive"):
        scale.from_distance(0, 1, 0.0)


def test_a_depth_model_that_errs_now_and_then():
    given = solution()
    calls = iter(range(3))

    def model(picture):
        number = next(calls)
        rows, seen = given.model.seen[number]
        c2w = given.model.c2w[number]
        depth = np.full(picture.shape[:2], np.nan)
        ours = ((given.model.points[rows] - c2w[:3, 3]) @ c2w[:3, :3])[:, 2] * UNIT
        wild = np.where(np.arange(len(rows)) % 10 == 0, 3.0, 1.0)  # a tenth is far off
        depth[seen[:, 1].astype(int), seen[:, 0].astype(int)] = ours * wild
        return depth

    found = scale.from_depth(model, "mine")(given, PICTURES, 0)
    assert found.factor == pytest.approx(UNIT, rel=0.03) and "mine, 3 frames" in found.source


def test_a_depth_model_of_another_shape_or_without_an_answer():
    with pytest.raises(ValueError, match="one value a pixel"):
        scale.from_depth(lambda picture: np.ones((4, 4)))(solution(), PICTURES, 0)
    with pytest.raises(scale.NoScale, match="says nothing"):
        scale.from_depth(lambda picture: np.full(picture.shape[:2], np.nan))(solution(), PICTURES, 0)


def test_the_moving_average_has_no_bias_to_the_first():
    assert scale._moving([2.0]) == pytest.approx(2.0)
    assert scale._moving([1.0, 3.0]) == pytest.approx(2.0, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100))
def test_umeyama_finds_the_scale_despite_outliers(seed, factor):
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 1, (60, 3))
    b = factor * Rotation.random(random_state=seed).apply(a) + rng.normal(0, 5, 3)
    b[:3] += factor * 0.5
    assert scale.umeyama(a, b)[0] == pytest.approx(factor, rel=0.02)


def test_odometry_and_gps(tmp_path):
    given = solution()
    metres = given.c2w[:, :3, 3] * UNIT
    lines = [f"{100 + index / 16} {x} {y} {z} 0 0 0 1" for index, (x, y, z) in enumerate(metres)]
    (tmp_path / "odom.txt").write_text("# t x y z\n" + "\n".join(lines))
    times, positions = scale.read_positions(tmp_path / "odom.txt")
    found = scale.from_positions(times, positions, "odom")(given, PICTURES, 0)
    assert found.factor == pytest.approx(UNIT, rel=1e-3)
    with pytest.raises(scale.NoScale, match="clocks"):
        scale.from_positions(times, positions, "odom")(given, PICTURES, 50)
    lines = [
        f"{index / 16},{52 + z / 111_320},{13 + x / 111_320 / np.cos(np.deg2rad(52))},{-y}"
        for index, (x, y, z) in enumerate(metres)
    ]
    (tmp_path / "gps.csv").write_text("\n".join(lines))
    times, positions = scale.read_positions(tmp_path / "gps.csv", gps=True)
    assert scale.from_positions(times, positions, "gps")(given, PICTURES, 0).factor == pytest.approx(UNIT, rel=1e-3)


@pytest.mark.parametrize("text", ["", "1 2 3\n", "a b c d\n", "0 1 1 1\n0 1 1 1\n1 1 1 1\n"])
def test_other_files_are_named(tmp_path, text):
    (tmp_path / "odom.txt").write_text(text)
    with pytest.raises(ValueError, match=r"odom\.txt"):
        scale.read_positions(tmp_path / "odom.txt")


def test_a_path_that_is_another_one():
    given = solution()
    wrong = np.random.default_rng(0).normal(0, 1, (33, 3))
    with pytest.raises(scale.NoScale, match="of its extent apart"):
        scale.from_positions(np.arange(33) / 16, np.cumsum(wrong, 0), "odom")(given, PICTURES, 0)
