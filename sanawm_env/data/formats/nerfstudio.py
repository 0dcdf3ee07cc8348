"""nerfstudio: a folder for each episode with `transforms.json`, which instant-ngp and gsplat trainers read as well.

Its cameras have OpenGL's axes (+x right, +y up, looking along -z) and its world has +z up; pixels count as ours,
the centre of the upper left one at (0.5, 0.5). Depth is 16 bits of millimetres, up to 65.5 m. `episode.json` holds the
steps. Others' captures have no times (16 fps), and must have one camera without distortion.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import episode_from
from sanawm_env.data.formats.common.folder_format import FolderFormat
from sanawm_env.data.formats.common.folders import load_facts
from sanawm_env.data.formats.common.pictures import (
    DepthFiles,
    PictureFiles,
    picture_size,
    write_depth,
    write_pictures,
)
from sanawm_env.files import write_json

__all__ = ["check", "detect", "read", "write"]

_MARKER = "transforms.json"
_PER_METRE = 1000.0
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL's camera axes to OpenCV's, and back."""
_UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From the first frame's OpenCV axes to a world with x right, y ahead and z up."""
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


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
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
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
    known: dict[str, Any] = {"size": size, "intrinsics": np.array(lens, float)}
    return episode_from(facts, frames, poses, depth, **(known | ({} if facts else {"name": folder.name})))


_FORMAT = FolderFormat("nerfstudio", _MARKER, _read_one, _write_one)
detect, read, write, check = _FORMAT.detect, _FORMAT.read, _FORMAT.write, _FORMAT.check
