"""WorldState as a value: slots, copies, files."""

import copy
import functools
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import VERSION, WorldState


@functools.cache
def state():
    """Three slots that differ, two of them past a step."""
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0))
    model = WorldModel.untrained(config)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    begun, _ = model.start(images, [[30, 30, 24, 16]] * 3, [1, 2, 3])
    poses = np.tile(np.eye(4), (3, 4, 1, 1))
    poses[:, :, 0, 3] = 0.1
    stepped, _ = model.step(begun, poses)
    return stepped.replace_slots([2], begun.select([2]))


def single(index):
    return state().select([index])


def storage(value):
    return {tensor.untyped_storage().data_ptr() for tensor in value.flat().values() if tensor.numel()}


def test_slot_axis_everywhere():
    assert len(state()) == state().slots == 3
    assert all(value.shape[0] == 3 for value in state().flat().values())
    assert state().nbytes == 3 * single(0).nbytes
    assert state().frame_index.tolist() == [4, 4, 0]


def test_select_fork_cat():
    first, second, third = (single(i) for i in range(3))
    assert not first.equal(second)
    assert WorldState.cat([first, second, third]).equal(state())
    assert state().select([2, 0]).equal(WorldState.cat([third, first]))
    assert state().select([1, 1]).equal(second.fork(2))
    forked = state().fork(2)
    assert forked.equal(WorldState.cat([first, first, second, second, third, third]))
    assert forked.nbytes == 2 * state().nbytes
    reseeded = first.fork(3, reseed=[7, 8, 9])
    assert reseeded.noise_seed.tolist() == [7, 8, 9]
    assert not reseeded.equal(first.fork(3))


def test_copies_share_no_memory():
    for made in (state().fork(1), state().select([0, 1, 2]), state().replace_slots([0], single(1))):
        assert not storage(made) & storage(state())
        assert all(value.is_contiguous() for value in made.flat().values())


def test_replace_slots_leaves_the_original():
    before = state().map(torch.clone)
    mixed = state().replace_slots([2, 0], WorldState.cat([single(0), single(1)]))
    assert mixed.equal(WorldState.cat([single(1), single(1), single(0)]))
    assert state().equal(before)


def test_equal_is_about_bits():
    nan = single(0).map(lambda value: torch.full_like(value, torch.nan) if value.is_floating_point() else value)
    assert nan.equal(nan.map(torch.clone))
    zero = single(0).map(torch.zeros_like)
    negative = zero.map(lambda value: -value if value.is_floating_point() else value)
    assert not zero.equal(negative)
    assert not state().equal(single(0))


def test_pickle_and_deepcopy():
    """Process-based vector environments send states around."""
    assert pickle.loads(pickle.dumps(state())).equal(state())
    assert copy.deepcopy(state()).equal(state())


def test_to_device():
    assert state().to("cpu").equal(state())
    assert state().to("meta").slots == 3


@pytest.mark.parametrize("indices", [[], [3], [-1]])
def test_bad_indices(indices):
    with pytest.raises(IndexError, match=r"0\.\.2"):
        state().select(indices)
    with pytest.raises(IndexError, match=r"0\.\.2"):
        state().replace_slots(indices, single(0))


def test_bad_joins():
    one = single(0)
    with pytest.raises(ValueError, match="different indices"):
        state().replace_slots([0, 1], one)
    with pytest.raises(ValueError, match="different indices"):
        state().replace_slots([0, 0], state().select([0, 1]))
    with pytest.raises(ValueError, match="at least one"):
        WorldState.cat([])
    foreign = WorldState(**{**vars(one), "checkpoint": "other"})
    with pytest.raises(ValueError, match="checkpoints"):
        WorldState.cat([one, foreign])
    worded = WorldState(**{**vars(one), "text": torch.zeros(1, 2, 5), "text_mask": torch.ones(1, 2) > 0})
    with pytest.raises(ValueError, match="'text"):
        state().replace_slots([0], worded)
    with pytest.raises(ValueError, match="axis of 1 slots"):
        WorldState(**{**vars(one), "text": torch.zeros(2, 0, 0)})


@pytest.mark.parametrize(("n", "reseed"), [(0, None), (2, [1]), (2, [1, -1]), (2, [1, 2, 3])])
def test_bad_forks(n, reseed):
    with pytest.raises(ValueError, match=r"fork needs|seeds must be 2"):
        single(0).fork(n, reseed)


