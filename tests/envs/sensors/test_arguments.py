"""Arguments `sensors`, `contact` and `body`."""

import json
from dataclasses import asdict, replace

import gymnasium as gym
import pytest

from sanawm_env import Body, Depth, SanaWMEnv, Scan, WorldModel
from sanawm_env.envs.sensors.arguments import read_body, read_sensors
from sanawm_env.envs.settings import Settings
from sanawm_env.tasks import PointNav


def test_names_settings_and_mappings_are_the_same():
    wanted = (Depth(max_depth=5), Scan(rays=7))
    assert read_sensors(wanted) == read_sensors([{"max_depth": 5}, {"rays": 7}]) == wanted
    assert read_sensors("depth") == read_sensors(["depth"]) == read_sensors(Depth()) == (Depth(),)
    assert read_sensors([asdict(Scan()), asdict(Depth())]) == (Scan(), Depth())
    assert read_sensors(()) == ()
    assert read_body({"radius": 0.3}) == Body(radius=0.3) and read_body(None) == Body() == read_body(Body())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sensors": ("depht",)}, "unknown sensor 'depht'; there are 'depth' or Depth"),
        ({"sensors": ("depth", Depth())}, "'depth' is named twice"),
        ({"sensors": (Scan(), "scan")}, "'scan' is named twice"),
        ({"sensors": ({"max_depth": 3, "rays": 7},)}, "unknown sensor"),
        ({"sensors": ({},)}, "unknown sensor"),
        ({"sensors": 3}, "sensors must be a sequence"),
        ({"sensors": None}, "sensors must be a sequence"),
        ({"sensors": ({"max_depth": -1},)}, "max_depth of the depth sensor"),
        ({"contact": "slide"}, "contact must be one of 'none', 'report', 'block'"),
        ({"body": Body()}, "touches nothing as long as contact is 'none'"),
        ({"contact": "block", "body": {"width": 1}}, "body must be"),
        ({"contact": "block", "body": 0.2}, "body must be"),
        ({"sensors": "depth", "task": PointNav(goal_env=True)}, "goal form .* no room for sensors"),
        ({"task": PointNav(rewards={"collision": 1})}, "reward term 'collision' needs contact"),
    ],
)
def test_a_mistake_is_told_before_the_weights_are_read(monkeypatch, arguments, says):
    def load(*_, **__):
        raise AssertionError("the weights were read before the arguments")

    monkeypatch.setattr(WorldModel, "load", load)
    with pytest.raises(ValueError, match=says):
        SanaWMEnv(**arguments)


def test_settings_can_be_changed_one_by_one():
    """As `max_episode_steps` of a running environment is, and planners' copies are."""
    for given in (Settings(), Settings(sensors="scan", contact="block", body={"radius": 0.3})):
        assert replace(given, max_episode_steps=3).body == given.body
        assert replace(given, max_episode_steps=3).sensors == given.sensors


def test_a_term_of_the_users_own_may_be_called_collision():
    Settings(task=PointNav(rewards={"collision": 1}, terms={"collision": lambda step: 0.0}))


def test_a_spec_survives_json():
    sensors = (Depth(max_depth=9), Scan(rays=5))
    env = gym.make("SanaWM-v0", checkpoint="small", sensors=sensors, contact="report", body=Body(radius=0.2))
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"]["contact"] == "report"
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text)).unwrapped
    settings = again.simulation.settings
    assert settings.sensors == sensors and settings.body == Body(radius=0.2)
    assert again.observation_space == env.observation_space
