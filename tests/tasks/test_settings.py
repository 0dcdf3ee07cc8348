"""A task's settings as text: equal for equal settings in every process, and a task again from Gymnasium's JSON."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from sanawm_env.tasks import TASKS, Explore, FollowPath, ImageNav, LoopClosure, PointNav, get_task
from sanawm_env.tasks.settings import differences, fingerprint
from sanawm_env.tasks.state import TaskState

OTHERS = [
    PointNav(success_distance=0.5, stop_action=True, distance=(2.0, 4.0), rewards={"progress": 3.0}),
    ImageNav(turn_deg=10.0, drift_limit=0.5),
    FollowPath(ahead=2, distance=(1, 2)),
    Explore(cell=0.5, sectors=8),
    LoopClosure(min_psnr=20.0),
    PointNav(goal_env=True, goal_reward="dense"),
]


@dataclass(frozen=True)
class Mine(PointNav):
    """A user's own task of another module."""

    points: list = field(default_factory=lambda: [1, 2])


@pytest.mark.parametrize("task", [*OTHERS, Mine(points=[3])], ids=lambda task: type(task).__name__)
def test_a_task_survives_json(task):
    again = get_task(json.loads(json.dumps(task.to_dict())))
    assert type(again) is type(task) and again == task
    assert fingerprint(again, {}) == fingerprint(task, {})


@pytest.mark.parametrize("task", OTHERS[:2], ids=lambda task: type(task).__name__)
def test_an_environment_with_a_task_is_made_again_from_its_spec(task):
    env = gym.make("SanaWM-v0", checkpoint="tiny", chunk_frames=1, task=task)
    twin = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert twin.unwrapped.task == task and twin.action_space == env.action_space
    assert twin.observation_space == env.observation_space


@pytest.mark.parametrize("name", TASKS)
def test_settings_that_lost_the_name_are_known_by_their_fields(name):
    task = TASKS[name]()
    values = {key: value for key, value in task.to_dict().items() if key != "task_class"}
    assert get_task(values) == task


def test_some_settings_and_the_name_are_enough():
    assert get_task({"task_class": "PointNav", "success_distance": 0.5}) == PointNav(success_distance=0.5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"success_distance": 0.5}, "need 'task_class'"),
        ({"task_class": "Point"}, "there is no task 'Point'"),
        ({"task_class": "no_such_module:Point"}, "which is not here"),
        ({"task_class": "json:JSONDecoder"}, "there is no task"),
        ({"task_class": ["PointNav"]}, "is the name of a task"),
        ({"task_class": ".:Point"}, "which is not here"),
        ({"task_class": "PointNav", "radius": 1}, "no setting 'radius'; it has rewards"),
        ({"task_class": "PointNav", "distance": [3, 1]}, "must be .low, high."),
    ],
)
def test_bad_settings_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        get_task(values)


def test_a_term_of_your_own_cannot_go_into_json():
    task = PointNav(rewards={"own": 1.0}, terms={"own": lambda step: 0.0})
    env = gym.make("SanaWM-v0", checkpoint="tiny", chunk_frames=1, task=task)
    with pytest.raises((TypeError, ValueError)):  # at once, and not when somebody makes it again
        env.spec.to_json()


def test_the_class_is_no_setting_to_choose():
    assert "task_class" not in {each.name for each in fields(PointNav) if each.init}
    assert "task_class" not in repr(PointNav())
    assert PointNav().task_class == "PointNav" and Mine().task_class == f"{__name__}:Mine"


def test_fingerprints_are_the_same_in_another_process():
    code = (
        "from sanawm_env.tasks import PointNav; from sanawm_env.tasks.settings import fingerprint; import math;"
        "print(fingerprint(PointNav(rewards={'a': 1, 'b': 2.5}, terms={'b': math.sin, 'a': math.cos}), {}))"
    )
    found = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(found) == 1 and "math.sin" in found.pop()


@dataclass(frozen=True)
class Holder(PointNav):
    """Settings of every kind."""

    thing: object = None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(3), np.ones(3)),
        (np.zeros(3), np.zeros((3, 1))),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        ((1, 2), (2, 1)),
        (PointNav(), PointNav(success_distance=1.0)),
        (len, max),
        (True, False),
        (None, 0),
    ],
)
def test_settings_of_every_kind_are_told_apart(one, other):
    mine, its = (fingerprint(Holder(thing=thing), {}) for thing in (one, other))
    assert mine != its and differences(its, mine, Holder()) and mine == fingerprint(Holder(thing=one), {})


def test_numbers_are_what_they_are_worth():
    assert fingerprint(PointNav(success_distance=1), {}) == fingerprint(PointNav(success_distance=np.float64(1)), {})


def test_a_setting_that_came_later_counts_as_its_default():
    task = PointNav()
    old = json.loads(fingerprint(task, {}))
    del old["bearing_deg"]
    assert differences(json.dumps(old), fingerprint(task, {}), task) == []
    assert differences(json.dumps(old), fingerprint(PointNav(bearing_deg=9), {}), task) == [
        "bearing_deg 60 there and 9 here"
    ]


def test_a_moment_of_an_old_file_equals_the_one_it_was_written_from(tmp_path):
    """Files of before fingerprints do not know the task's settings, which is not to say that they differ."""
    env = gym.make("SanaWM-v0", checkpoint="tiny", chunk_frames=1, task="PointNav").unwrapped
    env.reset(seed=0)
    now = env.snapshot()
    old = replace(now, task=TaskState(now.task.task, now.task.values))
    assert old.equal(now) and now.equal(old)
    other = replace(now, task=TaskState(now.task.task, now.task.values, "other settings"))
    assert not other.equal(now) and not now.equal(replace(now, elapsed_steps=3))
