"""`sanawm evaluate` from the command line: one JSON line, resumed to the same numbers, clear refusals."""

import json
import sys

import pytest

from sanawm_env.cli.main import main
from sanawm_env.evaluation.report.summary import GOALS


def evaluate(out, *arguments):
    main(
        ["evaluate", "--checkpoint", "untrained", "--suite", "smoke", "--out", str(out), "--device", "cpu", *arguments]
    )


@pytest.mark.slow
def test_the_smoke_suite_prints_one_json_line_and_resumes(tmp_path, capsys):
    evaluate(tmp_path / "out", "--report")
    printed = capsys.readouterr().out.strip().splitlines()
    assert len(printed) == 1
    first = json.loads(printed[0])
    assert first["about"]["checkpoint"] == "untrained"
    assert [goal["name"] for goal in first["goals"]] == [goal.name for goal in GOALS] and len(GOALS) == 19
    assert first["cost"]["state_bytes"] > 0 and first["camera"]["paths"] == 1
    assert (tmp_path / "out" / "report.html").exists() and (tmp_path / "out" / "clips.png").exists()

    # Interrupted: one scene is missing and one is cut off in the middle. Everything else stays.
    (flow,) = (tmp_path / "out").glob("scenes/*/flow/*.json")
    (idle,) = (tmp_path / "out").glob("scenes/*/idle/*.json")
    flow.unlink()
    idle.write_text(idle.read_text()[:20])
    evaluate(tmp_path / "out")
    second = json.loads(capsys.readouterr().out)
    for part in ("psnr_db", "flow", "revisit", "drift", "idle", "random", "steps", "camera", "goals", "beyond"):
        assert second[part] == first[part], part


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chunk-frames", "9"], "chunk_frames must lie in 1.."),
        (["--steps", "0"], "steps"),
        (["--first-seed", "-5"], "first_seed"),
        (["--checkpoint", "no/such/folder"], "no/such/folder"),
        (["--threads", "2"], "belong to --ray"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        evaluate(tmp_path / "out", *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_out_must_not_be_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit):
        evaluate(tmp_path / "file")
    assert "is a file" in capsys.readouterr().err and (tmp_path / "file").read_text() == "mine"


def test_a_missing_extra_is_said_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "evo", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        evaluate(tmp_path / "out")
    assert "sanawm_env[eval]" in capsys.readouterr().err and not (tmp_path / "out").exists()
