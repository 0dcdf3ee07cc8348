"""Training with Stable-Baselines3 on an untrained world, which moves its camera just as a trained one does."""

import json
import runpy
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.policies.policy_worlds import MODEL

pytest.importorskip("stable_baselines3")

import torch
from gymnasium import spaces
from sanawm_env.policies import make_policy
from sanawm_env.policies.sb3 import curve, plot, train
from sanawm_env.policies.sb3.evaluator import Evaluator, random_act
from sanawm_env.policies.sb3.features import NavigationFeatures
from sanawm_env.policies.sb3.make import make_training_envs, make_worlds
from sanawm_env.policies.sb3.settings import TrainSettings
from stable_baselines3 import PPO

from sanawm_env.evaluation.policy.trials import HELD_OUT_RESETS
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.model import WorldModel

ROOT = Path(__file__).parents[2]
IMAGE = spaces.Box(0, 255, (18, 32, 3), np.uint8)
GOAL = spaces.Box(-np.inf, np.inf, (3,), np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    save_checkpoint(folder, MODEL.config, MODEL.transformer.state_dict(), MODEL.vae.state_dict())
    return str(folder)


@pytest.fixture
def settings(tmp_path, checkpoint):
    return TrainSettings(
        out=tmp_path / "run",
        checkpoint=checkpoint,
        obs_size=(16, 24),
        envs=2,
        steps=48,
        eval_every=32,
        eval_episodes=2,
        max_episode_steps=6,
        rollout_steps=8,
        epochs=2,
        learning_starts=16,
        buffer_size=200,
    )


# -- features -------------------------------------------------------------------------------------------------


def channels_first(space):
    return spaces.Box(0, 255, (space.shape[2], *space.shape[:2]), np.uint8)


SPACES = {
    "image, pose and goal": ({"image": IMAGE, "goal": GOAL}, 2 * 64),
    "vectors": ({"pose": spaces.Box(-1, 1, (7,), np.float32), "waypoints": spaces.Box(-9, 9, (4, 6), np.float32)}, 64),
    "two images": ({"image": IMAGE, "goal_image": IMAGE}, 3 * 64),
    "goal form": ({"observation": IMAGE, "achieved_goal": GOAL, "desired_goal": GOAL}, 2 * 64),
}


def drawn(space, count=3):
    batch = {}
    for key, entry in space.spaces.items():
        values = torch.from_numpy(np.stack([entry.sample() for _ in range(count)]).astype(np.float32))
        batch[key] = values / 255 if entry.dtype == np.uint8 else values  # as Stable-Baselines3 hands it over
    return batch


@pytest.mark.parametrize("case", SPACES)
def test_features_of_every_observation(case):
    entries, width = SPACES[case]
    space = spaces.Dict(entries)
    space.seed(0)
    features = NavigationFeatures(space)
    out = features(drawn(space))
    assert out.shape == (3, features.features_dim) == (3, width)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in features.parameters() if p.dim() > 1)


def test_features_do_not_depend_on_the_order_of_channels():
    space = spaces.Dict({"image": IMAGE, "goal_image": IMAGE})
    turned = spaces.Dict({key: channels_first(entry) for key, entry in space.spaces.items()})
    space.seed(0)
    last, before = NavigationFeatures(space), NavigationFeatures(turned)
    before.load_state_dict(last.state_dict())
    batch = drawn(space)
    assert torch.equal(last(batch), before({key: value.movedim(-1, 1) for key, value in batch.items()}))


def test_features_compare_the_goal_with_the_view():
    space = spaces.Dict({"image": IMAGE, "goal_image": IMAGE})
    space.seed(0)
    features, batch = NavigationFeatures(space), drawn(space)
    assert not torch.equal(features(batch)[:, 128:], torch.zeros(3, 64))
    assert torch.equal(features({**batch, "goal_image": batch["image"]})[:, 128:], torch.zeros(3, 64))


def test_features_know_how_far_a_goal_is():
    # A plain LayerNorm of the vector would not tell 1 m from 2 m.
    features = NavigationFeatures(spaces.Dict({"goal": GOAL}))
    near = torch.tensor([[0.3, 0.0, 1.0]])
    assert (features({"goal": near}) - features({"goal": 2 * near})).abs().max() > 0.05


