"""A work list that counts hours or bytes ends with what is in play, and nothing else, on top."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.data.collection.plan import Plan
from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.work import WorkList


def played(item, seconds, size, kept):
    return Done(item.number, kept, (), False, 1, 0, seconds, 0.1, size)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_only_what_is_in_play_comes_on_top(data, in_play, seed):
    goal, quota = data.draw(st.floats(5, 60)), data.draw(st.none() | st.integers(500, 3000))
    work = WorkList(Plan("c", "h", None, "p", hours=goal / 3600), {}, quota=quota)
    chance, going, begun_last = random.Random(seed), [], None
    while True:
        while len(going) < in_play and (item := next(work, None)) is not None:
            assert work.kept_seconds < goal and (quota is None or work.size < quota)
            going.append(item)
        if not going:
            break
        if work.complete or work.full:
            begun_last = len(going) if begun_last is None else begun_last
        work.add(played(going.pop(chance.randrange(len(going))), chance.uniform(1, 9), 100, chance.random() < 0.7))
    assert work.complete or work.full
    assert begun_last is None or begun_last < in_play
    assert work.kept_seconds < goal + 9 * in_play and (quota is None or work.size < quota + 100 * in_play)


def test_numbers_that_are_done_are_not_handed_out_again():
    outcome = {"outcome": {"kept": True, "seconds_of_world": 1.0}}
    work = WorkList(Plan("c", "h", None, "p", episodes=5), {1: outcome, 7: outcome})
    assert [item.number for item in work] == [0, 2, 3, 4] and work.finished == 1
