"""`sanawm evaluate-policy` from the command line, on an untrained world."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sanawm_env
from sanawm_env.cli.common.specs import make_task, parse_spec, read_tasks
from sanawm_env.cli.main import main
from sanawm_env.evaluation.policy.table import Summary
from sanawm_env.registration import TASK_NAMES

QUICK = ("-c", "untrained", "--device", "cpu", "--chunk-frames", "1", "--env", "sampler_steps=1", "max_translation=0.5")
F = 4

POLICIES = """
import numpy as np

class Still:
    begun = -1  # a policy is made anew for each episode
    def __init__(self, spoil=None):
        self.spoil = spoil
    def begin(self, env, observation, info):
        Still.begun += 1
        self.episode = Still.begun
    def act(self, observation, info):
        if self.episode == 1 and self.spoil == "nan":
            return np.full(6, np.nan)
        if self.episode == 1 and self.spoil == "stop":
            raise KeyboardInterrupt
        if self.spoil == "raise":
            raise RuntimeError("no idea")
        return np.zeros(6)
"""


@pytest.fixture(autouse=True)
def own_policies(tmp_path, monkeypatch):
    """A user's module in the working folder; gives the prefix of its policies' names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"policies_of_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(POLICIES)
    return f"{name}:Still"


def evaluate(*arguments):
    main(["evaluate-policy", *QUICK, *map(str, arguments)])


def refused(capsys, *arguments, plain=False):
    """Its one line."""
    with pytest.raises(SystemExit) as end:
        main(["evaluate-policy", *(() if plain else QUICK), *map(str, arguments)])
    assert end.value.code == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sanawm: error: ") and captured.out == ""
    return lines[0]


def frames_of(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_table_and_its_json(capsys, tmp_path):
    evaluate("--policy", "scripted:follow", "--task", "PointNav", "--episodes", 3, "--json", "out.json")
    text = capsys.readouterr().out
    for label in ("success", "SPL", "soft SPL", "distance to goal, m", "return", "steps", "path length, m"):
        assert any(line.startswith(label) and "[" in line for line in text.splitlines()), label
    assert "frames per success" in text and "reset seeds 1000000..1000002" in text and "(60 s)" in text
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["about"]["seeds"] == [1000000, 1000001, 1000002] and found["about"]["complete"]
    assert [episode["seed"] for episode in found["episodes"]] == found["about"]["seeds"]
    (summary,) = found["summaries"]
    assert summary["metrics"]["success"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "count": 3}
    assert summary["metrics"]["spl"]["mean"] > 0.95 and set(summary) == set(Summary.__dataclass_fields__)
    assert all(episode["frames"] == F * episode["steps"] for episode in found["episodes"])


def test_json_alone_on_the_standard_output(capsys, own_policies):
    evaluate("--policy", own_policies, "--seeds", 7, 3, "--max-steps", 2, "--json", "-")
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [(e["seed"], e["ending"], e["steps"]) for e in found["episodes"]] == [
        (7, "truncated", 2),
        (3, "truncated", 2),
    ]
    assert found["about"]["max_steps"] == 2
    assert "may have been used to train" in captured.err  # seeds below the held-out ones


def test_policies_with_settings_are_compared_on_equal_worlds(capsys, own_policies):
    names = [own_policies, "random:smooth,seed=3", "planner:shooting,frame_budget=24,horizon=2"]
    options = [word for name in names for word in ("--policy", name)]
    evaluate(*options, "--task", "PointNav,distance=(1.5,1.5)", "--episodes", 2, "--max-steps", 2, "--json", "-")
    found = json.loads(capsys.readouterr().out)
    assert [s["policy"] for s in found["summaries"]] == names
    assert [s["baseline"] for s in found["summaries"]] == [None, own_policies, own_policies]
    still, _, planner = found["summaries"]
    assert still["metrics"]["distance_to_goal"]["mean"] == pytest.approx(1.5)  # the task's setting
    assert still["imagined_per_episode"] == 0 and 0 < planner["imagined_per_episode"] <= 2 * 24
    assert planner["gains"]["soft_spl"]["count"] == 2


def without_seconds(found):
    return [{key: value for key, value in episode.items() if key != "seconds"} for episode in found["episodes"]]


def test_an_episode_is_the_same_alone_and_among_others(capsys):
    options = ("--policy", "random:smooth", "--max-steps", 2, "--json", "-")
    evaluate(*options, "--episodes", 3)
    three = without_seconds(json.loads(capsys.readouterr().out))
    evaluate(*options, "--seeds", 1000002, 1000000)
    assert without_seconds(json.loads(capsys.readouterr().out)) == [three[2], three[0]]
    assert len({episode["measures"]["path_length"] for episode in three}) == 3


def test_a_folder_keeps_what_was_played(capsys, tmp_path, own_policies):
    options = ("--policy", f"{own_policies},spoil=stop", "--episodes", 3, "--max-steps", 2, "--out", "kept")
    with pytest.raises(SystemExit) as end:
        evaluate(*options)
    assert end.value.code == 130 and len(list(tmp_path.glob("kept/*/episodes/*.json"))) == 1
    capsys.readouterr()
    evaluate(*options, "--json", "-")  # the module counts on, so that nothing stops the second and third
    found = json.loads(capsys.readouterr().out)
    assert found["about"]["complete"] and [e["seed"] for e in found["episodes"]] == [1000000, 1000001, 1000002]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("kept/*/episodes/*.json")}
    evaluate(*options, "--json", "-")
    assert json.loads(capsys.readouterr().out)["episodes"] == found["episodes"]
    evaluate(*options[:-4], "--max-steps", 1, "--out", "kept", "--json", "-")  # other episodes
    assert [e["steps"] for e in json.loads(capsys.readouterr().out)["episodes"]] == [1, 1, 1]
    assert files == {path: path.stat().st_mtime_ns for path in files}
    evaluate(*options, "--video", "v.mp4")  # to be filmed an episode is played again
    assert frames_of("v.mp4") == 1 + 2 * F


