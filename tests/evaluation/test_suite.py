"""A suite runs every part once, stores it, and goes on where it stopped with the same result."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.evaluation import suite as suite_module
from sanawm_env.evaluation.parts import PARTS, Setting, load_scene, step_schedules
from sanawm_env.evaluation.report.summary import GOALS, Goal, summarize_results
from sanawm_env.evaluation.suite import SUITES, Suite, run_suite
from sanawm_env.world.model import WorldModel

SEED = 20_000_003


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained()


@pytest.fixture(scope="module")
def results(world, tmp_path_factory):
    """All parts, the long ones shortened to two windows."""
    small = Suite("test", {part: 2 if part in ("fidelity", "revisit") else 1 for part in PARTS}, long_s=20.0)
    return run_suite(world, small, SEED, Setting(), tmp_path_factory.mktemp("suite"), progress=False)


@pytest.mark.slow
def test_every_part_gives_its_numbers(results):
    summary = summarize_results(results)
    json.dumps(summary, allow_nan=False)
    assert summary["scenes"] == 2 and summary["revisit"]["scenes"] == 2
    assert set(summary["gain_frozen_db"]) == {"0.25", "0.5", "1", "2", "3", "4", "5"}
    assert len(summary["drift"]["windows"]["generated"]["sharpness"]) == 2
    assert summary["camera"]["paths"] == summary["camera_of_true_renders"]["paths"] == 2
    assert summary["random"]["rollouts"] == 1
    assert summary["cost"]["frames_per_s"] > 0 and summary["cost"]["useful"]["rollouts"] == 1
    assert set(summary["steps"]["below_30"]) == {"own", "1", "2", "4"}
    assert [goal["name"] for goal in summary["goals"]] == [goal.name for goal in GOALS]
    assert all(goal["met"] is None or isinstance(goal["met"], bool) for goal in summary["goals"])


@pytest.mark.slow
def test_an_untrained_world_reaches_no_goal_of_fidelity(results):
    met = {goal["name"]: goal["met"] for goal in summarize_results(results)["goals"]}
    assert not met["PSNR gain over the frozen frame at 1 s, dB"]
    assert not met["PSNR gain over the nearest homography at 1 s, dB"]


def test_an_interrupted_suite_resumes_to_the_same_result(world, tmp_path, monkeypatch):
    """The third piece of work breaks; the second call does only what is missing."""
    calls = []

    def part(name, breaks=False):
        def run(_world, seed, setting):
            calls.append((name, seed))
            if breaks and len(calls) == 3:
                raise KeyboardInterrupt
            return {"value": np.random.default_rng(seed).random(), "long_s": setting.long_s}

        return run

    suite = Suite("test", {"flow": 2, "idle": 2}, long_s=7.0)
    monkeypatch.setattr(suite_module, "PARTS", {"flow": part("flow"), "idle": part("idle", breaks=True)})
    with pytest.raises(KeyboardInterrupt):
        run_suite(world, suite, SEED, Setting(), tmp_path / "a", progress=False)
    done = run_suite(world, suite, SEED, Setting(), tmp_path / "a", progress=False)
    assert calls == [("flow", SEED), ("flow", SEED + 1), ("idle", SEED), ("idle", SEED), ("idle", SEED + 1)]
    assert done["idle"][SEED]["long_s"] == 7.0

    monkeypatch.setattr(suite_module, "PARTS", {"flow": part("flow"), "idle": part("idle")})
    assert run_suite(world, suite, SEED, Setting(), tmp_path / "b", progress=False) == done
    calls.clear()
    run_suite(world, suite, SEED, Setting(sigmas=(1.0, 0.0)), tmp_path / "a", progress=False)
    assert len(calls) == 4, "another sampler shares no results"


def test_suites_use_held_out_scenes_of_known_parts():
    for suite in SUITES.values():
        assert set(suite.scenes) <= set(PARTS)
    assert SUITES["full"].scenes["fidelity"] >= 40 and SUITES["full"].scenes["random"] >= 100
    assert SUITES["full"].long_s == 60


def test_schedules_have_the_named_number_of_steps(world):
    schedules = step_schedules(world)
    assert {name: len(s) - 1 for name, s in schedules.items() if name != "own"} == {"1": 1, "2": 2, "4": 4, "30": 30}
    assert all(s[0] == 1 and s[-1] == 0 for s in schedules.values())


def test_a_scene_renders_only_what_is_asked_for(world):
    whole, some = load_scene(world, SEED, 1.0), load_scene(world, SEED, 1.0, every=8)
    assert whole.truth.shape[0] == 17 and some.truth.shape[0] == 3
    assert np.array_equal(whole.truth[::8], some.truth)
    assert np.allclose(whole.c2w[0], np.eye(4))
    # The ground lies below: up has a negative y in OpenCV axes, whatever the pitch.
    assert whole.up[1] < -0.8 and np.isclose(np.linalg.norm(whole.up), 1)


@pytest.mark.parametrize(
    ("value", "at_least", "met"), [(2.0, True, True), (0.5, True, False), (0.5, False, True), (2.0, False, False)]
)
def test_goals_know_their_direction(value, at_least, met):
    goal = Goal("x", ("a", "b"), 1.0, at_least)
    assert goal.judge({"a": {"b": value}})["met"] is met
    assert goal.judge({"a": {}})["met"] is None and goal.judge({})["met"] is None


def test_a_single_colour_scene_is_not_hidden(results):
    """A collapsed or non-finite rollout shows in the count."""
    row = dict(next(iter(results["random"].values())), collapsed_frames=0, collapsed_at_end=False, finite=True)
    broken = {1: dict(row, collapsed_frames=3), 2: dict(row, finite=False), 3: row}
    broken[4] = dict(row, collapsed_frames=9, collapsed_at_end=True)
    found = summarize_results({"random": broken})["random"]
    assert found["collapsed"] == 3 and found["lost"] == 2, "a state that is not finite is lost"


def test_setting_is_part_of_the_key(world, tmp_path):
    assert replace(Setting(), chunk_frames=1) != Setting()
