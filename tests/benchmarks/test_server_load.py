"""The load test runs with minimal sizes and prints one JSON line."""

import json

import pytest

from benchmarks.server_load import main


@pytest.mark.slow
def test_its_line(capsys):
    main(["--sessions", "1", "2", "--seconds", "1", "--sampler-steps", "1", "--same-steps", "3", "--pairs", "3"])
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert out["same_bits"] is True and out["same_steps"] == 3
    for table in ("p50_ms", "p95_ms", "frames_per_s", "evenness"):
        assert set(out[table]) == {"1", "2"} and all(value > 0 for value in out[table].values())
    best, median = out["remote_ms"]
    assert 0 < best <= median and out["paired_ms"][1] == round(median - out["local_ms"][1], 2)
    assert out["fps_min_over_max"] == min(out["evenness"].values())
    assert out["session_bytes"] == 2 * out["snapshot_bytes"] > 0 and out["hardware"]["cpu"]