def test_a_policy_that_breaks_is_in_the_footnote(capsys, own_policies):
    evaluate("--policy", f"{own_policies},spoil=nan", "--episodes", 3, "--max-steps", 2)
    text = capsys.readouterr().out
    assert "1 of 3 episodes failed (seeds 1000001): step: ActionError: action has NaN" in text
    assert [line.split() for line in text.splitlines() if line.startswith(("truncated", "failed"))] == [
        ["truncated", "2"],
        ["failed", "1"],
    ]


def test_nothing_could_be_played(capsys, own_policies):
    with pytest.raises(SystemExit) as end:
        evaluate("--policy", f"{own_policies},spoil=raise", "--episodes", 2)
    captured = capsys.readouterr()
    assert end.value.code == 1 and "no episode could be played" in captured.err
    assert "2 of 2 episodes failed (seeds 1000000, 1000001): policy.act: RuntimeError: no idea" in captured.out


def test_an_interrupt_shows_what_there_is(capsys, tmp_path, own_policies):
    with pytest.raises(SystemExit) as end:
        options = ("--max-steps", 2, "--json", "out.json", "--video", "v.mp4", "--video-episodes", 5)
        evaluate("--policy", f"{own_policies},spoil=stop", "--episodes", 4, *options)
    captured = capsys.readouterr()
    assert end.value.code == 130 and "after 1 of 4 episodes" in captured.err
    assert "episodes" in captured.out and "truncated" in captured.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found["episodes"]) == 1 and not found["about"]["complete"]
    assert frames_of("v.mp4") == (1 + 2 * F) + 1  # the second episode had its first frame


def test_the_suite_is_all_five(capsys):
    evaluate("--policy", "scripted:look_around", "--task", "suite", "--episodes", 1, "--max-steps", 1)
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line in TASK_NAMES] == list(TASK_NAMES)
    explore = text[text.index("Explore\n") : text.index("LoopClosure\n")]
    assert "coverage" in explore and "SPL" not in explore


def test_videos_of_the_first_episodes(own_policies, tmp_path):
    evaluate(
        "--policy", own_policies, "--task", "PointNav", "Explore", "--episodes", 2, "--max-steps", 1, "--video", "v.mp4"
    )
    names = [f"v-{task}-{own_policies.replace(':', '-')}.mp4" for task in ("PointNav", "Explore")]
    assert {path.name for path in tmp_path.glob("v*")} == set(names)
    assert [frames_of(name) for name in names] == [1 + F, 1 + F]


def test_discrete_actions_and_small_pictures(capsys):
    options = ("--policy", "random:uniform", "--discrete", "--obs-size", 16, 28, "--episodes", 2, "--max-steps", 6)
    evaluate(*options, "--json", "out.json")
    # Four frames at 1.2 degrees each are less than Habitat's turn.
    assert "discrete actions: moves of 0.25 m, turns of 4.8°" in capsys.readouterr().out
    found = json.loads(Path("out.json").read_text())
    assert found["about"]["discrete"] == {"step": 0.25, "turn": pytest.approx(4.8)}
    walked = [episode["measures"]["path_length"] / 0.25 for episode in found["episodes"]]
    assert max(walked) > 0 and walked == pytest.approx([round(steps) for steps in walked])


