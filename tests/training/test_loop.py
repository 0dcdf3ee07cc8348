"""The outer loop: budget, log, saves and the learning rate's course."""

import json

import pytest

from sanawm_env.training.loop import learning_rate, train_for


def run(tmp_path, budget, per_step, save_every, before=0.0):
    now, saved = [0.0], []
    progress = {"step": 0, "clips": 0, "minutes": before}

    def step(minutes):
        now[0] = minutes + per_step
        return {"loss": 1.0, "norm": 2.0}, now[0]

    train_for(budget, step, saved.append, out=tmp_path, progress=progress, clips_per_step=4, save_every=save_every)
    return progress, saved


def test_it_stops_at_the_budget_and_saves_last(tmp_path):
    progress, saved = run(tmp_path, 10.0, 1.0, save_every=4.0)
    assert progress["step"] == 10 and progress["clips"] == 40
    assert saved == [4.0, 8.0, 10.0]


def test_no_budget_still_saves_what_was_loaded(tmp_path):
    progress, saved = run(tmp_path, 0.0, 1.0, save_every=4.0)
    assert progress["step"] == 0 and saved == [0.0]


def test_the_log_has_a_line_every_fifty_steps(tmp_path):
    run(tmp_path, 100.0, 1.0, save_every=1000.0, before=5.0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100]
    assert lines[0]["minutes"] == 55.0 and lines[0]["loss"] == pytest.approx(1.0)


def test_learning_rate_rises_stays_and_falls():
    def rate(step, minutes):
        return learning_rate(step, 10, minutes, budget=100.0, decay_share=0.5)

    assert rate(0, 0) == pytest.approx(0.1) and rate(9, 0) == 1 and rate(500, 40) == 1
    assert rate(900, 75) == pytest.approx(0.5)
    assert rate(1000, 100) == pytest.approx(0.02), "the last steps are small, not none"
