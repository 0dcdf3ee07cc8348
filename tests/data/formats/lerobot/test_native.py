import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from sanawm_env.data.formats import lerobot
from sanawm_env.data.formats.lerobot import native
from sanawm_env.data.formats.lerobot.items import read_items
from sanawm_env.data.formats.lerobot.statistics import combined, of_rows


def drop(ds, number):
    file = ds / "sanawm" / "episodes" / f"{number:06d}.json"
    values = json.loads(file.read_text())
    values["outcome"] |= {"kept": False, "reasons": ["length: too short"]}
    values["video"] = None
    file.write_text(json.dumps(values))
    (ds / "videos" / "observation.images.main" / "chunk-000" / f"file-{number:03d}.mp4").unlink()


def tables(ds):
    return {
        path.relative_to(ds).as_posix(): path.read_bytes()
        for name in ("data", "meta")
        for path in (ds / name).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def ds(tmp_path, make_episode):
    lerobot.write(tmp_path / "ds", [make_episode(seed, steps=2 + seed % 2) for seed in range(4)], codec="rgb")
    return tmp_path / "ds"


def test_dropped_items_leave_gaps_in_file_numbers_only(ds):
    videos = {path: path.stat().st_mtime_ns for path in ds.rglob("*.mp4")}
    drop(ds, 1)
    lerobot.index(ds)
    episodes = pq.read_table(ds / "meta/episodes/chunk-000/file-000.parquet")
    assert episodes["episode_index"].to_pylist() == [0, 1, 2]
    assert episodes["videos/observation.images.main/file_index"].to_pylist() == [0, 2, 3]
    assert episodes["dataset_from_index"].to_pylist() == [0, 17, 34]
    assert lerobot.check(ds) == []
    assert [episode.name for episode in lerobot.read(ds)] == ["0", "2", "3"]
    assert all(path.stat().st_mtime_ns == videos[path] for path in ds.rglob("*.mp4"))


def test_indexing_again_changes_nothing(ds):
    before = tables(ds)
    lerobot.index(ds)
    assert tables(ds) == before and sorted(each.name for each in ds.iterdir()) == ["data", "meta", "sanawm", "videos"]


def test_an_index_can_be_lost(ds):
    before = tables(ds)
    for name in ("data", "meta"):
        shutil.rmtree(ds / name)
    (ds / ".index-dead").mkdir()
    assert len(list(lerobot.read(ds))) == 4 and lerobot.detect(ds)
    lerobot.index(ds)
    assert tables(ds) == before and not (ds / ".index-dead").exists()


@pytest.mark.parametrize("call", range(4))
def test_a_process_that_dies_while_it_indexes_breaks_nothing(ds, monkeypatch, call):
    """At each of the moves: what is there afterwards is whole or is refused, and indexing again mends it."""
    before, rename, calls = tables(ds), os.rename, []
    drop(ds, 0)

    class Killed(BaseException):
        pass

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) > call:
            raise Killed
        rename(*arguments)

    monkeypatch.setattr(native.os, "rename", dying)
    monkeypatch.setattr(native.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(Killed):
        lerobot.index(ds)
    monkeypatch.undo()
    if call == 0:
        assert tables(ds) == before
    else:
        assert any(problem.fatal for problem in lerobot.check(ds))
    lerobot.index(ds)
    assert lerobot.check(ds) == [] and len(list(lerobot.read(ds))) == 3


@pytest.mark.parametrize("call", range(4))
def test_a_file_system_that_refuses_a_move_leaves_the_old_index(ds, monkeypatch, call):
    before, rename, calls = tables(ds), os.rename, []
    drop(ds, 0)

    def refusing(*arguments):
        calls.append(arguments)
        if len(calls) == call + 1:
            raise PermissionError("read-only")
        rename(*arguments)

    monkeypatch.setattr(native.os, "rename", refusing)
    with pytest.raises(PermissionError):
        lerobot.index(ds)
    assert tables(ds) == before and not list(ds.glob(".index-*"))


def test_a_broken_item_stops_it_and_leaves_the_old_index(ds):
    before = tables(ds)
    (ds / "sanawm" / "episodes" / "000002.npz").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"000002\.npz"):
        lerobot.index(ds)
    assert tables(ds) == before
    for item in read_items(ds):
        drop(ds, item.number)
    with pytest.raises(ValueError, match="no episode that was kept"):
        lerobot.index(ds)


def test_more_episodes_than_one_folder_holds(ds, make_episode, monkeypatch):
    """With two episodes to a file of rows and two videos to a folder."""
    for module in ("formats.lerobot.layout", "storage.native"):
        monkeypatch.setattr(f"sanawm_env.data.{module}.PER_CHUNK", 2)
    lerobot.write(ds.parent / "many", [make_episode(seed, steps=1) for seed in range(5)])
    assert len(list((ds.parent / "many" / "data").rglob("*.parquet"))) == 3
    assert len(list((ds.parent / "many" / "videos").rglob("chunk-*"))) == 3
    assert lerobot.check(ds.parent / "many") == []
    shutil.rmtree(ds.parent / "many" / "sanawm")
    for seed, episode in enumerate(lerobot.read(ds.parent / "many")):
        np.testing.assert_array_equal(episode.c2w, make_episode(seed, steps=1).c2w)


def test_statistics_of_parts_combine_to_those_of_all():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(count, 3)) * count for count in (5, 20, 50)]
    whole, joined = of_rows(np.concatenate(parts)), combined([of_rows(part) for part in parts])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(joined[name], whole[name])
    assert np.all(np.array(joined["q10"]) < joined["q50"]) and np.all(np.array(joined["q50"]) < joined["q90"])
