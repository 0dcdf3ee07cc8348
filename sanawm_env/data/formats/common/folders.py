"""Datasets that are one folder for each episode, written whole or not at all."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sanawm_env.camera.pose import validate_c2w
from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import facts_of
from sanawm_env.data.formats.common.pictures import PictureFiles, given_picture, picture_size
from sanawm_env.data.formats.registry import Mode, Problem, prepare_target
from sanawm_env.files import write_json

__all__ = [
    "check_folders",
    "episode_folders",
    "free_name",
    "load_facts",
    "problems_of",
    "read_folders",
    "refuse_options",
    "staged",
    "write_folders",
]

_FACTS = "episode.json"
"""Beside each episode: what its format has no place for."""


def episode_folders(path: Path, marker: str, suffixes: Collection[str] = ()) -> list[Path]:
    """Folders that hold `marker`: `path` itself, or else those directly in it, by name; hidden ones are unfinished.

    A file of one of the suffixes is an episode by itself, if it is `path`.
    """
    if path.suffix in suffixes and path.is_file():
        return [path]
    if (path / marker).is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(each for each in path.iterdir() if not each.name.startswith(".") and (each / marker).is_file())


def load_facts(folder: Path) -> dict[str, Any]:
    """What `write_folders` put beside an episode; empty if it came from elsewhere.

    Raises:
        ValueError: No JSON.
    """
    path = folder / _FACTS
    if not path.is_file():
        return {}
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if image := (found.get("recipe") or {}).get("image"):
            found["recipe"]["image"] = {**image, "file": str((folder / image["file"]).resolve())}
        return found
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is no JSON of an episode ({error}); remove it to read frames and poses only."
        ) from error


def read_folders(
    path: Path, marker: str, read_one: Callable[[Path], Episode], suffixes: Collection[str] = ()
) -> Iterator[Episode]:
    """Episodes of all folders; see `episode_folders`.

    Raises:
        ValueError: There is none, or one cannot be read; names it.
    """
    folders = episode_folders(path, marker, suffixes)
    if not folders:
        raise ValueError(f"{path} has no {marker}, neither itself nor in a folder of it; check the path.")
    for folder in folders:
        yield _one(folder, read_one)


def write_folders(
    path: Path,
    episodes: Iterable[Episode],
    mode: Mode,
    marker: str,
    write_one: Callable[[Path, Episode], None],
) -> None:
    """Write each episode to a folder of its own, named as the episode is.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: No episode, or one that cannot be written; nothing is left behind.
    """
    there = episode_folders(path, marker)
    if there == [path]:
        raise FileExistsError(f"{path} is a single episode; choose another name.")
    taken = {each.name for each in there}
    with staged(path, mode, bool(there)) as stage:
        for number, episode in enumerate(episodes, len(taken)):
            folder = stage / free_name(episode.name or f"{number:06d}", taken)
            folder.mkdir()
            write_one(folder, episode)
            write_json(folder / _FACTS, facts_of(episode) | {"recipe": _with_picture(folder, episode)})


def check_folders(
    path: Path, marker: str, read_one: Callable[[Path], Episode], suffixes: Collection[str] = ()
) -> list[Problem]:
    """Problems of all folders; see `episode_folders`."""
    folders = episode_folders(path, marker, suffixes)
    if not folders:
        return [Problem(str(path), f"it has no {marker}, neither itself nor in a folder of it; check the path.")]
    found: list[Problem] = []
    for folder in folders:
        try:
            episode = _one(folder, read_one)
        except (ValueError, OSError) as error:
            found.append(Problem(folder.name, str(error)))
            continue
        found += problems_of(folder.name, episode)
        if not (folder / _FACTS).is_file():
            found.append(Problem(folder.name, "there are no actions or rewards, only frames and poses.", fatal=False))
    return found


def problems_of(where: str, episode: Episode) -> list[Problem]:
    """Faults of any episode: bent poses, missing pictures or pictures of another size."""
    found = []
    try:
        validate_c2w(episode.c2w)
    except ValueError as error:
        found.append(Problem(where, f"{error} Write the poses again in double precision."))
    if not (episode.intrinsics[:2] > 0).all():
        found.append(Problem(where, f"focal lengths must be positive; got {episode.intrinsics[:2].tolist()}."))
    of_world = (episode.recipe or {}).get("fps", episode.fps)
    if of_world != episode.fps:
        what = f"it is said to run at {episode.fps:g} fps, and its recipe makes {of_world:g}; correct what is wrong."
        found.append(Problem(where, what))
    if isinstance(episode.frames, PictureFiles):
        if len(episode.frames.paths) != len(episode):
            found.append(Problem(where, f"there are {len(episode)} poses and {len(episode.frames.paths)} frames."))
        for path in episode.frames.paths:
            try:
                size = picture_size(path)
            except ValueError as error:
                found.append(Problem(where, str(error)))
                break
            if size != tuple(episode.size):
                found.append(Problem(where, f"{path.name} is {size}, and the episode {tuple(episode.size)}."))
                break
        return found
    try:
        count = sum(len(piece) for piece in episode.frames)
    except (ValueError, OSError) as error:
        return [*found, Problem(where, str(error))]
    if count != len(episode):
        found.append(Problem(where, f"there are {len(episode)} poses and {count} frames; write it again."))
    return found


@contextmanager
def staged(path: Path, mode: Mode, exists: bool) -> Iterator[Path]:
    """A folder to write in, which becomes `path`, or whose entries are added to it, once the body is done.

    Args:
        path: The dataset.
        mode: See `Mode`.
        exists: Whether a dataset of the format is there already.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: `append`, and something else is there; or nothing was written.
    """
    prepare_target(path, mode, exists)
    appending = exists and mode == "append"
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = (path if appending else path.parent) / f".{path.name}.{secrets.token_hex(4)}"
    stage.mkdir()
    try:
        yield stage
        if not any(stage.iterdir()):
            raise ValueError("there is no episode to write; look at the selection.")
        if appending:
            for each in sorted(stage.iterdir()):
                each.rename(path / each.name)
            stage.rmdir()
        else:
            if path.is_dir():
                path.rmdir()  # `prepare_target` found it empty
            stage.rename(path)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def free_name(wanted: str, taken: set[str]) -> str:
    """A file name as close to `wanted` as may be and not in `taken`, to which it is added.

    Spaces and letters of any language stay; what separates folders or is forbidden on some disk becomes `_`.
    """
    clean = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", wanted).strip(" .") or "episode"
    name, number = clean, 1
    while name in taken:
        number += 1
        name = f"{clean}-{number}"
    taken.add(name)
    return name


def refuse_options(name: str, options: dict[str, Any]) -> None:
    """Say which options a format does not have.

    Raises:
        ValueError: There is one.
    """
    if options:
        raise ValueError(f"format {name!r} has no option {', '.join(sorted(options))}; leave it out.")


def _with_picture(folder: Path, episode: Episode) -> dict[str, Any] | None:
    """The recipe, and beside it the first frame that was given."""
    recipe = dict(episode.recipe) if episode.recipe else None
    source = given_picture(recipe, episode.name)
    if recipe is None or source is None:
        return recipe
    name = f"given{source.suffix}"
    shutil.copyfile(source, folder / name)
    return recipe | {"image": {**recipe["image"], "file": name}}


def _one(folder: Path, read_one: Callable[[Path], Episode]) -> Episode:
    try:
        return read_one(folder)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"episode {folder}: {what}") from error
