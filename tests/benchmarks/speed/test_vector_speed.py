"""The vector benchmark runs on an untrained world and prints one JSON line."""

import json

import pytest

from benchmarks.speed.vector_speed import WAYS, Args, main, occupy

SHORT = ["--checkpoint", "untrained", "--chunk-frames", "1", "--sampler-steps", "1", "--steps", "2"]


def test_two_slots(capsys):
    main([*SHORT, "--slots", "1", "2", "--no-memory"])
    out = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert list(out["results"]) == ["1", "2"] and out["memory"] is None
    for found in out["results"].values():
        assert found["exact_identical"] is True and found["fast_difference"] <= 2
        assert all(found["frames_per_s"][way] > 0 for way in WAYS)
    assert out["hardware"]["cpu"] and out["torch"] and out["steps"] == 2


def test_what_a_slot_keeps_is_its_state_and_its_last_frames():
    args = Args(checkpoint="untrained", chunk_frames=1, sampler_steps=1)
    one, two = occupy(args, "exact", 1), occupy(args, "exact", 2)
    frames = 4 * (64 * 112 * 3 + 16 * 8)
    assert two["held"] - one["held"] == one["state_bytes"] + frames
    assert one["peak"] >= one["rss"] > 0 and set(occupy(args, "copies", 1)) == {"rss", "peak"}


@pytest.mark.parametrize("more", [["--steps", "0"], ["--slots", "0"], ["--chunk-frames", "9"]])
def test_bad_arguments_end_with_an_error(capsys, more):
    with pytest.raises(SystemExit) as stop:
        main([*SHORT, *more])
    assert stop.value.code == 2 and capsys.readouterr().err
