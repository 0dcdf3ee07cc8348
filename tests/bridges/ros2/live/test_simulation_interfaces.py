"""What the shared simulators' services answer, without ROS."""

from types import SimpleNamespace

import pytest
from sanawm_env.bridges.ros2.live import simulation_interfaces as simulation
from sanawm_env.bridges.ros2.live.simulation_interfaces import OK, PAUSED, PLAYING, QUITTING, STOPPED, Acts


@pytest.fixture
def world():
    return SimpleNamespace(paused=False, steps=0, resets=0)


@pytest.fixture
def call(world):
    def reset():
        world.resets += 1

    def step():
        world.steps += 1

    acts = Acts(reset, lambda: world.paused, lambda on: setattr(world, "paused", on), step)

    def call(service, **fields):
        response = SimpleNamespace(result=SimpleNamespace(), state=SimpleNamespace(), features=SimpleNamespace())
        return service(acts, SimpleNamespace(**fields), response)

    return call


def state(value):
    return {"state": SimpleNamespace(state=value)}


def test_steps_are_for_a_pause(world, call):
    refused = call(simulation.step, steps=3).result
    assert refused.result == simulation.INCORRECT_STATE and "pause" in refused.error_message and not world.steps
    world.paused = True
    assert call(simulation.step, steps=3).result.result == OK and world.steps == 3
    for bad in (0, 10**9):
        assert call(simulation.step, steps=bad).result.result == simulation.FAILED
    assert world.steps == 3


def test_states(world, call):
    assert call(simulation.get_state).state.state == PLAYING
    assert call(simulation.set_state, **state(PLAYING)).result.result == simulation.ALREADY_THERE
    assert call(simulation.set_state, **state(PAUSED)).result.result == OK and world.paused
    assert call(simulation.get_state).state.state == PAUSED and not world.resets
    assert call(simulation.set_state, **state(PLAYING)).result.result == OK and not world.paused
    assert call(simulation.set_state, **state(STOPPED)).result.result == OK and world.paused and world.resets == 1
    assert call(simulation.set_state, **state(QUITTING)).result.result == simulation.UNSUPPORTED


def test_resets_leave_time_alone(world, call):
    assert call(simulation.reset, scope=1).result.result == simulation.UNSUPPORTED and not world.resets
    assert call(simulation.reset, scope=0).result.result == OK and world.resets == 1
    assert call(simulation.reset, scope=255).result.result == OK and world.resets == 2


def test_features():
    response = SimpleNamespace(features=SimpleNamespace())
    assert simulation.features(None, response).features.features == [10, 14, 15, 16]
