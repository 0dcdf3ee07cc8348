"""Minari: offline reinforcement learning's datasets, with the layout of `DataCollector(env, record_infos=True)`.

Observations are `image` and `pose` before and after each step, as in our environments; infos hold the frames between
(`frames`, T + 1 rows of k frames, the first of which repeats frame 0), their poses (`frame_c2w`) and `intrinsics`, so
that nothing is lost. `episodes.json` beside Minari's `data` folder has the recipes, the words and the measures.

The folder's name is the dataset's: `MINARI_DATASETS_PATH=parent` and `minari.load_dataset("name-v0")` find it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, Frames, all_frames
from sanawm_env.data.formats.common.facts import episode_from, facts_of
from sanawm_env.data.formats.common.folders import problems_of, refuse_options, staged
from sanawm_env.data.formats.registry import Mode, Problem, prepare_target
from sanawm_env.envs.sensors.observations import pose_vectors
from sanawm_env.files import write_json

__all__ = ["check", "detect", "env_spec", "read", "write"]

_FACTS = "episodes.json"
_FILE = "main_data.hdf5"
_CODECS = ("rgb", "jpeg")
_SENSORS = ("image", "frames", "pose", "intrinsics")
"""What our environments observe of the world; the rest of an observation is the task's."""


def detect(path: Path) -> bool:
    """Whether a dataset of Minari is there."""
    return path.is_dir() and _data(path) is not None


def read(path: Path) -> Iterator[Episode]:
    """Episodes; those of a `DataCollector` on our environments too, if it recorded infos or poses are observed.

    Raises:
        ValueError: No such dataset, or one without poses or intrinsics.
    """
    data = _data(path)
    if data is None:
        raise ValueError(f"{path} is no dataset of Minari (no data/metadata.json); check the path.")
    if not (data / _FILE).is_file():
        raise ValueError(f"{data} has no {_FILE}; only Minari's data_format 'hdf5' can be read.")
    facts = _facts(path)
    jpeg = bool(json.loads((data / "metadata.json").read_text(encoding="utf-8")).get("jpeg_encoding", True))
    try:
        with h5py.File(data / _FILE, "r") as file:
            found = [
                _read_one(data, number, file[f"episode_{number}"], facts.get(number, {}), jpeg)
                for number in range(len(file))
            ]
    except (OSError, KeyError) as error:
        raise ValueError(f"{data / _FILE} cannot be read: {error}; copy it again.") from error
    yield from found  # outside, so that nobody who stops early leaves the file open


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write a dataset.

    Args:
        path: Folder, named as Minari wants it: letters, digits, `-`, `_` and a version, such as `walks-v0`.
        episodes: With steps, all of one frame size and one kind of action.
        mode: See `Mode`.
        **options: `codec`: `rgb` keeps every frame as it is, `jpeg` only those between steps, as Minari itself does.
            `author`, `author_email`, `algorithm_name`, `description`, `code_permalink` go to Minari's metadata.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: Another name, other options, or episodes without steps or of different kinds.
    """
    codec = options.pop("codec", None) or "rgb"
    words = {name: options.pop(name) for name in _WORDS if name in options}
    refuse_options("minari", options)
    if codec not in _CODECS:
        raise ValueError(f"unknown codec {codec!r}; format 'minari' knows rgb (lossless) and jpeg.")
    name = _dataset_id(path)
    exists = detect(path)
    prepare_target(path, mode, exists)
    appending = mode == "append" and exists
    with staged(path.with_name(f"{path.name}.new") if appending else path, "create", False) as stage:
        if appending:
            shutil.copytree(path, stage, dirs_exist_ok=True)
        facts = _facts(stage)
        todo = list(episodes)  # their frames come one episode at a time
        if not todo:
            raise ValueError("there is no episode to write; look at the selection.")
        storage = _storage(stage / "data", name, todo, codec, words)
        for episode in todo:
            _check_episode(episode, storage)
            facts[storage.total_episodes] = facts_of(episode)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                storage.update_episodes([_buffer(episode, codec)])
        write_json(stage / _FACTS, [facts.get(number, {}) for number in range(storage.total_episodes)])
    if appending:
        old = path.with_name(f"{path.name}.old")
        path.rename(old)
        path.with_name(f"{path.name}.new").rename(path)
        shutil.rmtree(old)


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    found: list[Problem] = []
    try:
        for number, episode in enumerate(read(path)):
            found += problems_of(f"episode {number}", episode)
            if episode.recipe is None:
                found.append(Problem(f"episode {number}", "it has no recipe, and cannot be replayed.", fatal=False))
        minari.MinariDataset(_data(path))
    except (ValueError, OSError, AssertionError) as error:
        found.append(Problem(path.name, str(error)))
    return found


def env_spec(episodes: Iterable[Episode]) -> gym.envs.registration.EnvSpec | None:
    """The spec of the environment that made the episodes, so that `recover_environment` gives it back.

    Returns:
        None if one has no recipe, or checkpoints or tasks differ.
    """
    recipes = [each.recipe or {} for each in episodes]
    if not recipes or any(not isinstance(each.get("env"), dict) or "checkpoint" not in each for each in recipes):
        return None
    first = recipes[0]
    if any(
        (each["checkpoint"], each["env"].get("task")) != (first["checkpoint"], first["env"].get("task"))
        for each in recipes
    ):
        return None
    # What was drawn anew for each episode, such as the field of view, is not the environment's.
    arguments = {
        name: value for name, value in first["env"].items() if all(each["env"].get(name) == value for each in recipes)
    }
    task = arguments.get("task")
    name = task.get("task_class") if isinstance(task, dict) else task
    known = f"SanaWM/{name}-v0"
    spec = copy.deepcopy(gym.spec(known if name and known in gym.registry else "SanaWM-v0"))
    spec.kwargs = {"checkpoint": first["checkpoint"], **spec.kwargs, **arguments}
    return spec


_WORDS = ("author", "author_email", "algorithm_name", "description", "code_permalink")


@dataclass(frozen=True)
class _StoredFrames:
    """Frames of an episode in Minari's storage, loaded each time that they are iterated."""

    data: Path
    number: int
    between: bool
    """Whether infos hold those between the steps."""
    jpeg: bool

    def __iter__(self) -> Iterator[Frames]:
        with h5py.File(self.data / _FILE, "r") as file:
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


