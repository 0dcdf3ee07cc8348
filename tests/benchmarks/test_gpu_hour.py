"""The command of a GPU hour: one JSON line, resumable, and clear about what cannot run. All of it runs in `.ci/gpu`."""

import json

import pytest

from benchmarks import gpu_hour
from benchmarks.gpu_hour import main

SMALL = ["--size", "small", "--device", "cpu"]


def test_one_stage_by_a_process_of_its_own_and_again_at_once(tmp_path, capsys, monkeypatch):
    arguments = [*SMALL, "--out", str(tmp_path / "hour"), "--stages", "refiner"]
    main(arguments)
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["stages"]["refiner"]["finished"] and found["stages"]["refiner"]["parts"] == 4
    assert found == json.loads((tmp_path / "hour/summary.json").read_text())
    monkeypatch.setattr(gpu_hour, "run_stage", lambda *_: pytest.fail("it has run already"))
    main(arguments)
    assert json.loads(capsys.readouterr().out) == found


def test_a_stage_over_its_time_is_ended_and_the_rest_goes_on(tmp_path, capsys):
    main([*SMALL, "--out", str(tmp_path), "--stages", "gpu_tests", "--stage-minutes", "0.0005"])
    found = json.loads(capsys.readouterr().out)
    assert not found["stages"]["gpu_tests"]["finished"] and found["goals"]["clip_stage1_s"] is None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--device", "cuda"], "no CUDA device"),
        (["--size", "release"], "true sizes need a GPU"),
        (["--stages", "nonsense"], "unknown stages"),
        (["--minutes", "0"], "must be positive"),
    ],
)
def test_bad_arguments_end_with_an_error(tmp_path, capsys, monkeypatch, more, says):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        main([*SMALL, "--out", str(tmp_path / "hour"), *more])
    assert stop.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "hour").exists()


def test_results_of_another_size_are_not_mixed(tmp_path, capsys):
    (tmp_path / "settings.json").write_text('{"size": "release", "device": "cuda"}')
    with pytest.raises(SystemExit):
        main([*SMALL, "--out", str(tmp_path)])
    assert "choose another --out" in capsys.readouterr().err


def test_base_keeps_the_minutes_of_the_first_call(tmp_path):
    from benchmarks.gpu_hour import Args, base_minutes

    args = Args(out=tmp_path, size="small", device="cpu")
    assert base_minutes(args, 40.0) == 1.0
    release = Args(out=tmp_path / "other")
    release.out.mkdir()
    assert base_minutes(release, 40.0) == base_minutes(release, 3.0) == 30.0
