"""`check`: what LeRobot's readers fail on or, worse, read wrongly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.formats.lerobot.check_items import check_items, world_rate
from sanawm_env.data.formats.lerobot.check_videos import check_videos
from sanawm_env.data.formats.registry import Problem

__all__ = ["check"]

AGAIN = "index the dataset anew, or fetch it again"
_TOLERANCE = 1e-4
"""Seconds that LeRobot's readers let a timestamp be off."""
_PLACES = ("dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")


def check(path: Path) -> list[Problem]:
    """Structure, rows, every video (decoded) and every recipe of a dataset.

    Returns:
        Problems, those of readers before those of recipes; empty if there are none.
    """
    path = Path(path)
    try:
        info = layout.read_info(path)
    except ValueError as error:
        return [Problem("meta/info.json", str(error)), *check_items(path, None)]
    problems = _check_info(path, info)
    try:
        episodes = _join(path, sorted((path / "meta" / "episodes").glob("*/*.parquet")), "meta/episodes")
        rows = _join(path, sorted((path / "data").glob("*/*.parquet")), "data")
    except ValueError as error:
        return [*problems, Problem(str(error).partition(":")[0], str(error)), *check_items(path, None)]
    if problems and any(problem.where == "fps" for problem in problems):
        return problems
    if (rate := world_rate(path)) not in (None, info.get("fps")):  # every video and item would say so again
        what = f"it says {info.get('fps')} fps and the world makes {rate:g}; index the dataset anew."
        return [*problems, Problem("meta/info.json", what)]
    found = _check_episodes(info, episodes)
    problems += found + _check_rows(path, info, episodes, rows, complete=not found)
    problems += _check_tasks(path, info, rows)
    problems += check_videos(path, info, episodes)
    return problems + check_items(path, info, episodes)


def _check_info(path: Path, info: Mapping[str, Any]) -> list[Problem]:
    problems, features = [], info["features"]
    fps = info.get("fps")
    if not isinstance(fps, int | float) or fps <= 0 or fps != int(fps):
        problems.append(Problem("fps", f"meta/info.json says {fps!r} frames per second; a whole number is needed."))
    for name in layout.DEFAULTS:
        if name not in features:
            problems.append(Problem("meta/info.json", f"feature {name!r} is not declared; {AGAIN}."))
    try:
        stats = json.loads((path / "meta" / "stats.json").read_text(encoding="utf-8"))
        if missing := sorted(set(features) - set(stats)):
            problems.append(Problem("meta/stats.json", f"no statistics of {', '.join(missing)}; {AGAIN}.", fatal=False))
    except (OSError, ValueError) as error:
        problems.append(Problem("meta/stats.json", f"training wants statistics ({error}); {AGAIN}.", fatal=False))
    return problems


def _check_episodes(info: Mapping[str, Any], episodes: pa.Table) -> list[Problem]:
    where, names = "meta/episodes", set(episodes.column_names)
    videos = [name for name, what in info["features"].items() if what.get("dtype") == "video"]
    needed = ["episode_index", "length", *_PLACES]
    needed += [
        f"videos/{v}/{part}" for v in videos for part in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    ]
    if missing := [name for name in needed if name not in names]:
        return [Problem(where, f"column {missing[0]!r} is missing; {AGAIN}.")]
    problems = []
    number = episodes["episode_index"].to_numpy()
    if not np.array_equal(number, np.arange(len(number))):
        problems.append(Problem(where, f"rows are not in the order of their episode_index; {AGAIN}."))
    problems += _check_total(info, "total_episodes", len(episodes))
    begin, end = episodes["dataset_from_index"].to_numpy(), episodes["dataset_to_index"].to_numpy()
    joined = len(begin) and begin[0] == 0 and np.array_equal(begin[1:], end[:-1])
    if not joined or not np.array_equal(end - begin, episodes["length"].to_numpy()):
        problems.append(Problem(where, f"dataset_from_index, dataset_to_index and length do not follow on; {AGAIN}."))
    return problems + (_check_total(info, "total_frames", int(end[-1])) if len(end) else [])


def _check_total(info: Mapping[str, Any], name: str, there: int, fatal: bool = True) -> list[Problem]:
    if info.get(name) == there:
        return []
    return [Problem("meta/info.json", f"{name} is {info.get(name)}, and there are {there}; {AGAIN}.", fatal)]


