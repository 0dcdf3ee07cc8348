"""The contact benchmark: contact agrees with its truth where depth is true."""

import json
import math

import pytest

from benchmarks.contact import main


def test_with_true_depth_contact_and_truth_agree(capsys):
    main(["--checkpoint", "untrained", "--seeds", "20000005:20000007", "--walk", "4", "--moves", "12"])
    lines = capsys.readouterr().out.strip().splitlines()
    out = json.loads(lines[-1])
    assert out["seeds"] == "20000005:20000007" and out["held_out"]
    for name in ("blocked_of_hits", "shortened_of_free", "depth_median_error"):
        assert name in out
    low, high = out["shortened_of_free_95"]
    assert low <= out["shortened_of_free"] <= high
    perfect = out["true_depth"]
    assert perfect["hits"] >= 5 and perfect["free"] >= 20
    assert perfect["blocked_of_hits"] >= 0.9 and perfect["shortened_of_free"] <= 0.05
    counts = [out[kind + end] for kind in ("hits", "free") for end in ("", "_beyond")]
    assert sum(counts) == 2 * 5 * 12
    for group in ("by_family", "by_step"):
        assert sum(part["hits"] for part in out[group].values()) == out["hits"]
    assert math.isfinite(out["scale_median_error"])


@pytest.mark.parametrize("argument", ["--seeds=5:5", "--checkpoint=tiny", "--checkpoint=nowhere", "--body.radius=0"])
def test_bad_arguments(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and not captured.out and captured.err


@pytest.mark.parametrize("argument", ["--walk=-1", "--moves=0"])
def test_bad_counts(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument])
    assert stop.value.code == 2
