"""`read`: episodes written here, or by a `DataCollector` on our environments; `check`: what its readers choke on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.facts import episode_from
from sanawm_env.data.formats.common.folders import problems_of
from sanawm_env.data.formats.minari import layout
from sanawm_env.data.formats.registry import Problem

__all__ = ["check", "read"]

_SENSORS = ("image", "frames", "pose", "intrinsics")
"""What our environments observe of the world; the rest of an observation is the task's."""


def read(path: Path) -> Iterator[Episode]:
    """Episodes; those of a `DataCollector` on our environments too, if it recorded infos or poses are observed.

    Raises:
        ValueError: No such dataset, or one without poses or intrinsics.
    """
    data = layout.data_folder(path)
    if data is None:
        raise ValueError(f"{path} is no dataset of Minari (no data/metadata.json); check the path.")
    if not (data / layout.FILE).is_file():
        raise ValueError(f"{data} has no {layout.FILE}; only Minari's data_format 'hdf5' can be read.")
    facts = layout.read_facts(path)
    jpeg = bool(json.loads((data / "metadata.json").read_text(encoding="utf-8")).get("jpeg_encoding", True))
    try:
        with h5py.File(data / layout.FILE, "r") as file:
            found = [
                _read_one(data, number, file[f"episode_{number}"], facts.get(number, {}), jpeg)
                for number in range(len(file))
            ]
    except (OSError, KeyError) as error:
        raise ValueError(f"{data / layout.FILE} cannot be read: {error}; copy it again.") from error
    yield from found  # outside, so that nobody who stops early leaves the file open


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    found: list[Problem] = []
    try:
        for number, episode in enumerate(read(path)):
            found += problems_of(f"episode {number}", episode)
            if episode.recipe is None:
                found.append(Problem(f"episode {number}", "it has no recipe, and cannot be replayed.", fatal=False))
        minari.MinariDataset(layout.data_folder(path))
    except (ValueError, OSError, AssertionError) as error:
        found.append(Problem(path.name, str(error)))
    return found


@dataclass(frozen=True)
class _StoredFrames:
    """Frames of an episode in Minari's storage, loaded each time that they are iterated."""

    data: Path
    number: int
    between: bool
    """Whether infos hold those between the steps."""
    jpeg: bool

    def __iter__(self) -> Iterator[Frames]:
        with h5py.File(self.data / layout.FILE, "r") as file:
            group = file[f"episode_{self.number}"]
            if self.between:
                rows = group["infos/frames"]
                yield rows[0, -1:]
                for row in range(1, len(rows)):
                    yield rows[row]
                return
            if not self.jpeg:
                yield from (image[None] for image in _images(group))
                return
        found = next(iter(MinariStorage.read(self.data).get_episodes([self.number])))["observations"]
        yield from (image[None] for image in (found["image"] if isinstance(found, dict) else found))


def _images(group: h5py.Group) -> h5py.Dataset:
    found = group["observations"]
    return found["image"] if isinstance(found, h5py.Group) else found


def _entries(seen: Any) -> dict[str, NDArray[np.float32]]:
    """Numbers that were observed beside the pictures and the pose."""
    if not isinstance(seen, h5py.Group):
        return {}
    plain = {name: seen[name] for name in seen if name not in _SENSORS and isinstance(seen[name], h5py.Dataset)}
    return {name: values[:].astype(np.float32) for name, values in plain.items() if values.dtype.kind == "f"}


def _read_one(data: Path, number: int, group: h5py.Group, facts: dict[str, Any], jpeg: bool) -> Episode:
    where = f"episode {number} of {data}"
    infos = group.get("infos", {})
    between = "frames" in infos and "frame_c2w" in infos
    if between:
        rows = infos["frame_c2w"][:]
        c2w = np.concatenate([rows[0, -1:], rows[1:].reshape(-1, 4, 4)])
    elif "c2w" in infos:
        c2w = infos["c2w"][:]
    else:
        raise ValueError(f"{where} has no poses; collect with DataCollector(env, record_infos=True).")
    seen = group["observations"]
    if "intrinsics" in infos:
        intrinsics = infos["intrinsics"][0]
    elif isinstance(seen, h5py.Group) and "intrinsics" in seen:
        intrinsics = seen["intrinsics"][0]
    else:
        raise ValueError(f"{where} has no intrinsics; collect with obs_mode='dict', which observes them.")
    steps = len(group["rewards"])
    per_step = (len(c2w) - 1) // max(steps, 1)
    size = infos["frames"].shape[2:4] if between else None
    frames = _StoredFrames(data, number, between, jpeg)
    if size is None:
        size = next(iter(frames)).shape[1:3]
    known = {
        "intrinsics": np.asarray(intrinsics, np.float64),
        "size": (int(size[0]), int(size[1])),
        "frames_per_step": per_step,
        "actions": group["actions"][:],
        "rewards": np.asarray(group["rewards"][:], np.float64),
        "entries": _entries(seen),
    }
    if not facts:
        known |= {
            "name": f"{number:06d}",
            "terminated": bool(group["terminations"][-1]),
            "truncated": bool(group["truncations"][-1]),
        }
        if "success" in infos:
            known["success"] = bool(infos["success"][-1])
    known["fps"] = _rate(infos, per_step, facts)
    return episode_from(facts, frames, c2w, **known)


def _rate(infos: Any, per_step: int, facts: dict[str, Any]) -> float:
    """Frames per second: of the world, or of the steps where only their frames are kept."""
    if facts:
        return float(facts["fps"]) * per_step / int(facts["frames_per_step"])
    if "time" in infos and infos["time"][-1] > 0:
        return float((len(infos["time"]) - 1) * per_step / infos["time"][-1])
    return 16.0
