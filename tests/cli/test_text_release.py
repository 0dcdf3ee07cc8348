"""Every command that makes frames, on a tiny release in the release's own layout: its prompts reach the world.

Quick here, with small suites and in one process. `SANAWM_COMMANDS=full` (`.ci/text`) runs the commands as users do.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from sanawm_env.cli.main import main
from sanawm_env.data.collection.store import Store
from sanawm_env.evaluation import suite
from sanawm_env.evaluation.bench import run as bench_run

FULL = os.environ.get("SANAWM_COMMANDS") == "full"
QUICK = ("--device", "cpu", "--steps", 1)
PLAY = ("--device", "cpu", "--max-steps", 2)
ROAD, STREET = "a wide road", "a quiet street"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(text_release):
    """Runs a command on the release; another exit code than 0 fails the test."""

    def run(*line, release=True):
        words = [str(word) for word in (*line, *(("-c", text_release) if release else ()))]
        if FULL:
            subprocess.run([sys.executable, "-m", "sanawm_env.cli", *words], check=True)
        else:
            main(words)

    return run


def last_line(capfd):
    return json.loads(capfd.readouterr().out.strip().splitlines()[-1])


def test_rollout_tells_the_world_and_replay_makes_the_same_bits(run, place):
    for name, prompt in (("road", ROAD), ("street", STREET)):
        run("rollout", *QUICK, "--actions", "w-8", "--prompt", prompt, "--out", f"{name}.mp4")
    road, street = (json.loads((place / f"{name}.json").read_text()) for name in ("road", "street"))
    assert road["prompt"] == ROAD and road["digests"][0] == street["digests"][0]
    assert road["digests"][1:] != street["digests"][1:]
    run("replay", "road.json", "street.json", release=False)


def test_collect_and_replay(run, place):
    (place / "prompts.txt").write_text(f"{ROAD}\n{STREET}\n")
    play = ("--policy", "random:smooth", *PLAY, "--env", "chunk_frames=1", "sampler_steps=1")
    run("collect", *play, "--prompts", "prompts.txt", "--episodes", 2, "--out", "data")
    recipes = [done["recipe"] for done in Store(place / "data").done().values()]
    assert [recipe["options"]["prompt"] for recipe in recipes] == [ROAD, STREET]
    run("replay", "data", release=False)


def test_ros2_record(run, place):
    pytest.importorskip("rosbags")
    run("ros2", "record", *QUICK, "--actions", "w-8", "--prompt", ROAD, "--out", "walk.mcap")
    assert (place / "walk.mcap").stat().st_size > 10_000


def test_evaluate(run, capfd, monkeypatch):
    monkeypatch.setitem(suite.SUITES, "smoke", suite.Suite("smoke", {"flow": 1, "drift": 1, "random": 1}, long_s=10.0))
    run("evaluate", *QUICK, "--suite", "smoke", "--out", "out", "--prompt", ROAD)
    summary = last_line(capfd)
    assert summary["about"]["depends_on"]["prompt"] == ROAD and summary["cost"]["state_bytes"] > 0


def test_bench_run(run, capfd, monkeypatch):
    monkeypatch.setattr(bench_run, "WINDOW_S", 1.0)  # in this process
    run("bench", "make", "--out", "bench", "--scenes", 1, "--frames", 169 if FULL else 33, release=False)
    run("bench", "run", *QUICK, "--bench", "bench")
    assert last_line(capfd)["scenes"] == 1


def test_evaluate_policy_with_a_planner(run, capfd):
    planner = "planner:shooting,frame_budget=16,horizon=1"
    world = ("--chunk-frames", 1, "--env", "sampler_steps=1", "--prompt", ROAD)
    run(
        "evaluate-policy",
        "--policy",
        "random:smooth",
        "--policy",
        planner,
        "--episodes",
        1,
        *PLAY,
        *world,
        "--json",
        "-",
    )
    found = last_line(capfd)
    assert found["about"]["prompt"] == ROAD
    assert [each["ending"] for each in found["episodes"]] == ["truncated"] * 2


def test_training_for_200_steps(text_release, place, monkeypatch):
    train = pytest.importorskip("sanawm_env.policies.sb3.train", exc_type=ImportError)
    line = "--out rl --steps 200 --envs 20 --max-episode-steps 5 --rollout-steps 5 --epochs 1 --eval-episodes 1 "
    words = [*line.split(), "--device", "cpu", "--checkpoint", str(text_release), "--prompt", ROAD]
    if FULL:
        subprocess.run([sys.executable, "-m", "sanawm_env.policies.sb3.train", *words], check=True)
    else:
        monkeypatch.setattr(sys, "argv", ["train", *words])
        train.main()
    last = json.loads((place / "rl" / "curve.jsonl").read_text().splitlines()[-1])
    assert last["steps"] == 200


def test_a_release_without_an_encoder_says_so_before_anything_is_made(text_release, place, capsys):
    bare = place / "bare"
    bare.mkdir()
    for part in ("sana_dit", "ltx2_causal_vae"):
        (bare / part).symlink_to(text_release / part)
    lines = (
        ("rollout", *QUICK, "--actions", "w-8", "--out", "out/x.mp4"),
        ("evaluate", *QUICK, "--suite", "smoke", "--out", "out"),
        ("evaluate-policy", "--policy", "random:smooth", *PLAY, "--out", "out"),
        ("ros2", "record", *QUICK, "--out", "out/walk.mcap"),
    )
    for line in lines:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in (*line, "-c", bare)])
        assert stop.value.code == 2 and "no text encoder lies beside it" in capsys.readouterr().err, line
    assert not (place / "out").exists()
