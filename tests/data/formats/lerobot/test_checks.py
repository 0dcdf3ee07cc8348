"""What breaks LeRobot's readers, one thing at a time: `check` must find it, and finds nothing before."""

import json
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sanawm_env.data.episode import all_frames
from sanawm_env.data.formats import lerobot
from sanawm_env.data.storage.encode import ClipWriter

DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.main/chunk-000/file-001.mp4"
PLACE = "videos/observation.images.main/"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Written once for all; filled by the first test that needs it."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def ds(whole, tmp_path, make_episode):
    if not (whole / "ds").exists():
        lerobot.write(whole / "ds", [make_episode(seed) for seed in range(3)], codec="rgb")
        assert lerobot.check(whole / "ds") == []
    shutil.copytree(whole / "ds", tmp_path / "ds")
    return tmp_path / "ds"


def info(**changes):
    def change(ds):
        file = ds / "meta" / "info.json"
        values = json.loads(file.read_text())
        values.update(changes)
        file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))

    return change


def feature(name, what):
    def change(ds):
        file = ds / "meta" / "info.json"
        values = json.loads(file.read_text())
        values["features"][name] = what
        if what is None:
            del values["features"][name]
        file.write_text(json.dumps(values))

    return change


def table(name, change):
    def apply(ds):
        before = pq.read_table(ds / name)
        after = change(before)
        pq.write_table(
            after if after.schema.metadata else after.replace_schema_metadata(before.schema.metadata), ds / name
        )

    return apply


def column(name, values):
    return lambda t: t.set_column(t.column_names.index(name), name, values(t[name]))


def without(name):
    return lambda t: t.drop_columns([name])


def item(change):
    def apply(ds):
        file = ds / "sanawm" / "episodes" / "000001.json"
        values = json.loads(file.read_text())
        change(values)
        file.write_text(json.dumps(values))

    return apply


def video(change):
    return lambda ds: change(ds / VIDEO)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def encoded(fps, drop=0):
    def change(ds):
        episode = list(lerobot.read(ds))[1]
        frames = all_frames(episode)
        with ClipWriter(ds / VIDEO, fps, "rgb") as clip:
            clip.write(frames[: len(frames) - drop])

    return change


