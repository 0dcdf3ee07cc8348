"""Every video decoded once: is each frame there, and in time?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.formats.registry import Problem
from sanawm_env.data.storage.native import is_native, mending, video_number

__all__ = ["check_videos"]


def check_videos(path: Path, info: Mapping[str, Any], episodes: pa.Table) -> list[Problem]:
    """Missing and cut videos, other sizes and rates, frames out of time, and episodes that reach beyond the end."""
    problems = []
    for video, what in info["features"].items():
        prefix = f"videos/{video}/"
        if what.get("dtype") != "video" or f"{prefix}from_timestamp" not in episodes.column_names:
            continue
        parts: dict[str, list[tuple[int, float, int]]] = defaultdict(list)
        template = info.get("video_path") or layout.VIDEO_PATH
        for row in episodes.to_pylist():
            file = template.format(
                video_key=video, chunk_index=row[f"{prefix}chunk_index"], file_index=row[f"{prefix}file_index"]
            )
            parts[file].append((row["episode_index"], row[f"{prefix}from_timestamp"], row["length"]))
        for file, its in parts.items():
            again = "fetch the file again, or leave its episodes out"
            if is_native(path):
                again = f"fetch the file again, or {mending(path, video_number(path / file))}"
            problems += _check_file(path / file, file, its, what.get("shape", []), info["fps"], again)
    return problems


def _check_file(
    path: Path, name: str, parts: list[tuple[int, float, int]], shape: list[int], fps: float, again: str
) -> list[Problem]:
    if not path.is_file():
        return [Problem(name, f"the video of episode {parts[0][0]} is missing; {again}.")]
    times, size = [], (0, 0)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                times.append(frame.time if frame.time is not None else np.nan)
                size = frame.height, frame.width
    except (OSError, av.error.FFmpegError, IndexError) as error:
        if not times:
            return [Problem(name, f"it is no readable video ({error}); {again}.")]
    problems = []
    if list(size) not in (list(shape[:2]), list(shape[1:])):
        problems.append(Problem(name, f"frames are {size}, and {shape} is declared; {again}."))
    for episode, begin, length in parts:
        first = round(begin * fps)
        if abs(first / fps - begin) > 1e-4:
            problems.append(
                Problem("meta/episodes", f"episode {episode} begins between two frames of {name}; {again}.")
            )
        if first + length > len(times):
            problems.append(
                Problem(name, f"it has {len(times)} frames and episode {episode} needs {first + length}; {again}.")
            )
    extra = len(times) - max(round(begin * fps) + length for _, begin, length in parts)
    if extra > 0:
        problems.append(Problem(name, f"{extra} frames at its end belong to no episode.", fatal=False))
    if times and not np.abs(np.array(times) - np.arange(len(times)) / fps).max() < 1e-3:
        problems.append(
            Problem(
                name, f"frames are not at k / {fps} s from 0, so rows get other frames; encode it again at {fps} fps."
            )
        )
    return problems
