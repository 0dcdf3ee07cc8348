"""SPL and soft SPL against their definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanawm_env.tasks.metrics import soft_spl, spl

metres = st.floats(0, 100)


def test_worked_examples():
    assert spl(True, 2.0, 4.0) == 0.5
    assert spl(False, 2.0, 4.0) == 0.0
    assert spl(True, 2.0, 1.5) == 1.0  # within the success radius one may go less than the shortest path
    assert soft_spl(1.0, 2.0, 4.0) == 0.25
    assert soft_spl(3.0, 2.0, 4.0) == 0.0  # farther than at the start


@given(metres, metres, metres, st.booleans())
def test_both_lie_between_0_and_1(distance, shortest, travelled, success):
    assert 0 <= spl(success, shortest, travelled) <= 1
    assert 0 <= soft_spl(distance, shortest, travelled) <= 1


@given(st.floats(0.1, 10), st.floats(0, 100))
def test_soft_spl_at_the_goal_is_spl(shortest, travelled):
    assert soft_spl(0.0, shortest, travelled) == pytest.approx(spl(True, shortest, travelled))
