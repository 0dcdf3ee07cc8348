"""`index`: LeRobot's `data/` and `meta/` of a dataset, made anew from the items that are done."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sanawm_env.data.formats.lerobot import layout, statistics
from sanawm_env.data.formats.lerobot.items import Item, read_items, recipes_hash
from sanawm_env.data.formats.lerobot.rows import arrow_column, declared, rows_of
from sanawm_env.data.storage.encode import CODECS, DEFAULT_CODEC

__all__ = ["index"]


def index(root: Path) -> None:
    """Make `data/` and `meta/` anew from `sanawm/episodes`; videos stay as they are.

    Both are written beside the old ones and take their places at the end. A process that is killed meanwhile leaves
    either the old ones, the new ones, or for an instant no `meta/`, which every reader refuses; indexing again mends
    that.

    Args:
        root: The dataset's folder.

    Raises:
        ValueError: No episode is kept, an item is broken, or episodes do not fit together.
    """
    root = Path(root)
    for left in root.glob(".index-*"):
        shutil.rmtree(left, ignore_errors=True)
    items = [item for item in read_items(root) if item.kept]
    if not items:
        raise ValueError(f"{root} has no episode that was kept, so there is nothing to index; collect some first.")
    staged = root / f".index-{secrets.token_hex(4)}"
    try:
        _write(staged, items)
        _take_places(root, staged)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _take_places(root: Path, staged: Path) -> None:
    old = staged / "old"
    old.mkdir()
    try:
        for name in ("meta", "data"):  # without meta nobody reads data that does not belong to it
            if (root / name).exists():
                os.rename(root / name, old / name)
        for name in ("data", "meta"):
            os.rename(staged / name, root / name)
    except OSError:
        for name in ("data", "meta"):
            if (old / name).exists():
                shutil.rmtree(root / name, ignore_errors=True)
                os.rename(old / name, root / name)
        raise


def _write(out: Path, items: Sequence[Item]) -> None:
    """All files, from items in order."""
    tasks: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    features: dict[str, dict[str, Any]] = {}
    kind: dict[str, Any] = {}
    begin = 0
    with ExitStack() as files:
        writer: pq.ParquetWriter | None = None
        for number, item in enumerate(items):
            episode = item.episode()
            rows, here = rows_of(episode), _kind(item)
            kind = kind or here
            if different := [name for name in kind if kind[name] != here[name]]:
                name = different[0]
                raise ValueError(
                    f"episode {item.number} has {name} {here[name]} and the first one {kind[name]}; a dataset has one "
                    "for all, put them into different ones."
                )
            features = features or declared(rows)
            if declared(rows) != features:
                raise ValueError(
                    f"episode {item.number} has other features ({_differing(declared(rows), features)}) than the first "
                    "one; put episodes of different tasks or actions into different datasets."
                )
            task = tasks.setdefault(episode.text, len(tasks))
            count = len(episode)
            frame = np.arange(count)
            rows |= {
                "timestamp": (frame / episode.fps).astype(np.float32),
                "frame_index": frame,
                "episode_index": np.full(count, number),
                "index": begin + frame,
                "task_index": np.full(count, task),
            }
            table = pa.table({name: arrow_column(value) for name, value in rows.items()})
            file = number // layout.PER_CHUNK
            if number % layout.PER_CHUNK == 0:
                path = layout.data_file(out, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = files.enter_context(pq.ParquetWriter(path, table.schema, compression="snappy"))
            assert writer is not None
            writer.write_table(table, row_group_size=count)
            stats = {layout.VIDEO: item.video.get("stats") or dict(item.video)}
            stats |= {name: statistics.of_rows(value) for name, value in rows.items()}
            entries.append(_entry(item, number, begin, count, file, episode.fps) | {"stats": stats})
            begin += count
    _write_meta(out, items, entries, tasks, features, kind)


def _kind(item: Item) -> dict[str, Any]:
    """What all episodes of a dataset share."""
    return {
        "size": list(item.told("size")),
        "fps": item.told("fps", 16.0),
        "codec": item.video.get("codec", DEFAULT_CODEC),
    }


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return ", ".join(sorted(name for name in {*a, *b} if a.get(name) != b.get(name)))


def _entry(item: Item, number: int, begin: int, count: int, file: int, fps: float) -> dict[str, Any]:
    chunk, index_in_chunk = divmod(item.number, layout.PER_CHUNK)
    recipe, success = item.recipe, item.outcome.get("success")
    return {
        "episode_index": number,
        "tasks": [item.text],
        "length": count,
        "data/chunk_index": file // layout.PER_CHUNK,
        "data/file_index": file % layout.PER_CHUNK,
        "dataset_from_index": begin,
        "dataset_to_index": begin + count,
        f"videos/{layout.VIDEO}/chunk_index": chunk,
        f"videos/{layout.VIDEO}/file_index": index_in_chunk,
        f"videos/{layout.VIDEO}/from_timestamp": 0.0,
        f"videos/{layout.VIDEO}/to_timestamp": count / fps,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        "sanawm/item": item.number,
        "sanawm/success": -1 if success is None else int(success),
        "sanawm/recipe_sha256": recipes_hash([recipe]) if recipe is not None else "",
    }


def _write_meta(
    out: Path,
    items: Sequence[Item],
    entries: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, int],
    features: Mapping[str, Any],
    kind: Mapping[str, Any],
) -> None:
    episodes = out / layout.EPISODES
    episodes.parent.mkdir(parents=True)
    flat = [
        {name: value for name, value in entry.items() if name != "stats"}
        | {f"stats/{of}/{stat}": value for of, found in entry["stats"].items() for stat, value in found.items()}
        for entry in entries
    ]
    pq.write_table(pa.Table.from_pylist(flat), episodes)
    pq.write_table(_task_table(tasks), out / layout.TASKS)
    stats = {name: statistics.combined([entry["stats"][name] for entry in entries]) for name in entries[0]["stats"]}
    _dump(out / "meta" / "stats.json", stats)
    _dump(out / "meta" / "info.json", _info(items, entries, tasks, features, kind))


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """Texts in order of their numbers; readers take the text from the index of the pandas frame."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    types = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, (kind, numpy) in types.items()
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _info(
    items: Sequence[Item],
    entries: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, int],
    features: Mapping[str, Any],
    kind: Mapping[str, Any],
) -> dict[str, Any]:
    codec, fps, (height, width) = kind["codec"], kind["fps"], kind["size"]
    if fps != int(fps):
        raise ValueError(f"LeRobot's layout knows whole frames per second only, not {fps}; choose another format.")
    pixels = CODECS[codec].pixels if codec in CODECS else ""
    video = {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "gbrp" if pixels == "rgb24" else pixels,
            "video.is_depth_map": False,
            "video.fps": int(fps),
            "video.channels": 3,
            "has_audio": False,
        },
    }
    worlds = sorted({item.world for item in items})
    every = sorted({int(item.told("frames_per_step", 0)) for item in items})
    # Flat in the rows; readers of ours give actions back as the environment took them.
    shape = features["action"]["shape"] if "action" in features else None
    return {
        "codebase_version": layout.VERSION,
        "robot_type": "sanawm",
        "total_episodes": len(entries),
        "total_frames": entries[-1]["dataset_to_index"],
        "total_tasks": len(tasks),
        "chunks_size": layout.PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": int(fps),
        "splits": {"train": f"0:{len(entries)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH,
        "features": {layout.VIDEO: video, **features, **layout.DEFAULTS},
        "sanawm": {
            "version": 1,
            "package": version("sanawm_env"),
            "camera": layout.CAMERA,
            "checkpoints": [{"hash": digest, "name": name} for digest, name in worlds],
            "codec": codec,
            "frames_per_step": every[0] if len(every) == 1 else None,
            "action_shape": shape,
            "recipes_sha256": recipes_hash([item.recipe for item in items]),
        },
    }


def _dump(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
