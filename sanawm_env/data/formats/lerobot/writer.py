"""`write`: episodes of any origin as a dataset of ours, which LeRobot's readers open."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.pictures import given_picture
from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.formats.lerobot.items import checkpoint_of, read_items
from sanawm_env.data.formats.lerobot.native import index
from sanawm_env.data.formats.registry import Mode, prepare_target
from sanawm_env.data.storage.depth import depth_file, write_depth
from sanawm_env.data.storage.encode import DEFAULT_CODEC, ClipWriter
from sanawm_env.data.storage.native import video_number
from sanawm_env.files import replacing, write_json

__all__ = ["write"]


def write(
    path: Path,
    episodes: Iterable[Episode],
    *,
    mode: Mode = "create",
    codec: str | None = None,
    allow_mixed: bool = False,
) -> None:
    """Write a dataset, or add episodes to one that was written here.

    What was there before stays as it was if this fails.

    Args:
        path: Folder.
        episodes: What to write, each with a camera and all of one size and rate.
        mode: `create` wants a new or an empty folder, `append` adds.
        codec: Of `encode.CODECS`; None is that of the dataset, or `h264-444` for a new one.
        allow_mixed: Whether episodes may come from different worlds.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: No episodes, one that is cut short, another rate than its world's, episodes that do not fit
            together, different worlds, or a target that was written elsewhere.
    """
    path = Path(path)
    prepare_target(path, mode, exists=bool(layout.item_files(path)))
    items = read_items(path) if mode == "append" else []
    if (path / "sanawm" / "collection.json").exists():
        raise ValueError(f"{path} grows by `sanawm collect` only; write into another folder.")
    first = next((item for item in items if item.kept), None)
    codec = codec or (first.video.get("codec") if first else None) or DEFAULT_CODEC
    if first is not None and codec != first.video.get("codec"):
        raise ValueError(f"{path} is of codec {first.video.get('codec')!r}, not {codec!r}; leave the codec out.")
    like = first.episode() if first is not None else None
    worlds = {item.world for item in items if item.kept}
    new = not items
    root = path.with_name(f".{path.name}.{secrets.token_hex(4)}") if new else path
    written: list[Path] = []
    try:
        number = _next(path) if not new else 0
        pending: list[tuple[Path, dict[str, Any]]] = []
        for episode in episodes:
            name = episode.name or str(number)
            like = like or episode
            _check(episode, like, name)
            worlds.add(checkpoint_of(episode.recipe, f"episode {name!r}"))
            if len(worlds) > 1 and not allow_mixed:
                raise ValueError(
                    f"episode {name!r} comes from another world ({_names(worlds)}); write one dataset per world, or "
                    "allow mixed ones explicitly."
                )
            pending.append((layout.item_file(root, number), _add(root, number, episode, codec, name, written)))
            number += 1
        if not pending:
            raise ValueError("there are no episodes to write.")
        for file, values in pending:
            written.append(file)
            write_json(file, values)
        index(root)
        if new:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.rename(root, path)
    except BaseException:
        if new:
            shutil.rmtree(root, ignore_errors=True)
        for file in written if not new else ():
            with suppress(OSError):
                file.unlink()
        raise


def _check(episode: Episode, like: Episode, name: str) -> None:
    of_world = (episode.recipe or {}).get("fps", episode.fps)
    if episode.fps != of_world:
        raise ValueError(
            f"episode {name!r} is said to run at {episode.fps:g} fps and its world makes {of_world:g}; resample it "
            "first, or keep the world's rate."
        )
    if episode.fps != like.fps or tuple(episode.size) != tuple(like.size):
        raise ValueError(
            f"episode {name!r} has {episode.size} pixels at {episode.fps:g} fps and the first one {like.size} at "
            f"{like.fps:g}; a dataset has one of each."
        )
    if episode.fps != int(episode.fps):
        raise ValueError(f"LeRobot's layout knows whole frames per second only, not {episode.fps}.")


def _names(worlds: set[tuple[str, str]]) -> str:
    return ", ".join(sorted(f"{name or 'unknown'} {digest[:8]}".strip() for digest, name in worlds))


def _next(path: Path) -> int:
    """A number that no file has yet, also not one of a process that was killed before."""
    used = [int(file.stem) for file in (path / "sanawm" / "episodes").glob("*.*") if file.stem.isdigit()]
    for file in (path / "videos" / layout.VIDEO).glob("chunk-*/file-*.mp4"):
        used.append(video_number(file))
    return max(used, default=-1) + 1


def _add(root: Path, number: int, episode: Episode, codec: str, name: str, written: list[Path]) -> dict[str, Any]:
    """Write video and arrays; the JSON that makes them count comes when all episodes are there."""
    video = layout.video_file(root, number)
    written.append(video)
    with ClipWriter(video, episode.fps, codec) as clip:
        for piece in episode.frames:
            if np.shape(piece)[1:3] != tuple(episode.size):
                raise ValueError(f"episode {name!r} has frames {np.shape(piece)[1:3]}, not {tuple(episode.size)}.")
            clip.write(piece)
        if clip.frames != len(episode):
            raise ValueError(
                f"episode {name!r} is cut: {clip.frames} frames for {len(episode)} poses. Leave it out, or fetch its "
                "video again."
            )
    if episode.depth is not None:
        written.append(depth_file(root, number))
        try:
            write_depth(depth_file(root, number), episode.depth, (len(episode), *episode.size))
        except ValueError as error:
            raise ValueError(f"episode {name!r}: {error}") from None
    arrays: dict[str, Any] = {
        "c2w": np.asarray(episode.c2w, np.float64),
        "intrinsics": np.asarray(episode.intrinsics, np.float64),
        "actions": np.asarray(episode.actions),
        "rewards": np.asarray(episode.rewards, np.float64),
        **{key: np.asarray(value) for key, value in episode.entries.items()},
    }
    file = layout.item_file(root, number).with_suffix(".npz")
    written.append(file)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return {
        "recipe": _with_picture(root, episode.recipe, name),
        "outcome": {
            "reward": float(np.sum(episode.rewards)),
            "terminated": bool(episode.terminated),
            "truncated": bool(episode.truncated),
            "success": None if episode.success is None else bool(episode.success),
            "measures": {key: float(value) for key, value in episode.measures.items() if np.isfinite(value)},
            "seconds_of_world": episode.seconds,
            "kept": True,
            "reasons": [],
        },
        "video": {
            "file": video.relative_to(root).as_posix(),
            "codec": codec,
            "frames": clip.frames,
            "stats": clip.stats,
        },
        "episode": {
            "name": name,
            "text": episode.text,
            "size": [int(side) for side in episode.size],
            "fps": float(episode.fps),
            "frames_per_step": int(episode.frames_per_step),
        },
    }


def _with_picture(root: Path, recipe: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """The recipe, with its first frame copied in under its hash instead of a path elsewhere."""
    source = given_picture(recipe, name)
    if recipe is None or source is None:
        return dict(recipe) if recipe is not None else None
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = f"sanawm/images/{digest}{source.suffix}"
    if not (root / file).exists():
        with replacing(root / file) as temporary:
            temporary.write_bytes(content)
    return {**recipe, "image": {**recipe["image"], "file": file}}
