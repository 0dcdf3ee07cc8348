"""`read`: episodes of a dataset, written here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.data.episode import Episode, VideoFile
from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.formats.lerobot.items import read_items
from sanawm_env.data.formats.lerobot.rows import STATE_NAMES

__all__ = ["detect", "episode_table", "read", "task_texts"]

_NO_ENTRIES = ("state", "intrinsics", "c2w")


def detect(path: Path) -> bool:
    """Whether a LeRobotDataset of any version lies there, or a collection that has only begun."""
    return (path / "meta" / "info.json").is_file() or (path / "sanawm" / "episodes").is_dir()


def read(path: Path) -> Iterator[Episode]:
    """Its episodes in order; frames are decoded when they are iterated.

    Of a dataset of ours they come from `sanawm/episodes`, also while it grows. Of others the camera must be known:
    `observation.c2w` `(4, 4)`, or an `observation.state` named x y z qw qx qy qz, and `observation.intrinsics`.

    Raises:
        ValueError: It cannot be read, is of an older layout, or says nothing about the camera.
    """
    path = Path(path)
    if layout.item_files(path):
        for item in read_items(path):
            if item.kept:
                yield item.episode()
        return
    if not (path / "meta").exists() and (path / "sanawm").is_dir():
        return  # begun, and nothing done yet
    yield from _read_rows(path, layout.read_info(path))


def _read_rows(path: Path, info: Mapping[str, Any]) -> Iterator[Episode]:
    features = info["features"]
    video = layout.VIDEO
    if video not in features:
        video = next((name for name, what in features.items() if what.get("dtype") == "video"), "")
    if not video:
        raise ValueError(f"{path} has no video; only datasets with one can be read.")
    has_pose = "observation.c2w" in features or features.get("observation.state", {}).get("names") == STATE_NAMES
    if not has_pose or "observation.intrinsics" not in features:
        raise ValueError(
            f"{path} does not say where its camera was: it needs observation.c2w (4, 4) and observation.intrinsics "
            "(4,), see docs/how-to/datasets.md."
        )
    texts = task_texts(path)
    opened: tuple[tuple[int, int], pa.Table] | None = None
    for row in episode_table(path).to_pylist():
        key = row["data/chunk_index"], row["data/file_index"]
        if opened is None or opened[0] != key:
            file = path / info.get("data_path", layout.DATA_PATH).format(chunk_index=key[0], file_index=key[1])
            opened = key, _table(file)
        table = opened[1]
        mask = table["episode_index"].to_numpy() == row["episode_index"]
        rows = table.filter(pa.array(mask))
        if not len(rows):
            raise ValueError(f"{path}: episode {row['episode_index']} has no rows in its data file.")
        fps = float(info["fps"])
        where = f"videos/{video}/"
        clip = path / info.get("video_path", layout.VIDEO_PATH).format(
            video_key=video, chunk_index=row[where + "chunk_index"], file_index=row[where + "file_index"]
        )
        first = round(row[where + "from_timestamp"] * fps)
        text = texts.get(int(rows["task_index"][0].as_py()), "")
        shape = features[video]["shape"]
        size = (shape[1], shape[2]) if shape[0] == 3 and shape[2] != 3 else (shape[0], shape[1])
        yield _episode(rows, VideoFile(clip, first, len(rows)), size, fps, text, f"{row['episode_index']:06d}")


def _episode(rows: pa.Table, frames: VideoFile, size: tuple[int, int], fps: float, text: str, name: str) -> Episode:
    def column(feature: str) -> NDArray[Any]:
        return np.array(rows[feature].to_pylist())

    if "observation.c2w" in rows.column_names:
        c2w = column("observation.c2w").astype(np.float64).reshape(-1, 4, 4)
    else:
        state = column("observation.state").astype(np.float64)
        c2w = np.tile(np.eye(4), (len(state), 1, 1))
        c2w[:, :3, :3] = Rotation.from_quat(state[:, 3:], scalar_first=True).as_matrix()
        c2w[:, :3, 3] = state[:, :3]
    steps: dict[str, Any] = {}
    if "decision" in rows.column_names and "action" in rows.column_names:
        chosen = np.flatnonzero(column("decision"))
        if len(chosen):
            every = int(chosen[1] - chosen[0]) if len(chosen) > 1 else len(rows) - 1
            rewards = column("next.reward")[chosen] if "next.reward" in rows.column_names else np.zeros(len(chosen))
            steps = {
                "frames_per_step": every,
                "actions": column("action")[chosen].astype(np.float32),
                "rewards": rewards.astype(np.float64),
                "entries": {
                    feature.removeprefix("observation."): column(feature)[::every].astype(np.float32)
                    for feature in rows.column_names
                    if feature.startswith("observation.") and feature.removeprefix("observation.") not in _NO_ENTRIES
                },
            }
            if "next.success" in rows.column_names:
                steps["success"] = bool(column("next.success").any())
    intrinsics = column("observation.intrinsics")[0].astype(np.float64)
    return Episode(frames, c2w, intrinsics, size, fps, text=text, name=name, **steps)


def episode_table(path: Path) -> pa.Table:
    """All rows of `meta/episodes`, without statistics, in the order of file names.

    Raises:
        ValueError: A file is missing or broken.
    """
    files = sorted((path / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{path} has no meta/episodes; fetch the dataset again, or index it anew.")
    tables = [_table(file) for file in files]
    names = [name for name in tables[0].column_names if not name.startswith("stats/")]
    return pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")


def task_texts(path: Path) -> dict[int, str]:
    """What was to be done, by number.

    Raises:
        ValueError: The file is missing or broken.
    """
    table = _table(path / layout.TASKS)
    text = "task" if "task" in table.column_names else "__index_level_0__"
    if text not in table.column_names or "task_index" not in table.column_names:
        raise ValueError(f"{path / layout.TASKS} lacks the tasks' texts; fetch the dataset again.")
    return dict(zip(table["task_index"].to_pylist(), map(str, table[text].to_pylist()), strict=True))


def _table(file: Path) -> pa.Table:
    try:
        return pq.read_table(file, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read ({error}); fetch the dataset again, or index it anew.") from None