def _check_rows(
    path: Path, info: Mapping[str, Any], episodes: pa.Table, rows: pa.Table, complete: bool
) -> list[Problem]:
    problems, features, names = [], info["features"], set(rows.column_names)
    columns = {name: what for name, what in features.items() if what.get("dtype") != "video"}
    for name in sorted(set(columns) - names):
        problems.append(Problem("data", f"feature {name!r} is declared and has no column; {AGAIN}."))
    for name in sorted(names - set(columns)):
        problems.append(Problem("data", f"column {name!r} is not declared in meta/info.json; {AGAIN}."))
    for name in sorted(names & set(columns)):
        shape = _shape(rows[name])
        if shape != (told := list(columns[name].get("shape", []))):
            problems.append(
                Problem("data", f"feature {name!r} is declared as {told} and its column is {shape}; {AGAIN}.")
            )
        elif pa.types.is_floating(_leaf(rows[name].type)) and not np.isfinite(_flat(rows[name])).all():
            problems.append(Problem("data", f"feature {name!r} has values that are no numbers; leave the episode out."))
    if set(layout.DEFAULTS) - names or not complete:
        return problems
    length = episodes["length"].to_numpy()
    within = np.concatenate([np.arange(each) for each in length])
    expected = {
        "index": np.arange(len(within)),
        "episode_index": np.repeat(np.arange(len(length)), length),
        "frame_index": within,
    }
    for name, values in expected.items():
        if not np.array_equal(rows[name].to_numpy(), values):
            problems.append(Problem("data", f"{name} does not count as meta/episodes says it should; {AGAIN}."))
    stamps = rows["timestamp"].to_numpy()
    if len(stamps) == len(within) and np.abs(stamps - within / info["fps"]).max() > _TOLERANCE:
        problems.append(
            Problem("data", f"timestamps are not frame_index / {info['fps']} from 0 in each episode; {AGAIN}.")
        )
    template = info.get("data_path", layout.DATA_PATH)
    for chunk, file in sorted(set(zip(*(episodes[name].to_pylist() for name in _PLACES[2:]), strict=True))):
        if not (path / template.format(chunk_index=chunk, file_index=file)).is_file():
            problems.append(Problem("meta/episodes", f"data file {chunk}/{file} is missing; {AGAIN}."))
    return problems


def _check_tasks(path: Path, info: Mapping[str, Any], rows: pa.Table) -> list[Problem]:
    where = layout.TASKS
    try:
        table = pq.read_table(path / where, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        return [Problem(where, f"it cannot be read ({error}), and LeRobot asks the Hub for it; {AGAIN}.")]
    if "task_index" not in table.column_names:
        return [Problem(where, f"column task_index is missing; {AGAIN}.")]
    problems = []
    pandas = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    texts = pandas.get("index_columns") or []
    if len(texts) != 1 or texts[0] not in table.column_names:
        problems.append(Problem(where, f"texts are not the index of the pandas frame, LeRobot reads numbers; {AGAIN}."))
    if table["task_index"].to_pylist() != list(range(len(table))):
        problems.append(Problem(where, f"rows are not in the order of task_index, LeRobot reads wrong texts; {AGAIN}."))
    problems += _check_total(info, "total_tasks", len(table), fatal=False)
    if "task_index" in rows.column_names and len(rows):
        used = rows["task_index"].to_numpy()
        if used.min() < 0 or used.max() >= len(table):
            problems.append(
                Problem("data", f"task_index goes to {used.max()} and there are {len(table)} tasks; {AGAIN}.")
            )
    return problems


def _join(path: Path, files: list[Path], where: str) -> pa.Table:
    if not files:
        raise ValueError(f"{where}: no Parquet file is there; {AGAIN}.")
    tables = []
    for file in files:
        try:
            tables.append(pq.read_table(file, partitioning=None))
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{file.relative_to(path)}: it cannot be read ({error}); {AGAIN}.") from None
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise ValueError(f"{where}: files have different columns ({error}); {AGAIN}.") from None


def _shape(column: pa.ChunkedArray) -> list[int] | None:
    """Of a row; [1] for a number, None if rows differ."""
    shape, values = [], column.combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        if not len(values):
            return None
        length, rest = divmod(len(values.flatten()), len(values))
        if rest or values.null_count:
            return None
        shape.append(length)
        values = values.flatten()
    return shape or [1]


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False)