def _dataset_id(path: Path) -> str:
    """As `minari.load_dataset` will find it, with the folders between as its namespace."""
    root = os.environ.get("MINARI_DATASETS_PATH")
    place, name = path.absolute(), path.name
    if root and Path(root).absolute() in place.parents:
        name = place.relative_to(Path(root).absolute()).as_posix()
    if not re.fullmatch(r"([-\w]+/)*[-\w]+-v\d+", name, re.ASCII):
        raise ValueError(f"Minari has no name {name!r} for a dataset; call the folder something like 'walks-v0'.")
    return name


def _storage(folder: Path, name: str, episodes: list[Episode], codec: str, words: dict[str, str]) -> MinariStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if folder.is_dir():
            storage = MinariStorage.read(folder)
            if storage.jpeg_encoding != (codec == "jpeg"):
                raise ValueError("the dataset keeps frames in another way; take its codec to add to it.")
            return storage
        folder.mkdir()
        first, spec = episodes[0], env_spec(episodes)
        shape = np.shape(first.actions)[1:]
        floats = np.issubdtype(np.asarray(first.actions).dtype, np.floating)
        actions: spaces.Space[Any] = spaces.Box(-1, 1, shape, np.float32) if floats else spaces.MultiBinary(shape)
        image = spaces.Box(0, 255, (*first.size, 3), np.uint8)
        pose = spaces.Box(-np.inf, np.inf, (7,), np.float32)
        entries = {
            name: spaces.Box(-np.inf, np.inf, np.shape(values)[1:], np.float32)
            for name, values in first.entries.items()
        }
        storage = MinariStorage.new(
            folder,
            observation_space=spaces.Dict({"image": image, "pose": pose, **entries}),
            action_space=actions,
            env_spec=spec,
            jpeg_encoding=codec == "jpeg",
        )
        known: dict[str, Any] = dict(words)
        for key in {"author", "author_email"} & set(known):
            known[key] = {known[key]}
        if spec is not None:
            known["requirements"] = [f"sanawm_env=={version('sanawm_env')}"]
        storage.update_metadata({"dataset_id": name, "minari_version": minari.__version__, **known})
        return storage


