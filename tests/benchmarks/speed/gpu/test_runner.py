"""Stages of a GPU hour: what a part leaves, what goes on after a kill, and when a stage is finished."""

import json

import pytest

from benchmarks.speed.gpu import runner, stages
from benchmarks.speed.gpu.runner import read, run
from benchmarks.speed.gpu.stages import STAGES, Part, Settings, Stage
from benchmarks.speed.gpu.summary import finished, goals, summarize


class Made(Stage):
    """A stage of given parts."""

    def parts(self, settings):
        return iter(self.about)


def stage(**works):
    return Made("worlds", [Part(name, work) for name, work in works.items()])


def settings(tmp_path, minutes=9.0):
    return Settings("small", "cpu", tmp_path, stage_minutes=minutes)


def test_a_part_that_fails_is_noted_and_the_next_runs(tmp_path):
    run(stage(bad=lambda: 1 / 0, good=lambda: {"ms": 3}), settings(tmp_path))
    assert read(tmp_path / "worlds/bad.json")["error"] == "ZeroDivisionError: division by zero"
    assert read(tmp_path / "worlds/good.json")["result"] == {"ms": 3}
    assert finished(tmp_path, "worlds")
    summary = summarize(tmp_path)["stages"]["worlds"]
    assert (summary["parts"], summary["results"], list(summary["errors"])) == (2, 1, ["bad"])


def test_it_goes_on_where_it_was_interrupted(tmp_path):
    calls = []

    def interrupted():
        calls.append("second")
        if calls.count("second") == 1:
            raise KeyboardInterrupt
        return {}

    parts = stage(first=lambda: calls.append("first") or {}, second=interrupted, third=lambda: {})
    with pytest.raises(KeyboardInterrupt):
        run(parts, settings(tmp_path))
    assert not finished(tmp_path, "worlds") and read(tmp_path / "worlds/second.json") == {"begun": 1}
    run(parts, settings(tmp_path))
    assert calls == ["first", "second", "second"] and finished(tmp_path, "worlds")


def test_what_ends_its_process_twice_is_left_out(tmp_path):
    def killed():
        raise SystemExit(137)

    parts = stage(killed=killed, after=lambda: {})
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(parts, settings(tmp_path))
    assert not finished(tmp_path, "worlds")
    run(parts, settings(tmp_path))
    assert read(tmp_path / "worlds/killed.json")["error"] == "ended its process 2 times"
    assert "result" in read(tmp_path / "worlds/after.json") and finished(tmp_path, "worlds")


def test_a_part_that_does_not_fit_waits_for_the_next_process(tmp_path):
    parts = Made("worlds", [Part("short", dict, 0.1), Part("long", dict, 8.0)])
    run(parts, settings(tmp_path, minutes=7.0))
    assert "result" in read(tmp_path / "worlds/short.json") and not finished(tmp_path, "worlds")
    run(parts, settings(tmp_path, minutes=7.0))  # alone it gets all the time there is
    assert finished(tmp_path, "worlds")


def test_half_a_file_is_no_result(tmp_path):
    (tmp_path / "x.json").write_text('{"result": 1')
    assert read(tmp_path / "x.json") == read(tmp_path / "none.json") == {}


def test_goals_take_the_best_way():
    ways = {
        "eager-1": {"clip_stage1_s": 14.0, "chunk_p95_over_p50": 1.02, "frames_per_s": 60.0},
        "captured-1": {"clip_stage1_s": 9.5, "chunk_p95_over_p50": 1.3, "frames_per_s": 90.0},
        "captured-8": {"clip_stage1_s": 60.0, "chunk_p95_over_p50": 1.0, "frames_per_s": 120.0},
        "machine": {"gpu": "one"},
    }
    found = goals(ways)
    assert found["clip_stage1_s"] == {"way": "captured", "value": 9.5, "goal": 10.0, "met": True}
    assert found["chunk_p95_over_p50"]["way"] == "eager" and found["chunk_p95_over_p50"]["met"]
    assert found["eight_slots_over_one"] == {"way": "captured", "value": 1.3333, "goal": 1.5, "met": False}
    assert goals({}) == dict.fromkeys(found)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("size", ["release", "small"])
def test_every_stage_names_its_parts_once(stage, size, tmp_path):
    device = "cpu" if size == "small" else "cuda"
    if size == "release" and stage.name == "ways":
        pytest.skip("asks the GPU for its name")
    names = [part.name for part in stage.parts(Settings(size, device, tmp_path, base_minutes=30.0))]
    assert names and len(set(names)) == len(names)
    assert all(name == name.strip() and "/" not in name for name in names)


def test_every_import_travels():
    lines = (runner.Path(stages.__file__).parent / "wheels.txt").read_text().splitlines()
    carried = {line.split(">")[0].split("=")[0].strip() for line in lines if line and not line.startswith("#")}
    assert {name for stage in STAGES for name in stage.imports} <= carried


def test_the_process_takes_its_settings(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(runner, "run", lambda *given: seen.append(given))
    runner.main(["worlds", json.dumps({"size": "small", "device": "cpu", "out": str(tmp_path), "stage_minutes": 2})])
    assert seen[0][0].name == "worlds" and seen[0][1] == Settings("small", "cpu", tmp_path, stage_minutes=2)
