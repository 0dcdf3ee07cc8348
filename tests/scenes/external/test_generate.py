"""The generator of textured clips, with a source that needs no other package."""

import json

import numpy as np
import pytest

from sanawm_env.cli import main
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.external import labmaze
from sanawm_env.scenes.external.generate import SOURCES, Plan, Source, generate
from sanawm_env.scenes.external.source import Take
from sanawm_env.scenes.posed_clips import list_clips
from sanawm_env.scenes.seeds import EVAL_SEEDS, WORLD_SEEDS


def procedural(seed: int, frames: int, height: int, width: int) -> Take:
    made = make_clips([seed], frames, height, width)
    rgb, depth, c2w, intrinsics = (value[0].numpy() for value in (made.rgb, made.depth, made.c2w, made.intrinsics))
    return Take(rgb, depth, c2w.astype(np.float64), intrinsics.astype(np.float64))


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "labmaze", Source((), "CC0"))
    monkeypatch.setattr(labmaze, "film", procedural)


def plan(**changes) -> Plan:
    return Plan(**{"source": "labmaze", "clips": 2, "held_out": 1, "frames": 3, "height": 16, "width": 32} | changes)


def test_an_interrupted_run_goes_on_and_a_longer_one_keeps_what_is_there(source, tmp_path):
    count, made = generate(plan(), tmp_path / "ds")
    assert count == 3 and next(made).figures == {"seed": EVAL_SEEDS[0], "held_out": True}
    count, made = generate(plan(), tmp_path / "ds")
    assert count == 2 and [clip.figures["seed"] for clip in made] == [0, 1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ds").rglob("*.npz")}
    count, made = generate(plan(clips=3), tmp_path / "ds")
    assert count == len(list(made)) == 1
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    clips = list_clips(tmp_path / "ds")
    assert [clip.figures["held_out"] for clip in clips] == [False] * 3 + [True]
    one = clips[1]
    truth = procedural(1, 3, 16, 32)
    assert one.metric and one.license == "CC0" and one.source == "labmaze"
    np.testing.assert_array_equal(np.stack(list(one.frames())), truth.rgb)
    np.testing.assert_array_equal(one.depth(), truth.depth.astype(np.float16))
    np.testing.assert_allclose(one.c2w, np.linalg.inv(truth.c2w[0]) @ truth.c2w, atol=1e-6)
    np.testing.assert_allclose(one.intrinsics, np.tile(truth.intrinsics, (3, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "quake"}, "labmaze"),
        ({"clips": 0, "held_out": 0}, "nothing to make"),
        ({"frames": 1}, "at least 2 frames"),
        ({"seed": WORLD_SEEDS[0]}, "kept for the environment"),
        ({"seed": 8_999_999}, "kept for validation"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_made(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_clips_of_another_size_stay(source, tmp_path):
    list(generate(plan(), tmp_path)[1])
    with pytest.raises(ValueError, match=r"16x32, not 3 of 32x32; choose another folder"):
        generate(plan(height=32), tmp_path)


def test_a_missing_package_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, "labmaze", Source(("no_such_package",), "CC0"))
    with pytest.raises(SystemExit):
        main(["data", "generate", "--source", "labmaze", "--out", str(tmp_path / "ds")])
    assert 'pip install "sanawm_env[labmaze]"' in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()


def test_the_command_makes_a_dataset(source, tmp_path, capsys):
    out = tmp_path / "ds"
    line = ["data", "generate", "--source", "labmaze", "--out", str(out), "--clips", "1", "--held-out", "1"]
    main([*line, "--frames", "2", "--size", "16", "32"])
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "clips": 1, "held_out": 1, "made": 2}
    assert len(list_clips(out)) == 2
