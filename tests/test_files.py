"""`files`: whole or not at all."""

import json
import os
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.files import cache_folder, check_writable, replacing, save_array, save_tensors, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_first_error_counts_even_if_the_half_file_is_gone(tmp_path):
    with pytest.raises(RuntimeError, match="first"), replacing(tmp_path / "a") as temporary:
        temporary.unlink()
        raise RuntimeError("first")


def test_nested_files_move_together(tmp_path):
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "a") as a, replacing(tmp_path / "b") as b:
        a.write_text("1")
        b.write_text("2")
        raise OSError("disk full")
    assert names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_open(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(2)})
        write_text(tmp_path / "b.txt", "")
    finally:
        os.umask(before)
    for name in names(tmp_path):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask


def test_contents(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"ä": 1.5})
    assert json.loads((tmp_path / "new" / "a.json").read_text(encoding="utf-8")) == {"ä": 1.5}
    save_array(tmp_path / "a.npy", np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    base = torch.arange(12.0).reshape(3, 4)
    shared = {"all": base, "same": base, "row": base[1], "turned": base.T}
    save_tensors(tmp_path / "a.safetensors", shared, {"k": "v"})
    read = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(read[name], value) for name, value in shared.items())


def test_a_place_that_cannot_be_written_is_refused(monkeypatch, tmp_path):
    check_writable(tmp_path / "a" / "deep" / "file.mp4")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; choose another place"):
        check_writable(tmp_path / "file" / "a.mp4")
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write wherever modes forbid it
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be written: .* is read-only; choose another place"):
        check_writable(tmp_path / "a" / "a.mp4")


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


def test_the_cache_can_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
