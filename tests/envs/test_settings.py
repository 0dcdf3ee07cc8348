"""`Settings`: arguments are judged before any weights are read."""

import numpy as np
import pytest

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.envs.settings import Settings
from sanawm_env.tasks import PointNav


@pytest.fixture
def no_loading(monkeypatch):
    def load(*_, **__):
        raise AssertionError("the weights were read before the arguments")

    monkeypatch.setattr(WorldModel, "load", load)


BAD = [
    ({"fov_deg": 190}, ValueError, "fov_deg"),
    ({"fov_deg": "wide"}, ValueError, "fov_deg must be a number"),
    ({"task": "Sokoban"}, ValueError, "task must be one of"),
    ({"keymap": "qwerty"}, ValueError, "qwerty"),
    ({"chunk_frames": 2.5}, ValueError, "chunk_frames must be a whole number"),
    ({"chunk_frames": "two"}, ValueError, "chunk_frames must be a whole number"),
    ({"sampler_steps": 1.5}, ValueError, "sampler_steps must be a whole number"),
    ({"max_translation": "far"}, ValueError, "max_translation must be a number"),
    ({"max_episode_steps": 0}, ValueError, "at least 1, or -1"),
    ({"episode_seconds": 0}, ValueError, "episode_seconds must be positive"),
    ({"action_mode": "mouse"}, ValueError, "action_mode"),
    ({"intrinsics": [1, 1, 0, 0]}, ValueError, "give image as well"),
    ({"image": "nowhere.png"}, FileNotFoundError, "nowhere.png"),
    ({"action_mode": "keys", "max_rotation": 0.1}, ValueError, "key map sets the speeds"),
    ({"action_mode": "keys", "task": PointNav(stop_action=True)}, ValueError, "stop_action"),
    ({"device": "abacus"}, ValueError, "unknown device"),
    ({"dtype": "int8"}, ValueError, "floating type"),
    ({"chunk_frame": 1}, TypeError, "unexpected keyword argument 'chunk_frame'"),
]


@pytest.mark.parametrize(("arguments", "kind", "says"), BAD)
def test_a_mistake_is_told_before_the_weights_are_read(no_loading, arguments, kind, says):
    for make in (SanaWMEnv, lambda **given: SanaWMVectorEnv(2, **given)):
        with pytest.raises(kind, match=says):
            make(**arguments)


@pytest.mark.parametrize("two", [2, 2.0, np.int64(2), np.float32(2)])
def test_whole_numbers_of_any_type(two):
    read = Settings(chunk_frames=two, sampler_steps=two, max_episode_steps=two)
    assert (read.chunk_frames, read.sampler_steps, read.max_episode_steps) == (2, 2, 2)
    assert type(read.chunk_frames) is int


def test_what_ends_an_episode():
    assert not Settings().out_of_time(239, 0.25) and Settings().out_of_time(240, 0.25)
    assert Settings().out_of_time(80, 0.75) and not Settings(episode_seconds=None).out_of_time(10**9, 0.75)
    for limit in (Settings(max_episode_steps=3), Settings(max_episode_steps=3, episode_seconds=None)):
        assert [limit.out_of_time(steps, 100.0) for steps in (2, 3)] == [False, True]
    assert not Settings(max_episode_steps=-1).out_of_time(10**9, 0.75)