def test_a_zip_of_stable_baselines3(capsys):
    pytest.importorskip("stable_baselines3")
    import gymnasium as gym
    from stable_baselines3 import PPO

    world = sanawm_env.WorldModel.untrained()
    env = gym.make("SanaWM/PointNav-v0", checkpoint=world, obs_mode="pose")
    PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, device="cpu").save("ppo.zip")
    evaluate("--policy", "sb3:ppo.zip", "--obs-mode", "pose", "--episodes", 2, "--max-steps", 2, "--json", "-")
    found = json.loads(capsys.readouterr().out)
    assert [episode["ending"] for episode in found["episodes"]] == ["truncated"] * 2
    with pytest.raises(SystemExit) as end:  # pictures, which it was not trained with
        evaluate("--policy", "sb3:ppo.zip", "--episodes", 1, "--max-steps", 2)
    assert end.value.code == 1 and "policy.begin: ValueError: the model was trained for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --policy scripted:follow"),
        (["--policy", "scripted:foolow"], "unknown policy 'scripted:foolow'"),
        (["--policy", "follow"], "a policy is named by one of"),
        (["--policy", "no_such_module:make"], "no module 'no_such_module'"),
        (["--policy", "scripted:follow,speed=3"], "cannot be made"),
        (["--policy", "scripted:follow", "--policy", "scripted:follow"], "'scripted:follow' twice"),
        (["--policy", "sb3:nowhere.zip"], "no file nowhere.zip"),
        (["--policy", "scripted:orbit", "--task", "Parking"], "unknown task 'Parking'; known are PointNav"),
        (["--policy", "scripted:orbit", "--task", "PointNav,size=3"], "task PointNav has no setting 'size'"),
        (["--policy", "scripted:orbit", "--task", "PointNav,distance=7"], "distance must be two numbers"),
        (["--policy", "scripted:orbit", "--task", "suite", "Explore"], "--task has 'Explore' twice"),
        (["--policy", "scripted:orbit", "--episodes", "0"], "--episodes must be at least 1"),
        (["--policy", "scripted:orbit", "--episodes", "2", "--seeds", "1"], "either --seeds or --episodes"),
        (["--policy", "scripted:orbit", "--seeds", "1", "1"], "seed 1 comes twice"),
        (["--policy", "scripted:orbit", "--first-seed", "-1"], "negative; got -1"),
        (["--policy", "scripted:orbit", "--max-steps", "0"], "--max-steps must be at least 1"),
        (["--policy", "scripted:orbit", "--video", "v.gif"], ".mp4"),
        (["--policy", "scripted:orbit", "--video", "no/where.mp4"], "create it first"),
        (["--policy", "scripted:orbit", "--json", "no/where.json"], "folder that exists"),
        (["--policy", "scripted:orbit", "--workers", "2"], "belong to --ray"),
        (["--policy", "scripted:orbit", "--ray", "local", "--video", "v.mp4"], "--video films in this process"),
        (["--policy", "scripted:orbit", "--ray", "local", "--workers", "0"], "--workers must be at least 1"),
    ],
)
def test_mistakes_are_one_line_before_the_world_is_loaded(capsys, tmp_path, arguments, words):
    # A checkpoint that is not there would be the complaint if it were looked for first.
    assert words in refused(capsys, *arguments, "-c", "no/checkpoint", plain=True)
    assert len(list(tmp_path.iterdir())) == 1  # the module with the policies


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chunk-frames", "9"], "chunk_frames must lie in 1.."),
        (["--obs-size", "1000", "1000"], "obs_size must be"),
        (["--discrete", "--env", "action_mode=keys"], "make it with action_mode='delta'"),
        (["--env", "size=3"], "--env cannot set 'size'; known are image"),
        (["--env", "task=3"], "--env cannot set 'task'; use --task"),
    ],
)
def test_mistakes_about_the_world(capsys, arguments, words):
    assert words in refused(capsys, "--policy", "scripted:orbit", *arguments)


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom sanawm_env.cli.main import main\n"
        "try: main(['evaluate-policy', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'sanawm_env.policies' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--first-seed" in done.stdout


def test_the_example(capsys):
    example = Path(__file__).parents[3] / "examples" / "evaluate_a_policy.py"
    runpy.run_path(str(example))["main"](episodes=2, checkpoint="untrained", max_steps=3)
    text = capsys.readouterr().out
    assert "turn and walk" in text and "soft SPL, gain over first" in text


# -- names and settings ---------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z][a-z:./_-]{0,12}", fullmatch=True)
KEYS = st.from_regex(r"[a-z_]{1,6}", fullmatch=True)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(NAMES, st.dictionaries(KEYS, VALUES | st.tuples(VALUES, VALUES), max_size=3))
def test_settings_are_read_as_they_were_written(name, values):
    text = ",".join([name, *(f"{key}={value!r}" for key, value in values.items())])
    assert parse_spec(text) == (name, values)


def test_settings_of_other_kinds():
    assert parse_spec("sb3:runs/a,b.zip,deterministic=false") == ("sb3:runs/a,b.zip", {"deterministic": False})
    assert parse_spec("PointNav,goal_reward=dense,x=a=b") == ("PointNav", {"goal_reward": "dense", "x": "a=b"})
    with pytest.raises(ValueError, match="'a' twice"):
        parse_spec("x,a=1,a=2")


def test_tasks_by_name_and_id():
    assert read_tasks(["SanaWM/Explore-v0,cell=2"]) == [("Explore,cell=2", ("Explore", {"cell": 2}))]
    assert [text for text, _ in read_tasks(["suite,stop_action=True"])] == [f"{n},stop_action=True" for n in TASK_NAMES]
    assert make_task("FollowPath", {"stop_action": True}).stop_action
    with pytest.raises(ValueError, match="no task"):
        read_tasks([])
