"""PSNR against numbers worked out by hand."""

import math

import numpy as np
import pytest

from sanawm_env.evaluation import PsnrGain, psnr_gain
from sanawm_env.evaluation.metrics.psnr import CEILING_DB, psnr


def flat(value, *lead):
    return np.full((*lead, 4, 6, 3), value, dtype=np.uint8)


def test_psnr_of_constant_errors():
    # An error of e everywhere has PSNR 20 log10(255 / e).
    assert psnr(flat(110), flat(100)) == pytest.approx(20 * math.log10(25.5))
    assert psnr(flat(0), flat(255)) == pytest.approx(0.0)
    half = flat(100)
    half[:2] += 20  # half of the pixels off by 20: mean square 200
    assert psnr(half, flat(100)) == pytest.approx(10 * math.log10(255**2 / 200))


def test_order_does_not_wrap_round():
    assert psnr(flat(100), flat(110)) == psnr(flat(110), flat(100))


def test_equal_images_are_finite():
    assert psnr(flat(7), flat(7)) == CEILING_DB


def test_leading_axes_broadcast():
    video = np.stack([flat(100), flat(110), flat(120)])
    found = psnr(video, flat(100))
    assert found.shape == (3,) and found[0] == CEILING_DB
    assert found[1] - found[2] == pytest.approx(20 * math.log10(2))


def test_gain_is_generated_minus_frozen():
    truth = np.stack([flat(100), flat(120)])[None]
    made = np.stack([flat(100), flat(118)])[None]
    gain = psnr_gain(made, truth, 1)
    assert gain.gain_db == pytest.approx([20 * math.log10(10)])  # off by 2 in place of 20
    assert gain.counted == 1 and gain.mean(gain.gain_db) == pytest.approx(20.0)


def test_only_moving_scenes_count():
    # Frozen errors: 20 (22 dB), 8 (30.07 dB), 0: only the first is below 30 dB.
    truth = np.stack([np.stack([flat(100), flat(100 + e)]) for e in (20, 8, 0)])
    made = truth.copy()
    made[:, 1] += 5
    gain = psnr_gain(made, truth, 1)
    assert gain.moving.tolist() == [True, False, False] and gain.counted == 1
    assert gain.mean(gain.gain_db) == pytest.approx(20 * math.log10(20 / 5))
    still = psnr_gain(made[1:], truth[1:], 1)
    assert still.counted == 0 and still.mean(still.gain_db) is None
    joined = PsnrGain.cat([still, gain])
    assert joined.moving.tolist() == [False, False, True, False, False]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        psnr(flat(1).astype(np.float32), flat(1))
    with pytest.raises(ValueError, match="one size"):
        psnr(flat(1)[:3], flat(1))
    video = flat(1, 2, 3)
    with pytest.raises(ValueError, match="one shape"):
        psnr_gain(video, video[:1], 1)
    for frame in (0, 3, -1):
        with pytest.raises(ValueError, match=r"1\.\.2"):
            psnr_gain(video, video, frame)
