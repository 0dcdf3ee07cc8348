import gc

import pytest

from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.simulators import Simulators, check_sensors, check_task
from sanawm_env.tasks import PointNav


def no_image(name):
    raise ServerError("unknown-image", "none")


def test_equal_settings_share_one_for_as_long_as_it_is_used(model):
    simulators = Simulators(model, no_image)
    first = simulators.get({"chunk_frames": 1, "task": "PointNav"})
    assert simulators.get({"task": "PointNav", "chunk_frames": 1}) is first
    assert simulators.get({"chunk_frames": 1}) is not first
    number = id(first.runner)
    del first
    gc.collect()
    assert number not in [id(each.runner) for each in simulators._made.values()]


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cuda"},
        {"text_encoder": "/etc"},
        {"checkpoint": "/tmp"},
        {"image": "/etc/passwd"},
        {"sampler_steps": 10**6},
        {"sigmas": [1.0] * 1000},
        {"sigmas": 3},
        {"chunk_frames": "many"},
        {"keymap": {"name": "x"}},
        {"obs_size": [10**9, 10**9]},
        {"sensors": ["depth"]},
        {"body": {"radius": "wide"}, "contact": "report"},
        {"task": {"task_class": "PointNav", "success_distance": -1}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_are_refused(model, settings):
    with pytest.raises(ServerError) as told:
        Simulators(model, no_image).get(settings)
    assert told.value.code in ("invalid", "unknown-image")


def test_tasks_bring_no_code():
    assert check_task(PointNav(success_distance=0.7).to_dict()) == PointNav(success_distance=0.7)
    for value in (
        {"task_class": "antigravity:Task"},
        {"success_distance": 1},
        {"task_class": "PointNav", "terms": {"a": 1}},
    ):
        with pytest.raises(ServerError):
            check_task(value)
    with pytest.raises(ServerError, match="reward terms"):
        check_task({"task_class": "PointNav", "rewards": {"os.system": 1.0}})


def test_sensors_name_no_folder():
    assert check_sensors(["depth", {"max_depth": 9.0, "source": None}, {"rays": 5}]) == [
        "depth",
        {"max_depth": 9.0},
        {"rays": 5},
    ]
    with pytest.raises(ServerError, match="depth source"):
        check_sensors({"max_depth": 9.0, "source": "/etc"})
    with pytest.raises(ServerError, match="rays"):
        check_sensors([{"rays": 10**9}])
