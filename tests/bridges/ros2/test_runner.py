"""When steps are made and frames sent, on a clock of the test's own."""

from concurrent.futures import Executor, Future
from types import SimpleNamespace

import numpy as np
import pytest
from sanawm_env.bridges.ros2.diagnose import WARNING, report
from sanawm_env.bridges.ros2.messages import nanoseconds
from sanawm_env.bridges.ros2.robot import START, Frame
from sanawm_env.bridges.ros2.runner import Runner
from sanawm_env.bridges.ros2.teleop import Limits, Teleop

FPS, FRAMES = 16.0, 4


class Worlds:
    """A session of one robot that remembers what it was told."""

    fps, frames_per_step, namespaces, snapshots = FPS, FRAMES, ("",), ()

    def __init__(self):
        self.index, self.told, self.contacts = 0, [], {}

    @property
    def now(self):
        return nanoseconds(self.index, FPS, START)

    def step(self, twists):
        self.told.append(twists[""].tolist())
        frames = [
            Frame(i, nanoseconds(i, FPS, START), np.zeros((1, 1, 3), np.uint8), np.eye(4), np.ones(4))
            for i in range(self.index + 1, self.index + 1 + FRAMES)
        ]
        self.index += FRAMES
        return {"": frames}


class Later(Executor):
    """Steps that are done when the test says so; `result` does not wait for it."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *arguments):
        future = Future()
        future.result = lambda: function(*arguments)
        self.waiting.append(future)
        return future

    def finish(self):
        self.waiting.pop(0).set_result(None)


@pytest.fixture
def setting():
    def make(mode):
        time = SimpleNamespace(now=100.0)
        worlds, teleop, sent, later = Worlds(), Teleop(Limits(1, 1)), [], Later()
        runner = Runner(
            worlds, {"": teleop}, lambda name, frame: sent.append((time.now, frame.index)), mode, later,
            clock=lambda: time.now,
        )  # fmt: skip
        return runner, worlds, teleop, sent, later, time

    return make


def command(teleop, speed, now=START):
    teleop.take((speed, 0, 0), (0, 0, 0), now)


def test_lockstep_makes_one_step_for_each_command_in_their_order(setting):
    runner, worlds, teleop, sent, later, _ = setting("lockstep")
    for _ in range(3):
        runner.tick()
    assert not later.waiting and runner.wait() == 0.1
    command(teleop, 0.1), command(teleop, 0.2)
    runner.tick(), runner.tick()
    assert len(later.waiting) == 1  # the second waits for the first
    later.finish()
    runner.tick()
    assert [index for _, index in sent] == [1, 2, 3, 4]
    later.finish()
    runner.tick(), runner.tick()
    assert [twist[0] for twist in worlds.told] == [0.1, 0.2] and not later.waiting
    assert runner.now == worlds.now


def test_fast_goes_on_with_the_last_command_until_it_is_old(setting):
    runner, worlds, teleop, sent, later, _ = setting("fast")
    command(teleop, 0.1), command(teleop, 0.3)
    for _ in range(5):
        runner.tick()
        later.finish()
    runner.tick()
    # Steps of a quarter of a second: the third begins half a second after the command, the fourth later.
    assert [twist[0] for twist in worlds.told] == [0.3, 0.3, 0.3, 0, 0]
    assert len(sent) == 5 * FRAMES and teleop.counts["stopped"] == 3  # a sixth has begun


def run_for(frames, runner, sent, later, time, took):
    """Let steps take so many seconds until so many frames were sent."""
    done = None
    while len(sent) < frames:
        runner.tick()
        if later.waiting and done is None:
            done = time.now + took
        elif done is not None and time.now >= done:
            later.finish()
            done = None
        time.now += min(runner.wait(), 0.005)


def test_realtime_sends_each_frame_when_it_is_due(setting):
    runner, _, _, sent, later, time = setting("realtime")
    run_for(10 * FRAMES, runner, sent, later, time, 0.1)
    late = np.array([at - (100.0 + index / FPS) for at, index in sent])
    settled = late[2 * FRAMES :] - late[2 * FRAMES]
    assert np.abs(settled).max() < 0.5 / FPS  # the first step was begun late: nothing was known of how long it takes
    assert runner.real_time_factor == pytest.approx(1, abs=0.05)


def test_realtime_that_is_too_slow_lets_time_pass_slowly_and_says_so(setting):
    runner, _, teleop, sent, later, time = setting("realtime")
    run_for(20 * FRAMES, runner, sent, later, time, 0.5)  # twice the simulated time
    assert runner.real_time_factor == pytest.approx(0.5, abs=0.05) and runner.late > 5
    level, text = report(runner, {"": teleop})[0][1:3]
    assert level == WARNING and "slower than real time" in text


def test_a_pause_stops_time_and_a_step_moves_it(setting):
    runner, worlds, teleop, sent, later, time = setting("fast")
    runner.pause(True)
    runner.tick()
    time.now += 1000
    assert not later.waiting and runner.wait() == 0.1
    command(teleop, 0.4)
    runner.step()
    assert worlds.told == [[0.4, 0, 0, 0, 0, 0]] and len(sent) == FRAMES
    assert report(runner, {"": teleop})[0].text == "paused"
    runner.pause(False)
    runner.tick()
    assert len(later.waiting) == 2  # the one by hand, which was not asked for its result, and the next


def test_settling_sends_what_is_on_its_way(setting):
    runner, _, _, sent, _, _ = setting("realtime")
    runner.tick()
    runner.settle()
    assert [index for _, index in sent] == [1, 2, 3, 4]
