"""Cost: sums that can be done by hand, and a meter that measures something."""

import json
import math
from pathlib import Path

import pytest

from sanawm_env.evaluation.policy.cost import Cost, Meter, RolloutQuality, Thresholds, cost_per_useful, peak_rss_bytes

GOOD = RolloutQuality(10.0, rot_err_deg=1.0, trans_err=0.05, drift=0.02)


def test_rates():
    cost = Cost(480, 60.0, 1000, None, 300)
    assert cost.frames_per_s == 8
    assert cost.videos_per_hour == pytest.approx(3600 / (960 / 8))  # two minutes for a minute of video
    assert Cost(480, 60.0, 1000, None, video_frames=161).videos_per_hour == pytest.approx(3600 / 20)
    assert Cost(0, 0.0, None, None).frames_per_s is None and Cost(0, 0.0, None, None).videos_per_hour is None
    assert json.loads(json.dumps(cost.to_dict()))["frames_per_s"] == 8


def test_meter():
    with Meter() as meter:
        total = sum(range(10_000))
    cost = meter.cost(16, state_bytes=7)
    assert total and cost.seconds > 0 and cost.seconds == meter.seconds
    assert cost.frames == 16 and cost.state_bytes == 7 and cost.peak_cuda_bytes is None


def test_a_meter_lets_errors_through():
    with pytest.raises(KeyError), Meter():
        raise KeyError


def test_peak_memory_is_in_bytes():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc to compare with")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert peak_rss_bytes() == pytest.approx(int(line.split()[1]) * 1024, rel=0.05)


def test_every_test_counts():
    useful = Thresholds()
    assert useful.accepts(GOOD)
    for name, bad in (("rot_err_deg", 3.1), ("trans_err", 0.11), ("drift", 0.2)):
        for value in (bad, math.nan, None):
            outcome = RolloutQuality(**{**vars(GOOD), name: value})
            assert not useful.accepts(outcome), (name, value)
            assert useful.judges(outcome) == (value == bad)
            off = Thresholds(**{**vars(useful), f"max_{name}": None})
            assert off.accepts(outcome) and off.judges(outcome)
    assert not Thresholds(None, None, None).accepts(RolloutQuality(1.0, collapsed=True))


def test_thresholds_are_met_by_equality():
    assert Thresholds(1.0, 0.05, 0.02).accepts(GOOD)


def test_useless_rollouts_are_paid_for():
    outcomes = [GOOD, GOOD, RolloutQuality(30.0, 9.0, 0.05, 0.02), RolloutQuality(20.0, None, None, 0.02)]
    found = cost_per_useful(outcomes)
    assert (found.rollouts, found.useful, found.unjudged, found.seconds) == (4, 2, 1, 70.0)
    assert found.seconds_per_useful == 35
    strict = cost_per_useful(outcomes, Thresholds(max_drift=0.01))
    assert strict.useful == 0 and strict.seconds_per_useful is None
    loaded = json.loads(json.dumps(strict.to_dict()))
    assert loaded["thresholds"]["max_drift"] == 0.01 and loaded["seconds_per_useful"] is None
    with pytest.raises(ValueError, match="no rollout"):
        cost_per_useful([])
