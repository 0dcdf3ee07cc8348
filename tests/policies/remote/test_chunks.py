"""From answers to actions."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from sanawm_env.policies.remote.chunks import read_actions

BOX = spaces.Box(-1.0, 1.0, (6,), np.float32)
FRAMES = spaces.Box(-1.0, 1.0, (4, 6), np.float32)
FOUR = spaces.Discrete(4)
KEYS = spaces.MultiBinary(8)


def read(actions, space=BOX, replan=None, clip=False):
    return read_actions({"actions": actions, "server_timing": {}}, space, replan, clip)


@given(st.sampled_from([BOX, FRAMES, FOUR, KEYS]), st.integers(1, 9), st.integers(0, 2**31))
def test_chunks_of_every_space(space, rows, seed):
    space.seed(seed)
    drawn = [space.sample() for _ in range(rows)]
    for found in (read(np.stack(drawn), space), read(np.stack(drawn), space, replan=rows)):
        assert len(found) == rows and all(np.array_equal(a, b) for a, b in zip(found, drawn, strict=True))
        assert all(action in space for action in found)
    (one,) = read(np.asarray(drawn[0]), space)
    assert np.array_equal(one, drawn[0]) and one in space
    assert len(read(np.stack(drawn), space, replan=1)) == 1


def test_other_forms():
    assert read(np.array([[2.0], [3.0]]), FOUR) == [2, 3]
    assert read([1, 2], FOUR) == [1, 2] and read(3, FOUR) == [3]
    assert read([[0.5] * 6])[0].dtype == np.float32
    beyond = np.full((1, 6), 1 + 5e-7)
    assert read(beyond)[0] in BOX
    assert np.array_equal(read(3 * beyond, clip=True)[0], np.ones(6))
    assert read([9], FOUR, clip=True) == [3]


@pytest.mark.parametrize(
    ("actions", "space", "said"),
    [
        (np.zeros((5, 7)), BOX, r"chunk \(H, 6\) of real numbers; got shape \(5, 7\)"),
        (np.zeros((0, 6)), BOX, r"got shape \(0, 6\)"),
        (np.zeros((1, 1, 6)), BOX, r"got shape \(1, 1, 6\)"),
        (np.zeros((4, 6)), spaces.Box(-1, 1, (3, 6)), "got shape"),
        (np.array([[0] * 6, [0, np.nan, 0, 0, 0, 0]]), BOX, "finite; action 1 of the chunk"),
        (np.full((1, 6), np.inf), BOX, "finite; action 0"),
        (np.full((2, 6), 1.5), BOX, "action 0 of the chunk is .*clip=true"),
        (np.array([1.5]), FOUR, "whole numbers"),
        (np.array([4]), FOUR, "action 0 of the chunk is 4"),
        (np.array([[0, 1]]), FOUR, r"chunk \(H,\) of whole numbers"),
        (np.full((1, 8), 2), KEYS, "action 0"),
        ("forward", BOX, "got str"),
        (None, BOX, "got NoneType"),
        ([["a"] * 6], BOX, "got list of something else"),
        ([[0.0] * 6, [0.0]], BOX, "chunk"),
    ],
)
def test_what_is_no_action(actions, space, said):
    with pytest.raises(ValueError, match=said):
        read(actions, space)


def test_no_actions_and_too_few():
    with pytest.raises(ValueError, match="no 'actions', but action, state"):
        read_actions({"action": 1, "state": 2}, BOX, None, False)
    with pytest.raises(ValueError, match="has 2 actions, and 5 are to be done"):
        read(np.zeros((2, 6)), replan=5)
