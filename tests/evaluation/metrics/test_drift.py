"""Looks of pictures whose faults are known; windows; idle; collapse."""

import json
import math

import cv2
import numpy as np
import pytest
from skimage.measure import blur_effect

from sanawm_env.evaluation.metrics.drift import COLLAPSE_STD, collapsed, drift, idle_stability, is_collapsed, look
from sanawm_env.evaluation.metrics.similarity import luma


def picture(seed=0, sigma=1.0, height=48, width=64):
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)), (0, 0), sigma)
    return ((image - image.min()) / np.ptp(image) * 200 + 25).astype(np.uint8)


def flat(value, *lead):
    return np.full((*lead, 12, 16, 3), value, dtype=np.uint8)


def ramp(step):
    return np.repeat((np.arange(32) * step).astype(np.uint8)[None, :, None], 24, axis=0).repeat(3, axis=2)


def test_sharpness_is_the_gradient_energy():
    # `step` levels per pixel everywhere but in the two border columns, where OpenCV reflects and the slope is 0.
    for step in (2, 6):
        assert look(ramp(step)).sharpness == pytest.approx(step**2 * 30 / 32)
    assert look(flat(90)).sharpness == 0


def test_blur_lowers_sharpness_and_quality():
    looks = [look(cv2.GaussianBlur(picture(), (0, 0), s) if s else picture()) for s in (0, 1, 2, 4)]
    for name in ("sharpness", "quality", "contrast"):
        assert (np.diff([getattr(each, name) for each in looks]) < 0).all(), name


def test_a_checkerboard_is_noise_and_not_sharpness():
    image = cv2.GaussianBlur(picture(), (0, 0), 2)
    board = np.indices(image.shape[:2]).sum(0)[..., None] % 2 * 8
    before, after = look(image), look(image + board.astype(np.uint8))
    assert after.sharpness == pytest.approx(before.sharpness, rel=0.05) and after.noise > before.noise + 5
    laplacian = [cv2.Laplacian(luma(i), cv2.CV_64F).var() for i in (image, image + board.astype(np.uint8))]
    assert laplacian[1] > 5 * laplacian[0]  # why it is not the measure


@pytest.mark.parametrize("amount", [2.0, 8.0])
def test_noise_is_measured_in_levels(amount):
    rng = np.random.default_rng(0)
    grey = np.full((128, 160), 120) + rng.normal(0, amount, (128, 160))
    image = np.round(grey).astype(np.uint8)[..., None].repeat(3, -1)
    assert look(image).noise == pytest.approx(amount, rel=0.05)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 4.0])
def test_quality_agrees_with_scikit_images_blur_effect(sigma):
    image = picture(1, sigma, 96, 128)
    # Theirs takes Sobel differences in place of neighbours', so equal only roughly.
    assert 1 - look(image).quality == pytest.approx(blur_effect(luma(image), h_size=9), abs=0.1)


def test_quality_does_not_depend_on_contrast():
    low = (picture() // 2 + 60).astype(np.uint8)
    assert look(low).quality == pytest.approx(look(picture()).quality, abs=0.02)
    assert look(low).contrast == pytest.approx(look(picture()).contrast / 2, rel=0.02)
    assert look(flat(90)).quality == 0


def test_colours():
    image = flat(0)
    image[:, :8] = [200, 100, 50]
    found = look(image)
    assert (found.red, found.green, found.blue) == (100, 50, 25)
    assert found.contrast == pytest.approx((100 + 50 + 25) / 3)
    assert found.saturation == pytest.approx(0.75 / 2)  # (200 - 50) / 200 on one half, black on the other
    assert found.clipped == 0.5


def test_windows():
    sharp, soft = picture(), cv2.GaussianBlur(picture(), (0, 0), 2)
    video = np.stack([sharp] * 8 + [soft] * 4 + [soft, sharp, sharp, sharp] + [flat(0, 1)[0].repeat(4, 0).repeat(4, 1)])
    found = drift(video, fps=4, window_s=1)
    assert len(found.windows) == 4  # one frame is left out
    assert found.windows[0] == found.windows[1] == look(sharp) and found.windows[2] == look(soft)
    mixed = 0.25 * look(soft).sharpness + 0.75 * look(sharp).sharpness
    assert found.windows[3].sharpness == pytest.approx(mixed)
    assert found.delta["sharpness"] == pytest.approx(look(sharp).sharpness - mixed)
    assert found.ratio["sharpness"] == pytest.approx(mixed / look(sharp).sharpness)
    assert found.ratio["clipped"] is None  # nothing was clipped at first
    loaded = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(loaded["windows"]) == 4 and loaded["delta"]["sharpness"] > 0


def test_a_minute_has_six_windows():
    video = np.broadcast_to(picture()[:4, :4], (961, 4, 4, 3))
    found = drift(video, fps=16)
    assert len(found.windows) == 6 and found.ratio["sharpness"] == pytest.approx(1)


def test_short_videos_are_refused():
    with pytest.raises(ValueError, match=r"160 frames at 16 per second; the video has 159"):
        drift(flat(3, 159), fps=16)
    for bad in (flat(3), flat(3, 2) / 255, flat(3, 2)[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            drift(bad, fps=16)
    with pytest.raises(ValueError, match="positive"):
        drift(flat(3, 20), fps=0)
    with pytest.raises(ValueError, match="look needs"):
        look(flat(3)[:2])


def test_idle():
    video = np.stack([flat(100), flat(110), flat(110), flat(112), flat(116), flat(116), flat(121)])
    found = idle_stability(video, fps=2)
    assert found.psnr_db == pytest.approx([20 * math.log10(255 / e) for e in (10, 16, 21)])
    assert found.psnr_last_db == found.psnr_db[-1]
    # The jump from the given frame does not count.
    assert found.flicker == pytest.approx(np.mean([0, 2, 4, 0, 5])) and found.flicker_max == 5
    json.dumps(found.to_dict(), allow_nan=False)
    assert idle_stability(video, fps=16).psnr_db == pytest.approx([found.psnr_last_db])
    with pytest.raises(ValueError, match="3 frames"):
        idle_stability(video[:2], fps=2)


def test_flicker_does_not_wrap_round():
    assert idle_stability(np.stack([flat(0), flat(250), flat(0), flat(250)]), fps=1).flicker == 250


def test_collapse():
    video = np.stack([picture(), np.full_like(picture(), 90), picture(1)])
    assert collapsed(video).tolist() == [False, True, False] and is_collapsed(video)
    assert not is_collapsed(video[::2]) and collapsed(video[None]).shape == (1, 3)
    one_colour = np.tile(np.array([250, 20, 90], dtype=np.uint8), (12, 16, 1))  # channels differ, pixels do not
    assert is_collapsed(one_colour)


def test_the_threshold_of_collapse():
    board = np.indices((12, 16)).sum(0)[..., None] % 2 * np.ones(3)  # standard deviation 1/2 per level
    assert is_collapsed((100 + 3 * board).astype(np.uint8)) and not is_collapsed((100 + 5 * board).astype(np.uint8))
    assert is_collapsed(0.5 + 1.9 * COLLAPSE_STD * board) and not is_collapsed(0.5 + 2.1 * COLLAPSE_STD * board)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_collapse(value):
    video = np.stack([picture(), picture(1)]).astype(np.float32) / 255
    assert not is_collapsed(video)
    video[1, 3, 4, 1] = value
    assert collapsed(video).tolist() == [False, True]
    with pytest.raises(ValueError, match="uint8 or floats"):
        is_collapsed(np.zeros((4, 5, 3), dtype=int))
