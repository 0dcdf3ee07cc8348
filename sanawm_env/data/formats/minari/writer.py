"""`write`: episodes in the layout of Minari's `DataCollector(env, record_infos=True)`."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, all_frames
from sanawm_env.data.formats.common.facts import facts_of
from sanawm_env.data.formats.common.folders import refuse_options, staged
from sanawm_env.data.formats.minari import layout
from sanawm_env.data.formats.minari.environment import env_spec
from sanawm_env.data.formats.registry import Mode, prepare_target
from sanawm_env.envs.sensors.observations import pose_vectors
from sanawm_env.files import write_json

__all__ = ["write"]

_CODECS = ("rgb", "jpeg")
_WORDS = ("author", "author_email", "algorithm_name", "description", "code_permalink")


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
    name = layout.dataset_id(path)
    exists = layout.detect(path)
    prepare_target(path, mode, exists)
    appending = mode == "append" and exists
    with staged(path.with_name(f"{path.name}.new") if appending else path, "create", False) as stage:
        if appending:
            shutil.copytree(path, stage, dirs_exist_ok=True)
        facts = layout.read_facts(stage)
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
        write_json(stage / layout.FACTS, [facts.get(number, {}) for number in range(storage.total_episodes)])
    if appending:
        old = path.with_name(f"{path.name}.old")
        path.rename(old)
        path.with_name(f"{path.name}.new").rename(path)
        shutil.rmtree(old)


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
