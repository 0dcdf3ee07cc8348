"""The benchmark of a busy machine runs with minimal sizes and prints one JSON line."""

import json
import os

import pytest

from benchmarks.busy_machine import Args, busy, main

SHORT = ["--checkpoint", "tiny", "--chunk-frames", "1", "--sampler-steps", "1", "--seconds", "0.01", "--rounds", "1"]


@pytest.mark.slow
def test_all_shares(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as on this machine or in CI: not to be measured
    main(SHORT)
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    ratios = ("idle_ratio", "share_2", "share_4", "share_async4", "plain_share_2")
    assert all(out[key] > 0 for key in ratios)
    speed = out["frames_per_s"]
    assert set(speed) == {"ours", "plain", "async4", "ours_beside_2", "ours_beside_4", "plain_beside_2"}
    assert out["share_async4"] == pytest.approx(speed["async4"] / speed["ours"], abs=0.02, rel=0.05)
    assert out["hardware"]["cpu"] and out["hardware"]["usable_cores"] >= 1
    assert {name: facts["frames_per_step"] for name, facts in out["processes"].items()} == {
        "ours": 4, "plain": 4, "async4": 16
    }  # fmt: skip
    assert out["processes"]["plain"]["spin_count"] != out["processes"]["ours"]["spin_count"] == "10000"
    if out["hardware"]["usable_cores"] > 1:
        assert out["hardware"]["threads"] > 1


def test_neighbours_end():
    import psutil

    here = psutil.Process(os.getpid())
    before = len(here.children())
    with busy(2):
        assert len(here.children()) == before + 2
    assert len(here.children()) == before


@pytest.mark.parametrize("changes", [{"seconds": 0.0}, {"rounds": 0}])
def test_bad_sizes(changes):
    with pytest.raises(ValueError):
        Args(**changes)


def test_bad_arguments_end_with_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--checkpoint", "no_such_world"])
    assert stop.value.code == 2 and "ended with exit code 1" in capsys.readouterr().err
