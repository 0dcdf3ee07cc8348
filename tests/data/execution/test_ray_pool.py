"""How many items a process of Ray's is given, without a Ray."""

import pytest

from sanawm_env.data.execution.progress import Board
from sanawm_env.data.execution.ray_pool import Pool, _Loop, _Seat


def loop(items, total=None, group=None, ahead=True):
    pool = Pool("local", None, None, None, group, ahead, 3, None, None, None, "main", print)
    made = _Loop(None, items, Board(total), pool)
    made.seats = [_Seat("ray-0", None, slots=4), _Seat("ray-1", None, slots=1)]
    return made


@pytest.mark.parametrize(
    ("options", "given"), [({}, (16, 1)), ({"ahead": False}, (4, 1)), ({"group": 3}, (3, 3)), ({"total": 12}, (6, 1))]
)
def test_a_worker_with_slots_gets_more_at_a_time_unless_nothing_may_wait(options, given):
    made = loop(range(100), **options)
    assert tuple(len(made._next(seat)) for seat in made.seats) == given


def test_a_list_that_has_nothing_for_now_is_asked_again():
    made = loop(iter([0, 1, None, 2, None, None, 3]))
    seat = made.seats[0]
    assert [made._next(seat) for _ in range(4)] == [[0, 1], [2], [], [3]]
    assert made.exhausted is False and not made._over()
    assert made._next(seat) == [] and made.exhausted and made._over()
