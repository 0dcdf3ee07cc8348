"""The speed benchmark runs on an untrained world and prints one JSON line."""

import json

import pytest

from benchmarks.core_speed import Args, main, resident_bytes

KEYS = (
    "frames_per_s", "time_ratio", "rss_ratio", "state_bytes_start", "state_bytes_end",
    "make_reset_s", "snapshot_ms", "restore_ms", "fork8_ms",
)  # fmt: skip
SHORT = ["--checkpoint", "untrained", "--chunk-frames", "1", "--sampler-steps", "1", "--steps", "10"]
SHORT += ["--early", "2", "4", "--late", "6", "8"]


def run(capsys, *more):
    main([*SHORT, *more])
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_with_replay(capsys):
    out = run(capsys, "--replay-from", "3", "--replay-steps", "4")
    assert all(out[key] > 0 for key in KEYS)
    assert out["state_bytes_start"] == out["state_bytes_end"]
    assert out["replay_identical"] is True and out["replay_steps"] == 4
    assert out["chunk_frames"] == 1 and out["steps"] == 10 and out["frames_per_step"] == 4
    assert out["hardware"]["threads"] >= 1 and out["hardware"]["cpu"] and out["torch"]


def test_without_replay(capsys):
    out = run(capsys, "--no-replay")
    assert "replay_identical" not in out and out["steps"] == 8


@pytest.mark.parametrize(
    "changes",
    [{"steps": 400}, {"early": (30, 10)}, {"early": (480, 500)}, {"replay_from": 0}, {"replay_from": 1000}],
)
def test_windows_that_do_not_fit(changes):
    with pytest.raises(ValueError):
        Args(**changes)


def test_bad_arguments_end_with_an_error(capsys):
    for more in (["--steps", "7"], ["--chunk-frames", "9"], ["--checkpoint", "no_such_world"]):
        with pytest.raises(SystemExit) as stop:
            main([*SHORT, "--replay-from", "3", *more])
        assert stop.value.code == 2 and capsys.readouterr().err


def test_resident_memory_grows_with_a_large_array():
    before = resident_bytes()
    block = bytearray(b"x" * 40_000_000)
    assert resident_bytes() - before > 20_000_000
    del block
