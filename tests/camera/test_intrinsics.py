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
        (np.eye(4), "positive"),
        (np.add(MATRIX, [[0, 1, 0], [0, 0, 0], [0, 0, 0]]), "skew"),
        (MATRIX.T, "transpose"),
    ],
)
def test_bad_values(array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Intrinsics.from_any(array, 640, 480)


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
