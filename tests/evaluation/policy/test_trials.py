"""Episodes are told as they were, and a policy that breaks costs its own episode only."""

import gymnasium as gym
import numpy as np
import pytest

import sanawm_env  # noqa: F401
from sanawm_env import WorldModel
from sanawm_env.evaluation.policy.trials import play, run_trials
from sanawm_env.tasks import PointNav
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
F = 4


def make(task="PointNav", steps=8):
    return gym.make(
        "SanaWM-v0",
        checkpoint=MODEL,
        image=PICTURE,
        task=task,
        obs_mode="pose",
        max_translation=0.5,
        max_episode_steps=steps,
        disable_env_checker=True,
    )


class Towards:
    """Goes to the goal in straight lines; `spoil` may change the action of an episode's second step."""

    def __init__(self, spoil=lambda episode, action: action):
        self.spoil, self.episode, self.first = spoil, -1, []

    def begin(self, env, observation, info):
        self.episode, self.step = self.episode + 1, 0
        self.first.append(observation["goal"])

    def act(self, observation, info):
        self.step += 1
        delta = observation["goal"] / 0.5
        action = np.append(delta / max(1.0, np.abs(delta).max()), [0, 0, 0])
        return self.spoil(self.episode, action) if self.step == 2 else action


class Still:
    def begin(self, env, observation, info):
        self.start = observation

    def act(self, observation, info):
        return np.zeros(6)


def test_an_episode_is_told_as_it_was():
    trial = play(make(), Towards(), 5, name="towards", task="PointNav")
    assert (trial.policy, trial.task, trial.seed, trial.ending, trial.reason) == (
        "towards",
        "PointNav",
        5,
        "terminated",
        None,
    )
    assert trial.success and trial.frames == F * trial.steps and trial.imagined == 0 and trial.seconds > 0
    assert trial.measures["distance_to_goal"] <= 0.2 and trial.measures["spl"] > 0.99

    # By hand, the same episode again.
    env, policy, total, steps = make(), Towards(), 0.0, 0
    observation, info = env.reset(seed=5)
    policy.begin(env, observation, info)
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(policy.act(observation, info))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    assert (trial.reward, trial.steps, trial.measures["path_length"]) == (total, steps, info["path_length"])
    assert set(trial.measures) == {"success", "path_length", "distance_to_goal", "drift", "spl", "soft_spl"}


def test_a_limit_truncates():
    trial = play(make(steps=3), Still(), 0, name="still", task="PointNav")
    assert (trial.ending, trial.steps, trial.success, trial.measures["path_length"]) == ("truncated", 3, False, 0)


def test_policies_meet_the_same_worlds_in_the_same_order():
    env, first, second = make(), Towards(), Towards(lambda episode, action: np.zeros(6))
    trials = list(run_trials(env, first, [3, 1, 2], name="first"))
    other = list(run_trials(env, second, [3, 1, 2], name="second"))
    assert [t.seed for t in trials] == [t.seed for t in other] == [3, 1, 2]
    assert np.array_equal(first.first, second.first) and len(np.unique(first.first, axis=0)) == 3
    assert trials[0].task == "PointNav" and [t.reward for t in trials] != [t.reward for t in other]
    again = next(iter(run_trials(env, Towards(), [1], name="first")))
    assert (again.reward, again.measures) == (trials[1].reward, trials[1].measures)


def raising(episode, action):
    raise RuntimeError("out of\nideas")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e, a: np.full(6, np.nan), "step: ActionError: action has NaN"),
        (lambda e, a: a[:3], "step: ActionError: action must be real numbers of shape (6,)"),
        (lambda e, a: 2 * np.ones(6), "step: ActionError: action has an entry of magnitude 2"),
        (lambda e, a: None, "step: ActionError: action must be"),
        (raising, "policy.act: RuntimeError: out of ideas"),
    ],
)
def test_a_bad_action_fails_its_episode_and_the_others_go_on(spoil, words):
    policy = Towards(lambda episode, action: spoil(episode, action) if episode == 1 else action)
    good, bad, fine = run_trials(make(), policy, [0, 1, 2], name="sometimes")
    assert good.success and fine.success
    assert bad.ending == "failed" and not bad.success and bad.reason.startswith(words)
    assert (bad.steps, bad.frames) == (1, F) and bad.measures["path_length"] > 0  # where it came to
    assert play(make(), Towards(), 2, name="", task="").reward == fine.reward


def test_a_policy_that_cannot_begin():
    class Never(Still):
        frames = 1000  # what it imagined in some episode before

        def begin(self, env, observation, info):
            raise ValueError("I need wheels " * 100)

    trial = play(make(), Never(), 0, name="never", task="PointNav")
    assert trial.ending == "failed" and trial.reason.startswith("policy.begin: ValueError: I need wheels")
    assert len(trial.reason) < 400 and (trial.steps, trial.frames, trial.imagined) == (0, 0, 0)


def test_an_environment_that_breaks_says_that_it_was_the_environment():
    task = PointNav(rewards={"odd": 1.0}, terms={"odd": lambda step: float("nan")})
    trial = play(make(task), Still(), 0, name="still", task="PointNav")
    assert trial.ending == "failed" and trial.reason.startswith("step: ValueError: reward term 'odd' gave nan")


def test_imagined_frames_are_counted():
    class Dreamer(Still):
        frames = 0

        def begin(self, env, observation, info):
            self.frames = 0

        def act(self, observation, info):
            self.frames += 7
            return np.zeros(6)

    class Filmer(Still):
        frames = "of a film"

    trials = list(run_trials(make(steps=3), Dreamer(), [0, 1], name="dreamer"))
    assert [(t.imagined, t.frames) for t in trials] == [(21, 3 * F)] * 2
    assert play(make(steps=1), Filmer(), 0, name="filmer", task="").imagined == 0


def test_watching():
    seen = []
    list(run_trials(make(steps=3), Still(), [0, 1], name="", watch=lambda i: seen.append if i == 1 else None))
    assert [len(frames) for frames in seen] == [1, F, F, F] and seen[0].shape == (1, 32, 48, 3)

    def full(frames):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):  # nothing that the policy did
        play(make(), Still(), 0, name="", task="", watch=full)


def test_an_interrupt_passes_and_what_was_played_stays():
    def stop(episode, action):
        if episode == 1:
            raise KeyboardInterrupt
        return action

    trials = []
    with pytest.raises(KeyboardInterrupt):
        for trial in run_trials(make(), Towards(stop), [0, 1, 2], name=""):
            trials.append(trial)
    assert [trial.seed for trial in trials] == [0]


@pytest.mark.parametrize(
    ("seeds", "words"), [([], "no episode"), ([1, -2], "negative; got -2"), ([4, 5, 4], "seed 4 comes twice")]
)
def test_bad_seeds_are_refused_before_anything_is_played(seeds, words):
    policy = Towards()
    with pytest.raises(ValueError, match=words):
        run_trials(make(), policy, seeds, name="")
    assert policy.episode == -1


def test_a_world_without_a_task_is_refused():
    with pytest.raises(ValueError, match="has none; make one that has"):
        run_trials(make(None), Still(), [0], name="")