# -- files ------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    file = tmp_path / "state.safetensors"
    single(0).save(file)
    state().save(file)  # replaces
    assert WorldState.load(file).equal(state())
    loaded = WorldState.load(str(file), state().checkpoint)
    assert loaded.equal(state()) and loaded.nbytes == state().nbytes
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    # Views that share memory are written as what they are.
    shared = single(0).map(lambda value: value.expand(2, *value.shape[1:]))
    shared.save(file)
    assert WorldState.load(file).equal(single(0).fork(2))


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "state.safetensors"
    state().save(file)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        single(0).save(file)
    monkeypatch.undo()
    assert WorldState.load(file).equal(state())
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_leaves_the_umask_alone(tmp_path, monkeypatch):
    """To read the umask one has to set it, for all threads: another one's file could be born open to everybody."""

    def touched(_):
        raise AssertionError("umask")

    (tmp_path / "plain").write_text("")
    monkeypatch.setattr(os, "umask", touched)
    state().save(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_neighbours_as_views():
    part = state().narrow(1, 2)
    assert part.equal(state().select([1, 2])) and storage(part) <= storage(state())
    for start, slots in ((-1, 1), (2, 2), (0, 0)):
        with pytest.raises(IndexError, match=r"0\.\.2"):
            state().narrow(start, slots)


def write(path, kind):
    if kind == "truncated":
        state().save(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "header":
        state().save(path)
        path.write_bytes(path.read_bytes()[:50])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(vars(single(0))))
    elif kind == "torch":
        torch.save(dict(single(0).flat()), path)
    elif kind == "text":
        path.write_text("hello")
    elif kind == "foreign":
        save_file({"a": torch.zeros(2)}, path)
    elif kind == "folder":
        path.mkdir()
    else:
        state().save(path)
        tensors = load_file(path)
        metadata = {"format": "sanawm_env.world_state", "version": VERSION, "checkpoint": state().checkpoint}
        if kind == "version":
            metadata["version"] = "99"
        elif kind == "missing":
            del tensors["c2w"]
        elif kind == "missing_cache":
            del tensors["cache.frames"]
        elif kind == "unknown":
            tensors["extra"] = torch.zeros(3)
        elif kind == "slots":
            tensors["noise_seed"] = torch.zeros(2, dtype=torch.int64)
        save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated"),
        ("header", "truncated"),
        ("empty", "truncated"),
        ("pickle", "of another kind"),
        ("torch", "of another kind"),
        ("text", "of another kind"),
        ("folder", "not a whole safetensors file"),
        ("foreign", "no world state"),
        ("version", "version '99'"),
        ("missing", "not a usable world state"),
        ("missing_cache", "not a usable world state"),
        ("unknown", "not a usable world state"),
        ("slots", "not a usable world state"),
    ],
)
def test_bad_files(tmp_path, kind, message):
    file = tmp_path / "bad.safetensors"
    write(file, kind)
    with pytest.raises(ValueError, match=message) as caught:
        WorldState.load(file)
    assert "bad.safetensors" in str(caught.value)


def test_missing_file_and_other_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"WorldState\.save"):
        WorldState.load(tmp_path / "none.safetensors")
    state().save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="load that checkpoint"):
        WorldState.load(tmp_path / "a.safetensors", "f" * 16)


def test_a_state_says_which_weights_made_it(tmp_path):
    """Hash and name, revision included, survive every way to a new state, and the disk."""
    name = "somebody/some-model@0123abc (streaming)"
    made = WorldState(**{**vars(state()), "checkpoint_name": name})
    made.save(tmp_path / "a.safetensors")
    ways = [made.fork(2), made.select([1]), made.replace_slots([0], made.select([2])), made.to("cpu")]
    ways += [WorldState.cat([made, made]), WorldState.load(tmp_path / "a.safetensors")]
    for after in ways:
        assert (after.checkpoint, after.checkpoint_name) == (made.checkpoint, name)
    with pytest.raises(ValueError, match=r"somebody/some-model@0123abc"):
        WorldState.load(tmp_path / "a.safetensors", "f" * 16)
    assert state().checkpoint_name == small_config().name and made.equal(state()), "a name decides nothing"