def _check_episode(episode: Episode, storage: MinariStorage) -> None:
    if not len(episode.actions):
        raise ValueError(f"episode {episode.name!r} has no steps, which is all that Minari holds; take another format.")
    space = storage.observation_space
    if not isinstance(space, spaces.Dict) or "image" not in space.spaces:
        raise ValueError("the dataset holds other observations than image and pose; write into a new folder.")
    if space["image"].shape != (*episode.size, 3):
        raise ValueError(f"episode {episode.name!r} has frames of {episode.size}; all must be of one size.")
    if {"image", "pose", *episode.entries} != set(space.spaces):
        raise ValueError(
            f"episode {episode.name!r} observes {', '.join(episode.entries) or 'no more than the world'}, and others "
            "something else; write one dataset per task."
        )
    if storage.action_space.shape != np.shape(episode.actions)[1:]:
        raise ValueError(f"episode {episode.name!r} has actions of another shape; all must be alike.")


def _buffer(episode: Episode, codec: str) -> EpisodeBuffer:
    frames, k, steps = all_frames(episode), episode.frames_per_step, len(episode.actions)
    poses = np.asarray(episode.c2w, np.float64)
    infos: dict[str, Any] = {
        "c2w": poses[::k],
        "frame_index": np.arange(0, len(poses), k),
        "time": np.arange(0, len(poses), k) / episode.fps,
        "intrinsics": np.tile(np.asarray(episode.intrinsics, np.float64), (steps + 1, 1)),
    }
    if codec == "rgb":
        infos["frames"] = _rows(frames, k)
        infos["frame_c2w"] = _rows(poses, k)
    terminations, truncations = np.zeros(steps, bool), np.zeros(steps, bool)
    terminations[-1] = episode.terminated
    truncations[-1] = episode.truncated or not episode.terminated  # Minari's episodes end
    return EpisodeBuffer(
        seed=int(episode.recipe["seed"]) if episode.recipe and "seed" in episode.recipe else None,
        observations={
            "image": list(frames[::k]),
            "pose": pose_vectors(poses[::k]),
            **{name: np.asarray(values, np.float32) for name, values in episode.entries.items()},
        },
        actions=np.asarray(episode.actions),
        rewards=np.asarray(episode.rewards, np.float64),
        terminations=terminations,
        truncations=truncations,
        infos=infos,
    )


def _rows(values: NDArray[Any], k: int) -> NDArray[Any]:
    """`(T + 1, k, ...)`: frame 0 repeated as after our environments' reset, then those of each step."""
    return np.concatenate([np.repeat(values[:1], k, 0), values[1:]]).reshape(-1, k, *values.shape[1:])


def _data(path: Path) -> Path | None:
    """The folder of Minari's metadata: `data` within the dataset, or the path itself."""
    for folder in (path / "data", path):
        if (folder / "metadata.json").is_file() and list(folder.glob("main_data*")):
            return folder
    return None


def _facts(path: Path) -> dict[int, dict[str, Any]]:
    file = path / _FACTS
    if not file.is_file():
        return {}
    try:
        return dict(enumerate(json.loads(file.read_text(encoding="utf-8"))))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); remove it to read what Minari holds.") from error
