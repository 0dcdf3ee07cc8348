from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.camera import Intrinsics, fit_geometry, fit_image, load_intrinsics

VECTOR = np.array([500.0, 510.0, 321.0, 239.0])
MATRIX = np.array([[500.0, 0, 321], [0, 510, 239], [0, 0, 1]])
sides = st.integers(8, 300)


@settings(max_examples=50, deadline=None)
@given(sides, sides, sides, sides, st.floats(-0.8, 0.8), st.floats(-0.8, 0.8))
def test_resize_and_crop_follow_a_projected_point(
    source_width: int, source_height: int, width: int, height: int, x: float, y: float
) -> None:
    before = Intrinsics(np.array([90.0, 80.0, source_width / 3, source_height / 2]), source_width, source_height)
    (resized_width, resized_height), (left, top) = fit_geometry(source_width, source_height, width, height)
    after = before.resized(resized_width, resized_height).cropped(left, top, width, height)
    point = np.array([x, y, 1.0])
    pixel = (before.matrix() @ point)[:2]
    moved = pixel * [resized_width / source_width, resized_height / source_height] - [left, top]
    np.testing.assert_allclose((after.matrix() @ point)[:2], moved, atol=1e-9)
    assert resized_width >= width and resized_height >= height
    assert left >= 0 and left + width <= resized_width
    assert top >= 0 and top + height <= resized_height


@pytest.mark.parametrize("array", [VECTOR, MATRIX, np.tile(VECTOR, (5, 1)), np.tile(MATRIX, (5, 1, 1))])
def test_layouts(array: np.ndarray) -> None:
    intrinsics = Intrinsics.from_any(array, 640, 480)
    np.testing.assert_array_equal(intrinsics.values.reshape(-1, 4)[-1], VECTOR)
    np.testing.assert_array_equal(intrinsics.matrix().reshape(-1, 3, 3)[-1], MATRIX)
    assert intrinsics.per_frame(5).shape == (5, 4)


