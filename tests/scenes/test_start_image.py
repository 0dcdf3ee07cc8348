"""Pictures as they come, and the cameras that took them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sanawm_env.camera import Intrinsics
from sanawm_env.scenes.start_image import FittedImage, fit, prepare, read_image

CAMERA = {"intrinsics": None, "fov_deg": None, "default_fov_deg": 70.0}


def phone(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    picture = np.dstack([np.tile(ramp, (90, 1)), np.tile(ramp[::-1], (90, 1)), np.zeros((90, 160), np.uint8)])
    Image.fromarray(picture).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_file_and_its_pil_image_are_the_same_picture(tmp_path: Path, orientation: int) -> None:
    path = phone(tmp_path / "phone.jpg", orientation)
    by_path = read_image(path)
    assert by_path.shape == ((160, 90, 3) if orientation > 4 else (90, 160, 3))
    with Image.open(path) as opened:
        assert np.array_equal(read_image(opened), by_path)
        assert opened.getexif()[0x0112] == orientation and opened.size == (160, 90)  # not changed for its owner
    with Image.open(path) as opened:
        opened.load()
        assert np.array_equal(read_image(opened.copy()), by_path)


def test_turning_twice_changes_nothing(tmp_path: Path) -> None:
    from PIL import ImageOps

    path = phone(tmp_path / "phone.jpg", 6)
    with Image.open(path) as opened:
        assert np.array_equal(read_image(ImageOps.exif_transpose(opened)), read_image(path))


def test_a_truncated_pil_image_is_refused_like_its_file(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(path)
    with Image.open(path) as opened, pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(opened)


def test_fitted_once_equals_prepared_each_time() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 500, 3), np.uint8)
    fitted = fit(picture, 112, 64)
    for camera in (
        CAMERA,
        CAMERA | {"fov_deg": 50.0},
        CAMERA | {"intrinsics": [400.0, 410, 245, 155]},
        CAMERA | {"intrinsics": Intrinsics(np.array([[400.0, 410, 245, 155]] * 2), 500, 300)},
    ):
        fresh = prepare(picture, 112, 64, **camera)
        for again in (fitted.start(**camera), prepare(fitted, 112, 64, **camera)):
            assert np.array_equal(again.image, fresh.image) and np.array_equal(again.intrinsics, fresh.intrinsics)
            assert again.fov_assumed is fresh.fov_assumed is (camera is CAMERA)


def test_starts_share_no_memory() -> None:
    fitted = fit(np.full((100, 100, 3), 7, np.uint8), 32, 32)
    fitted.start(**CAMERA).image[:] = 0
    assert (fitted.start(**CAMERA).image == 7).all()
    with pytest.raises(ValueError):
        fitted.image[:] = 0


def test_a_start_does_not_look_at_the_source_again(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (64, 64)).save(path)
    fitted = fit(path, 32, 32)
    path.unlink()
    assert isinstance(fitted, FittedImage) and fitted.source_size == (64, 64)
    assert fitted.start(**CAMERA).image.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ({"intrinsics": [0.8, 0.8, 0.5, 0.5]}, "look normalised"),
        ({"intrinsics": Intrinsics(np.array([0.8, 0.8, 0.5, 0.5]), 640, 360)}, "look normalised"),
        ({"intrinsics": Intrinsics(np.array([300.0, 300, 160, 90]), 320, 180)}, r"resized\(640, 360\)"),
        ({"intrinsics": [500.0, 500, 320, 180], "fov_deg": 60.0}, "not both"),
        ({"fov_deg": 180.0}, "between 0 and 180"),
    ],
)
def test_bad_cameras(camera: dict, message: str) -> None:
    picture = np.zeros((360, 640, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        prepare(picture, 112, 64, **(CAMERA | camera))
    with pytest.raises(ValueError, match=message):
        fit(picture, 112, 64).start(**(CAMERA | camera))


def test_an_intrinsics_object_may_belong_to_a_crop() -> None:
    corner = Intrinsics(np.array([500.0, 500, 640, 360]), 1280, 720).cropped(0, 0, 640, 360)
    start = prepare(np.zeros((360, 640, 3), np.uint8), 64, 36, **(CAMERA | {"intrinsics": corner}))
    np.testing.assert_allclose(start.intrinsics, [50, 50, 64, 36])
