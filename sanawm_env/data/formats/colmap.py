"""COLMAP's text model: a folder for each episode, with `images/` and `sparse/0/{cameras,images,points3D}.txt`.

COLMAP stores world-to-camera poses, and like us counts pixels so that the centre of the upper left one is (0.5, 0.5).
There are no points, and depth has no place in it. `episode.json` holds the steps. Models of others have frames in the
order of their names, no times (16 fps), one camera and no distortion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import episode_from
from sanawm_env.data.formats.common.folder_format import FolderFormat
from sanawm_env.data.formats.common.folders import load_facts
from sanawm_env.data.formats.common.pictures import PictureFiles, write_pictures

__all__ = ["check", "detect", "read", "write"]

_MODEL = "sparse/0"
_MARKER = f"{_MODEL}/cameras.txt"


def _write_one(folder: Path, episode: Episode) -> None:
    names = [f"{index:06d}.png" for index in range(len(episode))]
    (folder / "images").mkdir()
    write_pictures([folder / "images" / name for name in names], episode)
    model = folder / _MODEL
    model.mkdir(parents=True)
    fx, fy, cx, cy = np.asarray(episode.intrinsics, float)
    height, width = episode.size
    camera = f"1 PINHOLE {width} {height} {fx:.17g} {fy:.17g} {cx:.17g} {cy:.17g}\n"
    w2c = np.linalg.inv(episode.c2w)
    quaternions = np.roll(Rotation.from_matrix(w2c[:, :3, :3]).as_quat(), 1, axis=1)  # COLMAP's w is in front
    lines = []
    for index, (name, row) in enumerate(zip(names, np.concatenate([quaternions, w2c[:, :3, 3]], 1), strict=True), 1):
        lines.append(f"{index} {' '.join(f'{value:.17g}' for value in row)} 1 {name}\n\n")
    (model / "images.txt").write_text(
        "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points\n" + "".join(lines), encoding="utf-8"
    )
    (model / "points3D.txt").write_text("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n", encoding="utf-8")
    (model / "cameras.txt").write_text("# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n" + camera, encoding="utf-8")


def _read_one(folder: Path) -> Episode:
    size, intrinsics = _camera(folder / _MARKER)
    # Two lines for each image, the second of which may be empty; comments only ever stand in front.
    lines = [line for line in _text(folder / _MODEL / "images.txt").split("\n") if not line.startswith("#")]
    images = sorted((line.split(maxsplit=9) for line in lines[::2] if line.strip()), key=lambda words: words[-1])
    if not images or any(len(words) != 10 for words in images):
        raise ValueError("images.txt must have two lines for each image, the first of 10 words.")
    rows = np.array([[float(word) for word in words[1:8]] for words in images])
    w2c = np.tile(np.eye(4), (len(rows), 1, 1))
    w2c[:, :3, :3], w2c[:, :3, 3] = Rotation.from_quat(np.roll(rows[:, :4], -1, axis=1)).as_matrix(), rows[:, 4:]
    frames = PictureFiles(tuple(folder / "images" / words[9].strip() for words in images))
    facts = load_facts(folder)
    known: dict[str, Any] = {"size": size, "intrinsics": intrinsics} | ({} if facts else {"name": folder.name})
    return episode_from(facts, frames, np.linalg.inv(w2c), **known)


def _camera(path: Path) -> tuple[tuple[int, int], NDArray[np.float64]]:
    rows = [line.split() for line in _text(path).splitlines() if line.strip() and not line.startswith("#")]
    if len(rows) != 1:
        raise ValueError(f"{path.name} must have one camera for all images, and has {len(rows)}.")
    model, width, height, parameters = rows[0][1], int(rows[0][2]), int(rows[0][3]), [float(x) for x in rows[0][4:]]
    if model == "SIMPLE_PINHOLE" and len(parameters) == 3:
        parameters = [parameters[0], *parameters]
    elif model != "PINHOLE" or len(parameters) != 4:
        raise ValueError(f"the camera is {model}; undistort the images first (colmap image_undistorter).")
    return (height, width), np.array(parameters)


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing; a binary model becomes text with colmap model_converter.")
    return path.read_text(encoding="utf-8")


_FORMAT = FolderFormat("colmap", _MARKER, _read_one, _write_one)
detect, read, write, check = _FORMAT.detect, _FORMAT.read, _FORMAT.write, _FORMAT.check
