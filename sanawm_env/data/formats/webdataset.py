"""WebDataset: tar shards with three or four files for each episode, for loaders that stream.

`{key}.mp4` has the frames, `{key}.npz` the arrays `c2w` (F, 4, 4), `intrinsics` (4,), `actions` and `rewards`,
`{key}.json` all the rest, and `{key}.depth.npz` the array `depth` (F, H, W) in metres if there is depth.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import episode_from, facts_of
from sanawm_env.data.formats.common.folders import free_name, problems_of, staged
from sanawm_env.data.formats.common.members import Member, MemberVideo, archive_options, write_clip
from sanawm_env.data.formats.registry import Mode, Problem

__all__ = ["check", "detect", "read", "write"]

_GLOB = "shard-*.tar"
_IN_NPZ = ("intrinsics", "actions", "rewards")


@dataclass(frozen=True)
class _Depth:
    """Depth of an episode, loaded each time that it is iterated."""

    member: Member

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        yield np.load(io.BytesIO(self.member.load()))["depth"]


def detect(path: Path) -> bool:
    """Whether shards are there, or it is one."""
    return bool(_shards(path))


def read(path: Path) -> Iterator[Episode]:
    """Episodes of all shards; files of other datasets must have the same names and arrays.

    Raises:
        ValueError: No shards, damaged ones, or samples of another kind.
    """
    if not _shards(path):
        raise ValueError(f"{path} has no {_GLOB}; check the path.")
    for shard in _shards(path):
        for key, members in _samples(shard).items():
            yield _read_one(shard, key, members)


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write shards.

    Args:
        path: Folder.
        episodes: What to write.
        mode: See `Mode`; `append` adds shards.
        **options: `codec`, and `shard_size`, the number of episodes to a shard (100).

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: Unknown options, or episodes whose frames do not fit their poses.
    """
    codec, size = archive_options("webdataset", options, "shard_size", 100)
    there = _shards(path) if path.is_dir() else []
    taken = {key for shard in there for key in _samples(shard)} if mode == "append" else set()
    first = max((int(shard.stem.split("-")[1]) for shard in there), default=-1) + 1
    with staged(path, mode, bool(there)) as stage:
        for number, episode in enumerate(episodes):
            # A key ends at the first dot of the file name.
            key = free_name((episode.name or f"{len(taken):06d}").replace(".", "_"), taken)
            with tarfile.open(
                stage / f"shard-{first + number // size:06d}.tar", "a", format=tarfile.PAX_FORMAT
            ) as shard:
                _write_one(shard, stage, key, episode, codec)


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    found: list[Problem] = []
    for shard in _shards(path):
        try:
            samples = _samples(shard)
        except ValueError as error:
            found.append(Problem(shard.name, str(error)))
            continue
        for key, members in samples.items():
            try:
                found += problems_of(f"{shard.name}: {key}", _read_one(shard, key, members))
            except ValueError as error:
                found.append(Problem(f"{shard.name}: {key}", str(error)))
    return found


def _shards(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.match(_GLOB) else []
    return sorted(path.glob(_GLOB))


def _write_one(shard: tarfile.TarFile, stage: Path, key: str, episode: Episode, codec: str | None) -> None:
    arrays = {name: np.asarray(getattr(episode, name)) for name in ("c2w", *_IN_NPZ)}
    facts = {name: value for name, value in facts_of(episode).items() if name not in ("actions", "rewards")}
    _add(shard, f"{key}.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())
    _add(shard, f"{key}.npz", _npz(arrays))
    with tempfile.TemporaryDirectory(prefix=".clip", dir=stage) as folder:
        video = Path(folder) / "clip.mp4"
        write_clip(video, episode, codec)
        _add(shard, f"{key}.mp4", video.read_bytes())
    if episode.depth is not None:
        depth = np.concatenate([np.asarray(piece, np.float32) for piece in episode.depth])
        if len(depth) != len(episode):
            raise ValueError(f"episode {episode.name!r} has {len(episode)} poses and {len(depth)} depth maps.")
        _add(shard, f"{key}.depth.npz", _npz({"depth": depth}))


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    shard.addfile(info, io.BytesIO(data))


def _samples(shard: Path) -> dict[str, dict[str, Member]]:
    """Files of each key by what follows it."""
    found: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                if info.isfile():
                    key, _, kind = info.name.partition(".")
                    found.setdefault(key, {})[kind] = Member(shard, info.name, info.offset_data, info.size)
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{shard} is no readable shard: {error}; copy it again.") from error
    return found


def _read_one(shard: Path, key: str, members: dict[str, Member]) -> Episode:
    if missing := [kind for kind in ("mp4", "npz", "json") if kind not in members]:
        raise ValueError(f"{shard}: sample {key!r} lacks {', '.join(f'{key}.{kind}' for kind in missing)}.")
    try:
        with np.load(io.BytesIO(members["npz"].load())) as arrays:
            c2w, known = arrays["c2w"], {name: arrays[name] for name in _IN_NPZ}
        facts = json.loads(members["json"].load())
        depth = _Depth(members["depth.npz"]) if "depth.npz" in members else None
        return episode_from(facts, MemberVideo(members["mp4"]), c2w, depth, **known)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{shard}: sample {key!r} cannot be read: {error}") from error
