"""nerfstudio: a folder for each episode with `transforms.json`, which instant-ngp and gsplat trainers read as well.

Its cameras have OpenGL's axes (+x right, +y up, looking along -z) and its world has +z up; pixels count as in COLMAP,
the centre of the upper left one at (0.5, 0.5). Depth is 16 bits of millimetres, up to 65.5 m. `episode.json` holds the
steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import episode_from
from sanawm_env.data.formats.common.folders import (
    check_folders,
    episode_folders,
    load_facts,
    read_folders,
    refuse_options,
    write_folders,
)
from sanawm_env.data.formats.common.pictures import (
    DepthFiles,
    PictureFiles,
    picture_size,
    write_depth,
    write_pictures,
)
from sanawm_env.data.formats.registry import Mode, Problem
from sanawm_env.files import write_json

__all__ = ["check", "detect", "read", "write"]

_MARKER = "transforms.json"
_PER_METRE = 1000.0
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL's camera axes to OpenCV's, and back."""
_UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From the first frame's OpenCV axes to a world with x right, y ahead and z up."""
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def detect(path: Path) -> bool:
    """Whether a `transforms.json` is there, or in its folders."""
    return bool(episode_folders(path, _MARKER))


def read(path: Path) -> Iterator[Episode]:
    """Episodes, frames in the order of the list; others' captures have no times and get 16 fps.

    Raises:
        ValueError: Missing or damaged files, no intrinsics, or lenses with distortion.
    """
    return read_folders(path, _MARKER, _read_one)


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write a folder for each episode.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: Episodes whose frames do not fit their poses.
    """
    refuse_options("nerfstudio", options)
    write_folders(path, episodes, mode, _MARKER, _write_one)


def check(path: Path) -> list[Problem]:
    """What is missing or damaged."""
    return check_folders(path, _MARKER, _read_one)


def _write_one(folder: Path, episode: Episode) -> None:
    names = [f"frame_{index + 1:05d}.png" for index in range(len(episode))]
    (folder / "images").mkdir()
    write_pictures([folder / "images" / name for name in names], episode)
    if episode.depth is not None:
        (folder / "depth").mkdir()
        write_depth([folder / "depth" / name for name in names], episode, _PER_METRE)
    fx, fy, cx, cy = (float(value) for value in episode.intrinsics)
    frames: list[dict[str, Any]] = []
    for name, pose in zip(names, _UPRIGHT @ episode.c2w @ _FLIP, strict=True):
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose.tolist()})
        if episode.depth is not None:
            frames[-1]["depth_file_path"] = f"depth/{name}"
    height, width = (int(side) for side in episode.size)
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx + 0.5, "cy": cy + 0.5, "w": width, "h": height}
    header = {"camera_model": "PINHOLE", **lens, "applied_transform": _UPRIGHT[:3].tolist()}
    write_json(folder / _MARKER, header | {"frames": frames})


def _read_one(folder: Path) -> Episode:
    try:
        values = dict(json.loads((folder / _MARKER).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_MARKER} is no JSON: {error}.") from error
    listed = values.get("frames") or []
    if not listed:
        raise ValueError(f"{_MARKER} has no frames.")
    if any(values.get(name) or any(frame.get(name) for frame in listed) for name in _DISTORTION):
        raise ValueError("the lens has distortion; undistort the images first.")
    frames = PictureFiles(tuple(folder / frame["file_path"] for frame in listed))
    depth = None
    if all("depth_file_path" in frame for frame in listed):
        depth = DepthFiles(tuple(folder / frame["depth_file_path"] for frame in listed), _PER_METRE)
    lenses = {tuple(frame.get(name, values.get(name)) for name in ("fl_x", "fl_y", "cx", "cy")) for frame in listed}
    if len(lenses) > 1:
        raise ValueError("the intrinsics change from frame to frame; split it into captures of one camera.")
    lens = lenses.pop()
    if None in lens:
        raise ValueError(f"{_MARKER} lacks intrinsics; it needs fl_x, fl_y, cx and cy.")
    poses = np.array([frame["transform_matrix"] for frame in listed], float) @ _FLIP
    size = (int(values["h"]), int(values["w"])) if {"h", "w"} <= set(values) else picture_size(frames.paths[0])
    facts = load_facts(folder)
    known: dict[str, Any] = {"size": size, "intrinsics": np.array(lens, float) - [0, 0, 0.5, 0.5]}
    return episode_from(facts, frames, poses, depth, **(known | ({} if facts else {"name": folder.name})))
