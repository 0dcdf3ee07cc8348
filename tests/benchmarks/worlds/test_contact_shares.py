"""Shares of moves, and their intervals over scenes."""

import pytest

from benchmarks.worlds.contact_shares import Move, interval, summarize


def test_shares_of_moves():
    def move(hit, seen, share, room, seed=0):
        return Move(seed, "room", 0, hit, seen, {"": share}, {"": room})

    moves = [move(True, True, 0.5, 0.0), move(True, True, 1.0, -0.1), move(True, True, 0.9, -0.01)]
    moves += [move(False, True, 1.0, 0.2), move(False, False, 0.3, 0.2)]
    found = summarize(moves)
    assert (found["hits"], found["free"], found["hits_beyond"], found["free_beyond"]) == (3, 1, 0, 1)
    assert found["blocked_of_hits"] == found["kept_of_hits"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["shortened_of_free"] == 0 and found["shortened_of_free_beyond"] == 1
    assert found["blocked_of_hits_beyond"] is None
    assert interval(moves[:3]) is None
    # One scene of two has all the misses: drawing scenes gives anything between both, drawing moves would not.
    two = moves[:1] * 50 + [move(True, True, 1.0, 0.0, seed=1)] * 50
    assert interval(two) == [0, 1]
