"""What trials add up to, checked against sums by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.evaluation.policy.table import Estimate, format_table, summarize_trials
from sanawm_env.evaluation.policy.trials import Trial


def trial(seed=0, success=True, policy="a", task="PointNav", reason=None, **changes):
    measures = {"success": float(success), "spl": 0.5 * success, "soft_spl": 0.6, "distance_to_goal": 0.1}
    values = {
        "policy": policy,
        "task": task,
        "seed": seed,
        "ending": "failed" if reason else "terminated" if success else "truncated",
        "reason": reason,
        "steps": 10,
        "reward": 2.0,
        "frames": 120,
        "imagined": 0,
        "seconds": 1.0,
        "measures": measures | {"path_length": 3.0},
    }
    return Trial(**(values | changes))


def cell(text, label, column=0):
    (line,) = (line for line in text.splitlines() if line.startswith(label))
    return [part for part in line[len(label) :].split("  ") if part.strip()][column].strip()


def test_means_and_costs():
    (found,) = summarize_trials(
        [
            trial(0, steps=4, reward=1.0, frames=48, imagined=1000, seconds=3.0),
            trial(1, steps=8, reward=3.0, frames=96, imagined=2000, seconds=5.0),
            trial(2, success=False, steps=12, reward=-1.0, frames=144, imagined=0, seconds=1.0),
        ]
    )
    assert (found.episodes, found.terminated, found.truncated, found.failed) == (3, 2, 1, 0)
    means = {key: estimate.mean for key, estimate in found.metrics.items()}
    assert means == pytest.approx(
        {
            "success": 2 / 3,
            "spl": 1 / 3,
            "soft_spl": 0.6,
            "distance_to_goal": 0.1,
            "return": 1.0,
            "steps": 8.0,
            "path_length": 3.0,
        }
    )
    assert found.frames_per_episode == pytest.approx((48 + 96 + 144 + 3000) / 3)
    assert (found.imagined_per_episode, found.seconds_per_episode) == (1000, 3)
    assert found.frames_per_success == pytest.approx((48 + 96 + 144 + 3000) / 2)
    assert found.gains == {} and found.baseline is None


def test_failed_episodes_score_nothing_and_have_no_end():
    broken = trial(1, reason="step: NaN", steps=2, reward=-5.0, frames=24)
    (found,) = summarize_trials([trial(0), broken])
    assert (found.terminated, found.failed) == (1, 1)
    scores = {key: found.metrics[key].mean for key in ("success", "spl", "soft_spl")}
    assert scores == pytest.approx({"success": 0.5, "spl": 0.25, "soft_spl": 0.3})
    for key, value in {"return": 2.0, "steps": 10.0, "path_length": 3.0, "distance_to_goal": 0.1}.items():
        assert (found.metrics[key].mean, found.metrics[key].count) == (pytest.approx(value), 1)
    assert found.frames_per_episode == 72 and found.frames_per_success == 144  # paid for all the same
    text = format_table([found])
    assert "PointNav, a: 1 of 2 episodes failed (seeds 1): step: NaN" in text and cell(text, "failed") == "1"


def test_all_failed():
    reason = "reset: RuntimeError: no world"
    found = summarize_trials([trial(i, reason=reason, measures={}, frames=0) for i in range(7)])
    text = format_table(found)
    assert cell(text, "success") == "0.00 [0.00, 0.00]" and cell(text, "return") == "-"
    assert cell(text, "frames per success") == "-" and "SPL" not in text
    assert f"7 of 7 episodes failed (seeds 0, 1, 2, 3, 4, ...): {reason}" in text
    assert "confidence the rate" not in text  # nothing was learnt about the policy's skill


def test_gains_are_paired_by_seed():
    # Every world differs much, and the second policy is better by 0.1 in each: the pairing sees that.
    levels = np.linspace(0, 0.9, 10)
    ours = [trial(i, policy="b", measures={"success": 0.0, "soft_spl": x + 0.1}) for i, x in enumerate(levels)]
    theirs = [trial(i, measures={"success": 0.0, "soft_spl": x}) for i, x in enumerate(levels)]
    first, second = summarize_trials(theirs + ours[::-1] + [trial(77, policy="b")])
    assert first.baseline is None and second.baseline == "a"
    gain = second.gains["soft_spl"]
    assert (gain.mean, gain.low, gain.high, gain.count) == (*[pytest.approx(0.1)] * 3, 10)
    assert first.metrics["soft_spl"].high - first.metrics["soft_spl"].low > 0.3
    assert cell(format_table([first, second]), "soft SPL, gain over first", 1) == "0.10 [0.10, 0.10]"


def test_tasks_have_the_columns_that_they_can_have():
    explored = trial(task="Explore", measures={"success": 0.0, "coverage": 0.25, "path_length": 1.0})
    looped = trial(task="LoopClosure", measures={"success": 1.0, "spl": 1.0, "revisit_psnr": 21.5})
    text = format_table(summarize_trials([explored, looped]))
    explore, loop = text.split("\n\n")[:2]
    assert explore.startswith("Explore\n") and cell(explore, "coverage") == "0.25"
    assert "SPL" not in explore and "goal" not in explore and "PSNR" not in explore
    assert cell(loop, "revisit PSNR, dB") == "21.50" and "coverage" not in loop


def test_order_is_that_of_appearance():
    names = [("t2", "p2"), ("t2", "p1"), ("t1", "p2"), ("t1", "p1")]
    found = summarize_trials([trial(task=task, policy=policy) for task, policy in names])
    assert [(each.task, each.policy) for each in found] == names


def test_agreement_is_not_certainty():
    text = format_table(summarize_trials([trial(i) for i in range(20)]))
    assert cell(text, "success") == "1.00 [1.00, 1.00]"
    assert "all of 20 episodes" in text and "at least 0.86 (or at most 0.14)" in text  # 0.05 ** (1 / 20)
    mixed = summarize_trials([trial(i, success=i > 0) for i in range(20)])
    assert "confidence the rate" not in format_table(mixed)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_policies_that_do_not_fit_go_below(width):
    names = [f"policy-{i}" for i in range(6)]
    text = format_table(summarize_trials([trial(s, policy=name) for name in names for s in (0, 1)]), width)
    tables = [block for block in text.split("\n\n") if block.startswith("PointNav")]
    assert len(tables) == {40: 6, 80: 3, 120: 2}[width]
    assert [word for table in tables for word in table.splitlines()[1].split()] == names
    if width > 40:  # one column is always shown
        assert max(len(line) for table in tables for line in table.splitlines()) <= width


def test_one_episode_has_no_interval():
    assert str(Estimate.of([0.25])) == "0.25" and str(Estimate.of([])) == "-" and str(Estimate.of([-0.001])) == "0.00"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ok", "late", "bad"]), st.floats(0, 1)), min_size=1, max_size=8))
def test_counts_add_up_and_intervals_hold_their_mean(endings):
    trials = []
    for seed, (ending, value) in enumerate(endings):
        reason = "why" if ending == "bad" else None
        trials.append(trial(seed, ending == "ok", reason=reason, measures={"success": ending == "ok", "spl": value}))
    (found,) = summarize_trials(trials)
    assert found.terminated + found.truncated + found.failed == found.episodes == len(endings)
    assert sum(map(len, found.failures.values())) == found.failed
    assert found.metrics["success"].mean == pytest.approx(np.mean([ending == "ok" for ending, _ in endings]))
    for estimate in found.metrics.values():
        if estimate.low is not None:
            assert estimate.low - 1e-12 <= estimate.mean <= estimate.high + 1e-12
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["episodes"] == len(endings)
    assert format_table([found])