def test_features_refuse_what_they_cannot_see():
    several = spaces.Box(0, 255, (4, 18, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'frames'.*obs_mode='frame'"):
        NavigationFeatures(spaces.Dict({"frames": several}))
    with pytest.raises(ValueError, match="one size"):
        NavigationFeatures(spaces.Dict({"image": IMAGE, "goal_image": spaces.Box(0, 255, (9, 16, 3), np.uint8)}))


# -- evaluations ----------------------------------------------------------------------------------------------------


def test_an_evaluation_plays_single_episodes(settings):
    """Each episode is that of the one environment with that seed, however many of the others have ended."""
    settings = replace(settings, obs_mode="pose", task_args='{"success_distance": 0.5}', max_episode_steps=12)
    seeds = [1_500_000, 1_500_001, 1_500_002]

    def towards(observations):
        goal = observations["goal"]
        return np.concatenate([goal / np.abs(goal).max(axis=1, keepdims=True), np.zeros_like(goal)], axis=1)

    evaluator = Evaluator(settings, seeds, MODEL)
    results = evaluator.evaluate(towards)
    assert evaluator.evaluate(towards) == results  # the worlds are as they were
    assert len(set(results["length"])) > 1 and any(results["success"])
    for i, seed in enumerate(seeds):
        alone = Evaluator(settings, [seed], MODEL).evaluate(towards)
        for name, values in results.items():
            assert alone[name] == pytest.approx([values[i]]), name


def test_random_actions_are_repeatable(settings):
    for algo in ("ppo", "dqn"):
        evaluator = Evaluator(replace(settings, algo=algo), [1_500_000, 1_500_001], MODEL)
        first, again, other = (evaluator.evaluate(random_act(evaluator, seed)) for seed in (3, 3, 4))
        assert first == again != other


def test_training_never_resets_with_held_out_seeds(settings):
    for seed in (0, 99):
        for done in (0, 4096, 10**7 + 1):
            start = replace(settings, seed=seed).training_seed(done)
            assert start >= 0 and all(start + slot not in HELD_OUT_RESETS for slot in range(settings.envs))
    assert all(seed in HELD_OUT_RESETS for seed in settings.eval_seeds)
    envs = make_training_envs(settings, MODEL)
    envs.seed(settings.training_seed(0))
    envs.reset()
    assert envs.get_attr("np_random_seed") == [0, 1]


# -- training -------------------------------------------------------------------------------------------------

RUNS = {
    "ppo": {},
    "ppo, pose, discrete": {"actions": "discrete", "obs_mode": "pose"},
    "ppo, images, STOP": {"task": "ImageNav", "task_args": '{"stop_action": true, "distance": [0.2, 0.3]}'},
    "sac with hindsight": {"algo": "sac", "obs_mode": "pose", "steps": 32},
    "dqn": {"algo": "dqn"},
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_leaves_curve_model_and_settings(case, settings):
    settings = replace(settings, **RUNS[case])
    points = train.train(settings)
    assert [point.policy for point in points] == ["random"] + [settings.algo] * (len(points) - 1)
    assert [point.steps for point in points[1:]] == sorted({point.steps for point in points[1:]})
    assert points[-1].steps >= settings.steps and points[-1].frames == 4 * points[-1].steps
    assert curve.read(settings.out / "curve.jsonl") == points
    for point in points:
        assert {"return", "success", "spl", "soft_spl"} <= point.episodes.keys()
        assert all(len(values) == 2 and np.isfinite(values).all() for values in point.episodes.values())
    assert (settings.out / "curve.png").stat().st_size > 1000
    saved = json.loads((settings.out / "settings.json").read_text())
    assert saved["settings"]["eval_seeds"] == settings.eval_seeds and "1500000..1500001" in saved["seeds"]["held_out"]
    # The file acts as a policy of this package, in an environment like that of the training.
    policy = make_policy(f"sb3:{settings.out}/model.zip")
    worlds = make_worlds(settings, 1, "Disabled", MODEL)
    assert type(policy.model).__name__.lower() == settings.algo
    assert policy.model.observation_space.keys() == worlds.single_observation_space.keys()


def test_a_run_is_repeatable_and_goes_on(settings, tmp_path):
    def weights(folder):
        return PPO.load(folder / "model.zip").policy.state_dict()

    def measured(points):
        return [(point.policy, point.steps, point.episodes) for point in points]

    one = train.train(settings)
    other = replace(settings, out=tmp_path / "other")
    assert measured(train.train(other)) == measured(one)
    ours, theirs = weights(settings.out), weights(other.out)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    with pytest.raises(ValueError, match="holds a run already"):
        train.train(settings)
    with pytest.raises(ValueError, match="task 'PointNav', this one 'Explore'"):
        train.train(replace(settings, task="Explore", resume=True))
    assert curve.read(settings.out / "curve.jsonl") == one
    further = train.train(replace(settings, steps=80, resume=True))
    assert further[: len(one)] == one and further[-1].steps == 80
    assert further[-1].minutes >= one[-1].minutes
    assert any(not torch.equal(ours[name], after) for name, after in weights(settings.out).items())
    plot.plot([settings.out, other.out], tmp_path / "both.png")
    assert (tmp_path / "both.png").stat().st_size > 1000


def test_what_a_kill_leaves_behind_is_gone_on_with(settings, capsys):
    """A kill between any two writes, and what half-written lines older versions left."""
    settings = replace(settings, obs_mode="pose")
    points, path, model = train.train(settings), settings.out / "curve.jsonl", settings.out / "model.zip"
    assert sorted(file.name for file in settings.out.iterdir()) == [
        "curve.jsonl",
        "curve.png",
        "model.zip",
        "settings.json",
    ]
    # The last line is cut short: its evaluation is missing, and is made again.
    path.write_bytes(path.read_bytes()[:-40])
    again = train.train(replace(settings, resume=True))
    assert "is unfinished and is left out" in capsys.readouterr().err
    assert [(p.policy, p.steps) for p in again] == [(p.policy, p.steps) for p in points]
    assert curve.read(path) == again and again[:-1] == points[:-1]
    # The curve is ahead of the model.
    ahead = replace(points[-1], steps=points[-1].steps + 1000)
    curve.write(path, [*points, ahead])
    further = train.train(replace(settings, steps=64, resume=True))
    assert ahead not in further and further[-1].steps == 64 and further[: len(points)] == points
    # A line that is bad elsewhere is not passed over.
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ValueError, match=r"curve\.jsonl:1 is no evaluation"):
        train.train(replace(settings, steps=64, resume=True))
    # No model yet: there is nothing to go on from, and nothing to lose.
    model.unlink()
    curve.write(path, points[:1])
    with pytest.raises(FileNotFoundError, match="leave --resume out"):
        train.train(replace(settings, resume=True))
    anew = train.train(settings)
    assert [(p.steps, p.episodes) for p in anew] == [(p.steps, p.episodes) for p in points]
    model.unlink()
    with pytest.raises(ValueError, match="holds a run already"):
        train.train(settings)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_a_run_in_one_line(settings, checkpoint, number, monkeypatch, capsys):
    handler = signal.getsignal(signal.SIGTERM)
    saved = PPO.save

    def interrupted(self, path, *args, **kwargs):
        if self.num_timesteps >= 32:
            Path(path).write_bytes(b"half of a model")
            signal.raise_signal(number)
        saved(self, path, *args, **kwargs)

    monkeypatch.setattr(PPO, "save", interrupted)
    arguments = ["--out", str(settings.out), "--checkpoint", checkpoint, "--obs-mode", "pose", "--envs", "2"]
    arguments += [
        "--obs-size",
        "16",
        "24",
        "--eval-every",
        "32",
        "--eval-episodes",
        "2",
        "--max-episode-steps",
        "6",
        "--rollout-steps",
        "8",
    ]
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert stop.value.code == 128 + number and "interrupted; --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is handler
    assert sorted(file.name for file in settings.out.iterdir()) == ["curve.jsonl", "model.zip", "settings.json"]
    assert PPO.load(settings.out / "model.zip").num_timesteps == 0
    assert [point.steps for point in curve.read(settings.out / "curve.jsonl")] == [0, 0]


def test_prompts_reach_worlds_with_text(settings, tmp_path, monkeypatch):
    model = MODEL.config.model.replace(caption_channels=16, text_length=12)
    world = WorldModel.untrained(MODEL.config.replace(model=model))
    save_checkpoint(tmp_path / "text", world.config, world.transformer.state_dict(), world.vae.state_dict())
    read = []

    def encode(prompts, folder, **how):
        read.append((prompts, str(folder)))
        return torch.ones(1, 12, 16), torch.ones(1, 12, dtype=torch.bool)

    monkeypatch.setattr("sanawm_env.world.networks.text.encoder.encode_prompts", encode)
    text = {"checkpoint": str(tmp_path / "text"), "prompt": "a kitchen", "text_encoder": str(tmp_path / "gemma")}
    settings = replace(settings, obs_mode="pose", steps=16, **text)
    assert train.train(settings)[-1].steps == 16
    assert read and all(found == (["a kitchen"], str(tmp_path / "gemma")) for found in read)
    with pytest.raises(ValueError, match="prompt 'a kitchen', this one 'a garden'"):
        train.train(replace(settings, prompt="a garden", resume=True))


def test_minutes_end_a_run(settings):
    points = train.train(replace(settings, steps=10**6, minutes=1e-6, obs_mode="pose"))
    assert points[-1].steps <= 16


def test_the_example_runs(checkpoint, tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "train_ppo_image_nav.py"))
    few = {"steps": 16, "envs": 1, "episode_steps": 16, "eval_every": 500, "eval_episodes": 2, "test_episodes": 2}
    example["main"](example["Args"](out=tmp_path / "run", checkpoint=checkpoint, obs_size=(16, 24), **few))
    assert (tmp_path / "run" / "curve.png").is_file()
    out = capsys.readouterr().out
    assert "final test, 2 new worlds" in out and "difference" in out


# -- curves ---------------------------------------------------------------------------------------------------


def test_intervals_are_students():
    mean, low, high = curve.interval([1.0, 2.0, 3.0])
    assert (mean, high - mean) == (2.0, pytest.approx(4.302653 / 3**0.5, rel=1e-5)) and low == pytest.approx(4 - high)
    assert np.isnan(curve.interval([1.0])[1:]).all()
    assert curve.interval([0.0, 1.0, 1.0], "success")[1:] == (0.0, 1.0)


def test_bands_meet_at_common_steps():
    def run(values):
        return [curve.Point("ppo", s, 4 * s, 0.0, (0, 1), {"success": [v, v]}) for s, v in values]

    steps, mean, low, high = plot.band([run([(0, 0.0), (10, 0.5), (20, 1.0)]), run([(0, 0.2), (12, 0.8)])], "success")
    assert steps.tolist() == [0, 10]
    assert mean == pytest.approx([0.1, (0.5 + 0.7) / 2])
    assert (low <= mean).all() and (mean <= high).all()


def test_bad_curves(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"policies\.sb3\.train writes one"):
        plot.plot([tmp_path], tmp_path / "a.png")
    (tmp_path / "curve.jsonl").write_text('{"policy": 3}\n')
    with pytest.raises(ValueError, match=r"curve\.jsonl:1 is no evaluation"):
        plot.plot([tmp_path], tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least one run"):
        plot.plot([], tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


# -- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"algo": "a2c"}, "algo must be ppo, sac or dqn"),
        ({"task": "Fly"}, "task must be one of PointNav, ImageNav"),
        ({"algo": "sac", "actions": "discrete"}, "sac needs continuous actions"),
        ({"algo": "dqn", "actions": "delta"}, "dqn needs discrete actions"),
        ({"algo": "sac", "task": "ImageNav", "her": True}, "ImageNav has no goal form.*use PointNav"),
        ({"her": True}, "ppo has not"),
        ({"task_args": "{"}, "must be JSON"),
        ({"task_args": "[]"}, "JSON object"),
        ({"task_args": '{"speed": 1}'}, "unknown speed"),
        ({"task_args": '{"success_distance": -1}'}, "must be a positive number"),
        ({"eval_seed": 0}, "evaluations must reset with seeds in"),
        ({"eval_episodes": 10**6}, "evaluations must reset with seeds in"),
        ({"seed": 100}, "seed must lie in 0..99"),
        ({"envs": 0}, "envs must be positive"),
        ({"gamma": 1.5}, "gamma must lie in"),
        ({"envs": 1, "rollout_steps": 1}, "two transitions at least"),
    ],
)
def test_bad_settings(wrong, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TrainSettings(out=tmp_path / "run", **wrong)


def test_nothing_to_resume(settings):
    with pytest.raises(FileNotFoundError, match="to resume from"):
        train.train(replace(settings, resume=True))
    assert not settings.out.exists()


def test_the_command_line_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    for wrong, message in (
        (["--algo", "sac", "--actions", "discrete"], "sac needs continuous actions"),
        (["--algo", "a2c"], "a2c"),
        (["--checkpoint", str(tmp_path / "nowhere")], "nowhere"),
        (["--resume"], "to resume from"),
    ):
        monkeypatch.setattr(sys, "argv", ["train", "--out", str(out), *wrong])
        with pytest.raises(SystemExit) as stop:
            train.main()
        assert stop.value.code not in (0, None)
        assert message in f"{stop.value.code} {capsys.readouterr().err}"
        assert not out.exists()