FATAL = {
    "no version": (info(codebase_version=...), "layout None"),
    "an older layout": (info(codebase_version="v2.1"), "convert"),
    "no info": (lambda ds: (ds / "meta/info.json").unlink(), "missing"),
    "broken info": (lambda ds: (ds / "meta/info.json").write_text("{"), "cannot be read"),
    "a column that is not declared": (feature("decision", None), "'decision' is not declared"),
    "a default that is not declared": (feature("timestamp", None), "'timestamp' is not declared"),
    "a wrong shape": (feature("action", {"dtype": "float32", "shape": [7], "names": None}), "declared as"),
    "a feature without column": (feature("force", {"dtype": "float32", "shape": [1], "names": None}), "no column"),
    "too many episodes": (info(total_episodes=4), "total_episodes"),
    "a wrong number of frames": (info(total_frames=74), "total_frames"),
    "no tasks": (lambda ds: (ds / "meta/tasks.parquet").unlink(), "asks the Hub"),
    "tasks without pandas' index": (
        table("meta/tasks.parquet", lambda t: t.replace_schema_metadata({"a": "b"})),
        "index of the pandas frame",
    ),
    "tasks out of order": (table("meta/tasks.parquet", lambda t: t.take([1, 0])), "wrong texts"),
    "a task that is not there": (
        table(DATA, column("task_index", lambda c: pc.add(c, 1))),
        "task_index goes to",
    ),
    "no dataset_from_index": (table(EPISODES, without("dataset_from_index")), "dataset_from_index"),
    "no from_timestamp": (table(EPISODES, without(PLACE + "from_timestamp")), "from_timestamp"),
    "episodes out of order": (table(EPISODES, lambda t: t.take([1, 0, 2])), "order of their episode_index"),
    "a wrong length": (table(EPISODES, column("length", lambda c: pc.add(c, 1))), "do not follow on"),
    "another place in the video": (
        table(EPISODES, column(PLACE + "from_timestamp", lambda c: pc.add(c, 1.0))),
        "needs 41",
    ),
    "a place between two frames": (
        table(EPISODES, column(PLACE + "from_timestamp", lambda c: pc.add(c, -0.01))),
        "between two frames",
    ),
    "timestamps a millisecond off": (
        table(DATA, column("timestamp", lambda c: pc.add(c, pa.scalar(0.001, pa.float32())))),
        "timestamps",
    ),
    "timestamps of the whole dataset": (
        table(DATA, column("timestamp", lambda c: pa.array([i / 16 for i in range(len(c))], pa.float32()))),
        "timestamps",
    ),
    "rows out of order": (table(DATA, lambda t: t.take(list(range(len(t)))[::-1])), "index does not count"),
    "a value that is no number": (
        table(DATA, column("next.reward", lambda c: pa.array([float("nan")] * len(c), pa.float32()))),
        "no numbers",
    ),
    "rows that are missing": (table(DATA, lambda t: t.slice(0, 60)), "index does not count"),
    "no rows": (lambda ds: (ds / DATA).unlink(), "no Parquet file"),
    "rows cut short": (lambda ds: cut(ds / DATA), "cannot be read"),
    "no episodes": (lambda ds: (ds / EPISODES).unlink(), "no Parquet file"),
    "data elsewhere": (table(EPISODES, column("data/file_index", lambda c: pc.add(c, 1))), "data file 0/1"),
    "half frames per second": (info(fps=16.5), "16.5"),
    "other frames per second": (info(fps=20), "fps"),
    "no video": (video(lambda path: path.unlink()), "is missing"),
    "an empty video": (video(lambda path: path.write_bytes(b"")), "no readable video"),
    "a video cut short": (video(cut), r"frames and episode 1 needs|no readable"),
    "a frame too few": (encoded(16, drop=1), "has 24 frames and episode 1 needs 25"),
    "a video of another rate": (encoded(20), "other frames"),
    "a recipe of another rate": (item(lambda v: v["recipe"].update(fps=20.0)), "20 fps"),
    "a recipe cut short": (item(lambda v: v["recipe"].pop("seed")), "lacks seed"),
    "a recipe that was edited": (item(lambda v: v["recipe"].update(seed=4)), "not those"),
    "a recipe of another length": (item(lambda v: v["recipe"].update(frames=9)), "its recipe makes 9"),
    "a path outside": (
        item(lambda v: v["recipe"].update(image={"file": "/home/me/kitchen.png", "sha256": "0"})),
        "not in the dataset",
    ),
    "a lost picture": (
        item(lambda v: v["recipe"].update(image={"file": "sanawm/images/0.png", "sha256": "0"})),
        "is missing",
    ),
    "a broken item": (lambda ds: cut(ds / "sanawm/episodes/000001.json"), "cannot be read"),
    "lost arrays": (lambda ds: (ds / "sanawm/episodes/000001.npz").unlink(), "cannot be read"),
    "an item that was dropped later": (item(lambda v: v["outcome"].update(kept=False)), "dropped after indexing"),
}


@pytest.mark.parametrize("name", FATAL)
def test_it_is_found(ds, name):
    import re

    change, says = FATAL[name]
    change(ds)
    problems = lerobot.check(ds)
    assert any(problem.fatal and re.search(says, problem.what) for problem in problems), problems


def test_a_rate_that_is_not_the_worlds_is_said_once(ds):
    info(fps=30)(ds)
    (problem,) = lerobot.check(ds)
    assert problem.fatal and "says 30 fps and the world makes 16; index the dataset anew" in problem.what


def test_a_cut_video_of_a_collection_can_be_made_again(ds):
    (ds / VIDEO).unlink()
    (problem,) = lerobot.check(ds)
    assert "delete sanawm/episodes/000001.json, and index" in problem.what
    (ds / "sanawm" / "collection.json").write_text("{}")
    (problem,) = lerobot.check(ds)
    assert "delete sanawm/episodes/000001.json and give the line of `sanawm collect` again" in problem.what


def test_missing_statistics_are_noted(ds):
    (ds / "meta/stats.json").unlink()
    (problem,) = lerobot.check(ds)
    assert not problem.fatal and "statistics" in problem.what


HARMLESS = {
    "a real number of frames per second": info(fps=16.0),
    "no robot type": info(robot_type=...),
    "no splits": info(splits=...),
    "no templates": info(data_path=..., video_path=...),
    "unknown keys": info(more={"a": 1}),
    "columns in another order": table(DATA, lambda t: t.select(t.column_names[::-1])),
    "one row group": table(DATA, lambda t: t.combine_chunks()),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_not_matter_is_no_problem(ds, name):
    HARMLESS[name](ds)
    assert lerobot.check(ds) == []
