"""What `/diagnostics` says, and when it warns."""

from types import SimpleNamespace

import pytest
from sanawm_env.bridges.ros2.diagnose import OK, WARNING, report
from sanawm_env.bridges.ros2.teleop import Limits, Teleop


@pytest.fixture
def runner():
    session = SimpleNamespace(namespaces=("",), snapshots=("kitchen",), contacts={})
    return SimpleNamespace(
        session=session, mode="realtime", paused=False, now=1_500_000_000, steps=2, step_seconds=0.05, late=0,
        real_time_factor=1.0,
    )  # fmt: skip


def test_all_is_well(runner):
    simulation, commands = report(runner, {"": Teleop(Limits(1, 1))})
    assert (simulation.level, simulation.text) == (OK, "running")
    assert simulation.values["simulated_time"] == "1.5000" and simulation.values["snapshots"] == "kitchen"
    assert commands.level == OK and commands.name == "sanawm: /cmd_vel"
    runner.paused = True
    assert report(runner, {})[0].text == "paused"


def test_a_slow_machine_and_rivals_of_the_clock(runner):
    runner.real_time_factor = 0.5
    assert report(runner, {})[0].level == WARNING and "slower than real time, 0.50" in report(runner, {})[0].text
    runner.mode = "lockstep"
    assert report(runner, {})[0].level == OK
    assert report(runner, {}, clocks=2)[0].level == WARNING and "2 publishers" in report(runner, {}, clocks=2)[0].text


def test_refused_commands_are_a_warning_until_a_good_one(runner):
    teleop = Teleop(Limits(1, 1))
    teleop.take((float("inf"), 0, 0), (0, 0, 0), 0)
    status = report(runner, {"world_1": teleop})[1]
    assert status.name == "sanawm: world_1/cmd_vel" and status.level == WARNING and status.values["refused"] == 1
    teleop.take((0.1, 0, 0), (0, 0, 0), 0)
    assert report(runner, {"world_1": teleop})[1].level == OK


def test_contact(runner):
    runner.session.contacts = {"": {"collisions": 2.0, "clearance": 0.25}, "blind": {}}
    contact = report(runner, {})[1:]
    assert [each.values for each in contact] == [{"collisions": 2, "clearance": "0.250"}]
