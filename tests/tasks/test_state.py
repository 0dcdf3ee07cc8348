"""`TaskState`: whatever arrays a task or its user gives, they are kept as they were and can be saved."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sanawm_env import SanaWMEnv
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.tasks import FollowPath, TaskState

SHAPES = {
    "transposed": lambda a: a.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_a_path_of_any_memory_layout_can_be_saved(world, tmp_path, kind):
    path = np.stack([np.eye(4)] * 3)
    path[:, 2, 3] = 0.5, 1.0, 1.5
    env = SanaWMEnv(world, task="FollowPath", obs_mode="pose")
    env.reset(seed=0, options={"goal": SHAPES[kind](path)})
    env.snapshot().save(tmp_path / "moment")
    assert np.array_equal(EnvSnapshot.load(tmp_path / "moment").task["path"], path)


@pytest.mark.parametrize("kind", SHAPES)
def test_arrays_are_copied_into_one_piece(kind):
    given = SHAPES[kind](np.arange(24.0).reshape(2, 3, 4))
    held = TaskState.of("T", a=given)["a"]
    assert np.array_equal(held, given) and held.flags.c_contiguous and held.dtype.isnative
    assert not held.flags.writeable and not np.shares_memory(held, given)


def test_writing_to_what_was_given_changes_nothing():
    given = np.zeros(3)
    state = TaskState("T", {"a": given})
    given[0] = 1
    assert state["a"].tolist() == [0, 0, 0]


def test_unchanged_arrays_are_shared():
    state = TaskState.of("T", big=np.zeros(9), n=1)
    after = state.with_(n=2)
    assert after["big"] is state["big"] and after.number("n") == 2 and state.number("n") == 1


@pytest.mark.parametrize("value", ["there", 1j, [object()], np.array(["a"]), np.array(0, dtype="datetime64[s]")])
def test_what_no_file_can_hold_is_refused_at_once(value):
    with pytest.raises(ValueError, match="'odd' has dtype"):
        TaskState.of("T", odd=value)


@given(arrays.arrays(st.sampled_from(["b1", "i1", "u1", "i4", "i8", "f4", "f8"]), arrays.array_shapes(min_dims=0)))
def test_copies_are_equal_and_frozen(value):
    state = TaskState("T", {"a": value}, "settings").measured({"x": 1.0})
    twin = pickle.loads(pickle.dumps(state))
    assert twin.equal(state) and twin.fingerprint == "settings" and twin.measures is None
    assert not twin["a"].flags.writeable and copy.deepcopy(state) is state


def test_equality_sees_values_tasks_and_known_settings():
    state = TaskState("T", {"a": np.zeros(2)}, "one")
    assert not state.equal(None) and not state.equal(TaskState("U", state.values, "one"))
    assert not state.equal(state.with_(a=[0, 1.0])) and not state.equal(state.with_(b=1))
    assert not state.equal(TaskState("T", state.values, "two")) and state.equal(TaskState("T", state.values))


def test_a_task_of_before_still_makes_episodes():
    from sanawm_env.tasks import Beginning, Episode, Referee, ResetContext, Stage, TaskContext, TaskRunner

    assert (Beginning, Episode, Referee, Stage) == (ResetContext, TaskState, TaskRunner, TaskContext)
    assert Episode.of(FollowPath.name, passed=0).number("passed") == 0