@pytest.mark.parametrize("fov", [25.0, 70.0, 90.0, 120.0])
def test_field_of_view(fov: float) -> None:
    intrinsics = Intrinsics.from_fov(fov, 1280, 704)
    assert intrinsics.horizontal_fov_deg == pytest.approx(fov)
    np.testing.assert_array_equal(intrinsics.values[2:], [640, 352])
    assert intrinsics.resized(40, 22).horizontal_fov_deg == pytest.approx(fov)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([0, 500, 320, 240], "positive"),
        ([500, -1, 320, 240], "positive"),
        ([500, np.nan, 320, 240], "NaN"),
        (np.where(MATRIX == 500, np.nan, MATRIX), "NaN"),
        ([500, 320, 240], "shape"),
        (np.eye(2), "shape"),
        (np.zeros((2, 2, 4)), "shape"),
        (np.tile([500.0, -1, 320, 240], (4, 1)), "positive"),
        (np.add(MATRIX, [[0, 1, 0], [0, 0, 0], [0, 0, 0]]), "skew"),
        (MATRIX.T, "transpose"),
    ],
)
def test_bad_values(array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Intrinsics.from_any(array, 640, 480)


PROJECTION = np.c_[MATRIX, np.zeros(3)]
HOMOGENEOUS = np.vstack([PROJECTION, [0, 0, 0, 1]])


@pytest.mark.parametrize("array", [PROJECTION, HOMOGENEOUS, np.stack([PROJECTION] * 3), np.stack([HOMOGENEOUS] * 3)])
def test_projection_matrices_without_a_pose(array: np.ndarray) -> None:
    intrinsics = Intrinsics.from_any(array, 640, 480)
    assert intrinsics.values.shape == (*array.shape[:-2], 4)
    np.testing.assert_array_equal(intrinsics.values.reshape(-1, 4)[-1], VECTOR)


@pytest.mark.parametrize("count", [3, 4])
def test_rows_are_no_projection_matrix(count: int) -> None:
    np.testing.assert_array_equal(Intrinsics.from_any(np.tile(VECTOR, (count, 1)), 640, 480).values[-1], VECTOR)


@pytest.mark.parametrize(
    "array",
    [
        PROJECTION + np.eye(3, 4, 3),
        HOMOGENEOUS + np.eye(4, 4, 3),
        HOMOGENEOUS * 2,
        np.stack([PROJECTION + np.eye(3, 4, 3)]),
    ],
)
def test_a_pose_in_the_matrix_is_named(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"projection matrices of shape.*pose"):
        Intrinsics.from_any(array, 640, 480)


@pytest.mark.parametrize("array", [VECTOR[None], MATRIX[None], PROJECTION[None]])
def test_one_row_is_constant(array: np.ndarray) -> None:
    per_frame = Intrinsics.from_any(array, 640, 480).per_frame(7)
    np.testing.assert_array_equal(per_frame, np.tile(VECTOR, (7, 1)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([0.78, 1.39, 0.5, 0.5], r"look normalised: multiply fx and cx by the width \(1280\)"),
        ([[0.78, 0, 0.5], [0, 1.39, 0.5], [0, 0, 1]], "look normalised"),
        (np.tile([0.78, 1.39, 0.5, 0.5], (5, 1)), "look normalised"),
        ([1.5, 2.0, 0, 0], "look normalised"),  # coordinates from -1 to 1
        ([800, 1.39, 640, 360], "179"),
        ([100, 100, 640, 360], "another unit"),
        (np.stack([[800, 800, 640, 360], [90, 90, 640, 360]]), "another unit"),
        ([1600, 1600, 1280, 720], "about 2560x1440"),
        ([400, 400, 320, 180], "about 640x360"),
        ([800, 800, 1270, 360], "crop beside the middle"),
        ([800, 800, 640, -5], "crop beside the middle"),
    ],
)
def test_cameras_that_cannot_have_taken_the_image(array, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Intrinsics.from_any(array, 1280, 720)
    np.save(tmp_path / "k.npy", np.asarray(array, float))
    with pytest.raises(ValueError, match=message):
        load_intrinsics(tmp_path / "k.npy", 1280, 720)


@pytest.mark.parametrize(
    "array",
    [
        [1280 / 2 / np.tan(np.deg2rad(70)), 700, 640, 360],  # 140 degrees
        [60000, 60000, 640, 360],  # a telescope
        [800, 800, 660, 510],  # a lens shifted up by a fifth
        [800, 800, 340, 360],
    ],
)
def test_unusual_cameras_pass(array) -> None:
    np.testing.assert_array_equal(Intrinsics.from_any(array, 1280, 720).values, array)


def test_crops_beside_the_middle_have_a_way_in() -> None:
    corner = Intrinsics(np.array([800.0, 800, 640, 360]), 1280, 720).cropped(0, 0, 640, 360)
    np.testing.assert_array_equal(corner.values[2:], [640, 360])


def test_other_errors() -> None:
    with pytest.raises(ValueError, match="between 0 and 180"):
        Intrinsics.from_fov(180, 64, 64)
    with pytest.raises(ValueError, match="image size"):
        Intrinsics(VECTOR, 0, 480)
    with pytest.raises(ValueError, match="from_any"):
        Intrinsics(MATRIX, 640, 480)
    with pytest.raises(ValueError, match="3 frames"):
        Intrinsics(np.tile(VECTOR, (5, 1)), 640, 480).per_frame(3)


def test_values_cannot_be_changed_behind_its_back() -> None:
    source = VECTOR.copy()
    intrinsics = Intrinsics(source, 640, 480)
    source[:] = 1
    np.testing.assert_array_equal(intrinsics.values, VECTOR)
    with pytest.raises(ValueError):
        intrinsics.values[0] = 1


def test_fit_image_keeps_the_centre() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[18:22, 38:42] = 255
    fitted, intrinsics = fit_image(image, Intrinsics.from_fov(90, 80, 40), 32, 32)
    assert fitted.shape == (32, 32, 3) and fitted.dtype == np.uint8
    assert fitted[16, 16].min() > 200 and fitted[:8].max() == 0
    np.testing.assert_allclose(intrinsics.values, [32, 32, 16, 16])
    same, none = fit_image(fitted, None, 32, 32)
    assert none is None
    np.testing.assert_array_equal(same, fitted)


def test_fit_image_errors() -> None:
    with pytest.raises(ValueError, match="uint8"):
        fit_image(np.zeros((4, 4, 3), np.float32), None, 8, 8)
    with pytest.raises(ValueError, match="resized"):
        fit_image(np.zeros((4, 4, 3), np.uint8), Intrinsics(VECTOR, 640, 480), 8, 8)


def test_load_intrinsics(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", MATRIX)
    np.testing.assert_array_equal(load_intrinsics(tmp_path / "k.npy", 640, 480).values, VECTOR)
    np.save(tmp_path / "bad.npy", -VECTOR)
    with pytest.raises(ValueError, match=r"bad\.npy.*positive"):
        load_intrinsics(tmp_path / "bad.npy", 640, 480)
