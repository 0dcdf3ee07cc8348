"""Curves against numbers worked out by hand, and intervals against theory."""

import json

import numpy as np
import pytest

from sanawm_env.evaluation.curves import by_family, curve, metric_curves

SECONDS = [0.5, 1.0, 2.0]


def table(scenes=40, seed=0):
    return np.random.default_rng(seed).normal([10, 20, 30], [1, 2, 4], (scenes, 3))


def test_mean_and_interval():
    values = table()
    found = curve(values, SECONDS)
    assert found.mean == pytest.approx(values.mean(0)) and found.count == (40, 40, 40)
    # Close to the normal interval, which holds for means of many scenes.
    half = 1.96 * values.std(0) / np.sqrt(40)
    assert found.low == pytest.approx(values.mean(0) - half, abs=0.15 * half.max())
    assert found.high == pytest.approx(values.mean(0) + half, abs=0.15 * half.max())
    narrow = curve(values, SECONDS, confidence=0.5)
    assert all(a < b < c < d for a, b, c, d in zip(found.low, narrow.low, narrow.high, found.high, strict=True))


def test_the_interval_covers():
    covered = 0
    for seed in range(60):
        found = curve(table(30, seed)[:, :1], [1.0])
        covered += found.low[0] <= 10 <= found.high[0]
    assert 50 <= covered <= 60  # 95 % nominal


def test_seeded():
    assert curve(table(), SECONDS) == curve(table(), SECONDS)
    assert curve(table(), SECONDS, seed=1).low != curve(table(), SECONDS).low


def test_nan_does_not_count():
    values = table(6)
    values[2, 0] = values[:5, 1] = values[:, 2] = np.nan
    found = curve(values, SECONDS)
    assert found.count == (5, 1, 0)
    assert found.mean == (pytest.approx(np.nanmean(values[:, 0])), values[5, 1], None)
    assert found.low[0] is not None and found.low[1:] == (None, None) and found.high[1:] == (None, None)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.filterwarnings("error")
def test_scenes_that_agree():
    found = curve(np.full((5, 3), 100.0), SECONDS)
    assert found.low == found.mean == found.high == (100.0, 100.0, 100.0)


def test_at_takes_the_nearest_moment():
    found = curve(table(), SECONDS)
    assert found.at(0.9) == {
        "seconds": 1.0,
        "mean": found.mean[1],
        "low": found.low[1],
        "high": found.high[1],
        "count": 40,
    }


def test_families():
    values, families = table(), ["room", "maze"] * 20
    found = by_family(values, families, SECONDS)
    assert list(found) == ["all", "maze", "room"]
    assert found["room"].mean == pytest.approx(values[::2].mean(0)) and found["room"].count == (20, 20, 20)
    assert found["all"] == curve(values, SECONDS)


def test_gains_are_paired():
    frozen = table() * 3  # scenes differ much more than the gain does
    curves = metric_curves("psnr", frozen + 2, {"frozen": frozen}, ["room"] * 40, SECONDS)
    gain = curves.gains["frozen"]["all"]
    assert gain.low == pytest.approx([2, 2, 2]) and gain.high == pytest.approx([2, 2, 2])
    assert curves.generated["all"].mean == pytest.approx(frozen.mean(0) + 2)
    distance = metric_curves("gmsd", frozen - 2, {"frozen": frozen}, ["room"] * 40, SECONDS, higher_is_better=False)
    assert distance.gains["frozen"]["room"].mean == pytest.approx([2, 2, 2])
    loaded = json.loads(json.dumps(curves.to_dict(), allow_nan=False))
    assert loaded["gains"]["frozen"]["room"]["mean"] == pytest.approx([2, 2, 2])


def test_bad_input_is_refused():
    for values, seconds in ((table()[0], SECONDS), (table(), [1.0]), (table()[:, :0], [])):
        with pytest.raises(ValueError, match="need values"):
            curve(values, seconds)
    with pytest.raises(ValueError, match="finite"):
        curve(np.full((2, 3), np.inf), SECONDS)
    with pytest.raises(ValueError, match="confidence"):
        curve(table(), SECONDS, confidence=95)
    with pytest.raises(ValueError, match="family names"):
        by_family(table(), ["room"], SECONDS)
    with pytest.raises(ValueError, match="baseline 'frozen'"):
        metric_curves("psnr", table(), {"frozen": table()[:3]}, ["room"] * 40, SECONDS)
