"""Stored results: whole or not there, and only for the world that made them."""

import json

import pytest

from sanawm_env.evaluation.store import PartStore, write_json


def test_results_come_back_for_the_same_key_only(tmp_path):
    store = PartStore(tmp_path, {"checkpoint": "a"})
    assert store.get("flow", 7) is None
    assert store.put("flow", 7, {"x": [1.5, None], "marks": (1, 2)}) == {"x": [1.5, None], "marks": [1, 2]}
    assert PartStore(tmp_path, {"checkpoint": "a"}).get("flow", 7) == {"x": [1.5, None], "marks": [1, 2]}
    assert PartStore(tmp_path, {"checkpoint": "b"}).get("flow", 7) is None
    assert store.get("flow", 8) is None and store.get("idle", 7) is None


@pytest.mark.parametrize("text", ["", '{"x": 1', "[1]", "\x00\xff"])
def test_a_broken_file_counts_as_not_there(tmp_path, text):
    store = PartStore(tmp_path, {})
    store.put("flow", 7, {"x": 1})
    (path,) = tmp_path.glob("*/flow/7.json")
    path.write_bytes(text.encode("latin-1"))
    assert store.get("flow", 7) is None


def test_numbers_that_json_lacks_are_refused_and_leave_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
