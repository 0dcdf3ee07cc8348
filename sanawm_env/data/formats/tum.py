"""TUM: a folder for each episode as in the TUM RGB-D benchmark, which evo and most SLAM systems read.

`groundtruth.txt` has a line `time tx ty tz qx qy qz qw` for each frame (camera to world, OpenCV axes, metres,
seconds), `rgb.txt` the picture of each time, `depth.txt` its depth if there is any (16 bits, 5000 units to
the metre, up to 13 m). `intrinsics.txt` has `fx fy cx cy`, for which the benchmark has no file; as in its
tables and in OpenCV, the centre of the upper left pixel is (0, 0), half a pixel less than in an episode.
`episode.json` holds the steps. Frames of others' recordings get the nearest pose within 20 ms; those without one are
left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera.intrinsics import HALF_PIXEL
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

__all__ = ["check", "detect", "read", "write"]

_MARKER = "groundtruth.txt"
_PER_METRE = 5000.0
"""The benchmark's unit of depth."""
_OTHER_RATE = 0.01
"""Share by which two frame rates must differ to be two."""
_APART = 0.02
"""Seconds that a frame and its pose may lie apart, as in the benchmark's own tools."""


def _write_one(folder: Path, episode: Episode) -> None:
    stamps = [f"{index / episode.fps:.6f}" for index in range(len(episode))]
    _write_list(folder, "rgb", stamps)
    write_pictures([folder / "rgb" / f"{stamp}.png" for stamp in stamps], episode)
    if episode.depth is not None:
        _write_list(folder, "depth", stamps)
        write_depth([folder / "depth" / f"{stamp}.png" for stamp in stamps], episode, _PER_METRE)
    quaternions = Rotation.from_matrix(episode.c2w[:, :3, :3]).as_quat()
    rows = np.concatenate([episode.c2w[:, :3, 3], quaternions], 1)
    lines = [f"{stamp} {' '.join(f'{value:.17g}' for value in row)}" for stamp, row in zip(stamps, rows, strict=True)]
    (folder / "intrinsics.txt").write_text(
        " ".join(f"{value:.17g}" for value in episode.intrinsics - HALF_PIXEL) + "\n", encoding="utf-8"
    )
    (folder / _MARKER).write_text("# timestamp tx ty tz qx qy qz qw\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _write_list(folder: Path, kind: str, stamps: list[str]) -> None:
    (folder / kind).mkdir()
    (folder / f"{kind}.txt").write_text(
        "# timestamp filename\n" + "".join(f"{s} {kind}/{s}.png\n" for s in stamps), encoding="utf-8"
    )


def _read_one(folder: Path) -> Episode:
    table = np.atleast_2d(np.loadtxt(folder / _MARKER, dtype=float, comments="#", ndmin=2))
    if table.size == 0 or table.shape[1] != 8:
        raise ValueError(f"{_MARKER} must have lines of 8 numbers, time tx ty tz qx qy qz qw; got {table.shape}.")
    facts = load_facts(folder)
    times, pictures = _read_list(folder, "rgb")
    nearest = np.abs(table[None, :, 0] - times[:, None]).argmin(1)
    kept = np.abs(table[nearest, 0] - times) <= _APART
    if not kept.any():
        raise ValueError(f"no frame of rgb.txt has a pose of {_MARKER} within {_APART} s; their clocks differ.")
    poses = np.tile(np.eye(4), (int(kept.sum()), 1, 1))
    rows = table[nearest[kept]]
    poses[:, :3, :3], poses[:, :3, 3] = Rotation.from_quat(rows[:, 4:]).as_matrix(), rows[:, 1:4]
    frames = PictureFiles(tuple(np.asarray(pictures, object)[kept]))
    intervals = np.diff(times[kept])
    known: dict[str, Any] = {"intrinsics": _intrinsics(folder), "size": picture_size(frames.paths[0])}
    rate = float(1 / np.median(intervals)) if len(intervals) else float(facts.get("fps", 16.0))
    if not facts:
        known |= {"name": folder.name, "fps": rate}
    elif abs(rate / float(facts["fps"]) - 1) > _OTHER_RATE:
        raise ValueError(
            f"rgb.txt has {rate:.4g} frames a second and episode.json says {facts['fps']:g}; correct what is wrong."
        )
    return episode_from(facts, frames, poses, _depth(folder, times[kept]), **known)


def _read_list(folder: Path, kind: str) -> tuple[NDArray[np.float64], list[Path]]:
    path = folder / f"{kind}.txt"
    if not path.is_file():
        raise ValueError(f"{path.name} is missing, which names the frames; copy the dataset again.")
    rows = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"{path.name} must have lines of a time and a file name.")
    return np.array([float(row[0]) for row in rows]), [folder / row[1].strip() for row in rows]


def _intrinsics(folder: Path) -> NDArray[np.float64]:
    path = folder / "intrinsics.txt"
    if not path.is_file():
        raise ValueError("intrinsics.txt is missing; write the camera's 'fx fy cx cy' in pixels into it.")
    values = np.array([float(word) for word in path.read_text(encoding="utf-8").split()])
    if values.shape != (4,):
        raise ValueError(f"intrinsics.txt must have four numbers, fx fy cx cy; got {len(values)}.")
    return values + HALF_PIXEL


def _depth(folder: Path, times: NDArray[np.float64]) -> DepthFiles | None:
    """Of every frame, or else none."""
    if not (folder / "depth.txt").is_file():
        return None
    stamps, paths = _read_list(folder, "depth")
    nearest = np.abs(stamps[None] - times[:, None]).argmin(1)
    if (np.abs(stamps[nearest] - times) > _APART).any():
        return None
    return DepthFiles(tuple(paths[index] for index in nearest), _PER_METRE)


_FORMAT = FolderFormat("tum", _MARKER, _read_one, _write_one)
detect, read, write, check = _FORMAT.detect, _FORMAT.read, _FORMAT.write, _FORMAT.check
