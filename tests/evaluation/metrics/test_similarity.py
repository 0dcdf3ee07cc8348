"""SSIM and GMSD against their definitions, worked out with scipy."""

from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import uniform_filter
from scipy.signal import convolve2d

from sanawm_env.evaluation.metrics.similarity import gmsd, luma, ssim


def picture(seed=0, height=40, width=56):
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)), (0, 0), 2)
    return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


def noised(image, amount, seed=1):
    noise = np.random.default_rng(seed).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def ssim_by_hand(a, b):
    """The formula in uniform windows, border included, each channel on its own."""
    a, b = a.astype(float), b.astype(float)
    mean = partial(uniform_filter, size=(11, 11, 1))
    x, y = mean(a), mean(b)
    var_x, var_y, both = mean(a * a) - x * x, mean(b * b) - y * y, mean(a * b) - x * y
    c1, c2 = 2.55**2, 7.65**2
    return ((2 * x * y + c1) * (2 * both + c2) / ((x * x + y * y + c1) * (var_x + var_y + c2))).mean()


@pytest.mark.parametrize("amount", [2, 20, 80])
@pytest.mark.parametrize("size", [(40, 56), (11, 11), (23, 30)])
def test_ssim_is_that_of_the_bench(amount, size):
    a = picture(0, *size)
    b = noised(a, amount)
    assert ssim(a, b) == pytest.approx(ssim_by_hand(a, b), abs=1e-12)


def gmsd_by_hand(a, b):
    """As the authors' MATLAB code reads, with 'same' cut out of the full convolution."""

    def edges(image):
        grey = image @ [0.299, 0.587, 0.114]
        half = convolve2d(grey, np.full((2, 2), 0.25))[1:, 1:][::2, ::2]
        kernel = np.array([[1, 0, -1]] * 3) / 3
        return np.hypot(convolve2d(half, kernel, mode="same"), convolve2d(half, kernel.T, mode="same"))

    x, y = edges(a), edges(b)
    return ((2 * x * y + 170) / (x**2 + y**2 + 170)).std()


@pytest.mark.parametrize("size", [(40, 56), (41, 57), (2, 3)])
def test_gmsd_is_the_published_one(size):
    a = picture(3, *size)
    b = noised(a, 25)
    assert gmsd(a, b) == pytest.approx(gmsd_by_hand(a, b), abs=1e-9)
    assert gmsd(a, b) > (0.01 if min(size) > 3 else 0)


def test_both_order_damage():
    clean = picture()
    blurred = np.stack([cv2.GaussianBlur(clean, (0, 0), s) for s in (0.8, 1.6, 3.2)])
    for damaged in (blurred, np.stack([noised(clean, s) for s in (4, 12, 36)])):
        assert (np.diff(ssim(damaged, clean)) < -0.01).all()
        assert (np.diff(gmsd(damaged, clean)) > 0.01).all()


IMAGES = hnp.arrays(np.uint8, (12, 14, 3))


@given(IMAGES, IMAGES)
@settings(max_examples=40, deadline=None)
def test_properties(a, b):
    assert ssim(a, a) == pytest.approx(1) and gmsd(a, a) == pytest.approx(0, abs=1e-7)
    assert ssim(a, b) == pytest.approx(ssim(b, a)) and gmsd(a, b) == pytest.approx(gmsd(b, a))
    assert -1 <= ssim(a, b) <= 1 and 0 <= gmsd(a, b) <= 0.5


@given(st.integers(0, 40))
@settings(max_examples=5, deadline=None)
def test_gmsd_does_not_see_brightness(shift):
    a = picture() // 2
    # Only the border of zeros, which the definition asks for, tells the two apart.
    assert gmsd(a, a + np.uint8(shift)) < 0.06
    assert shift < 20 or ssim(a, a + np.uint8(shift)) < 0.98


@pytest.mark.parametrize("metric", [ssim, gmsd])
def test_leading_axes(metric):
    video = np.stack([noised(picture(), s) for s in (3, 9, 27)])
    found = metric(video[None], np.stack([picture(), picture(1)])[:, None])
    assert found.shape == (2, 3) and found.dtype == np.float64
    assert found[1, 2] == metric(video[2], picture(1)) and metric(video[0], picture()).shape == ()


def test_luma():
    image = np.array([[[255, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    assert luma(image) == pytest.approx(np.array([[255 * 0.299, 255.0]]))


@pytest.mark.parametrize("metric", [ssim, gmsd])
def test_bad_input_is_refused(metric):
    with pytest.raises(ValueError, match="uint8"):
        metric(picture() / 255, picture())
    for other in (picture(0, 40, 55), picture()[..., :2], picture()[..., 0]):
        with pytest.raises(ValueError, match="one size"):
            metric(picture(), other)
    with pytest.raises(ValueError, match="at least"):
        metric(picture()[:1], picture()[:1])
