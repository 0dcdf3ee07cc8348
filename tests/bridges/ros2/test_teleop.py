"""Commands: refused, limited, forgotten, queued."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanawm_env.bridges.ros2.teleop import QUEUE, Limits, Teleop

numbers = st.floats(allow_nan=True, allow_infinity=True)
triples = st.tuples(numbers, numbers, numbers)


@given(triples, triples, st.booleans())
def test_whatever_comes_the_command_is_finite_and_within_the_limits(linear, angular, holonomic):
    teleop = Teleop(Limits(0.8, 0.3, holonomic))
    good = bool(np.isfinite([*linear, *angular]).all())
    assert teleop.take(linear, angular, 0) is good
    assert bool(teleop.problem) is not good and teleop.waiting is good
    twist = teleop.current(0)
    assert (np.abs(twist) <= [0.8, 0.8, 0.8, 0.3, 0.3, 0.3]).all()
    assert not twist[3:5].any() and (holonomic or not twist[1:3].any())


def test_a_command_within_the_limits_is_itself():
    teleop = Teleop(Limits(1, 1, holonomic=True))
    teleop.take((0.1, -0.2, 0.3), (0, 0, 0.4), 0)
    assert teleop.current(0).tolist() == [0.1, -0.2, 0.3, 0, 0, 0.4]
    assert teleop.counts["limited"] == 0


def test_the_watchdog_counts_simulated_time():
    teleop = Teleop(Limits(1, 1, timeout=0.5))
    teleop.take((1, 0, 0), (0, 0, 0), 10**9)
    assert teleop.current(1_500_000_000)[0] == 1
    assert not teleop.current(1_500_000_001).any()
    assert teleop.counts["stopped"] == 1
    teleop.take((0.5, 0, 0), (0, 0, 0), 2 * 10**9)
    assert teleop.current(2 * 10**9)[0] == 0.5


def test_a_refused_command_neither_moves_nor_keeps_moving():
    teleop = Teleop(Limits(1, 1))
    teleop.take((1, 0, 0), (0, 0, 0), 0)
    teleop.take((float("nan"), 0, 0), (0, 0, 0), 10**9)
    assert not teleop.current(10**9).any()
    assert teleop.counts["refused"] == 1 and "NaN" in teleop.problem


def test_every_command_has_its_turn_until_there_are_too_many():
    teleop = Teleop(Limits(1, 1))
    for i in range(QUEUE + 3):
        teleop.take((i / 100, 0, 0), (0, 0, 0), 0)
    assert teleop.counts["dropped"] == 3
    assert [teleop.next()[0] for _ in range(QUEUE)] == [i / 100 for i in range(3, QUEUE + 3)]
    assert not teleop.waiting


def test_stop_forgets():
    teleop = Teleop(Limits(1, 1))
    teleop.take((1, 0, 0), (0, 0, 0), 0)
    teleop.stop()
    assert not teleop.waiting and not teleop.current(0).any()


@pytest.mark.parametrize("bad", [{"linear": 0}, {"angular": -1}, {"timeout": float("nan")}])
def test_limits_are_positive(bad):
    with pytest.raises(ValueError, match="positive"):
        Limits(**({"linear": 1, "angular": 1} | bad))
