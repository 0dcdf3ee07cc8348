"""SANA-WM's own training data, so that rollouts can train it.

A zip holds a video and a JSON for each clip (`{key}.mp4`, `{key}.json` with width, height and prompt). Beside it lie
`{zip}_camera.npz` (`ids`, `ranges` of first pose and count, `pose` camera to world, `intrinsics` in pixels, for all
frames of all clips one after another), `{zip}_metric_scale_stats.json` (1 for each clip: our poses are metres) and the
captions. The trainer itself reads latents: they are made from the videos by its own VAE, into zips of the same names.
Depth has no place in it; steps stay in the JSON, under `sanawm`.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats.common.facts import episode_from, facts_of
from sanawm_env.data.formats.common.folders import free_name, problems_of, staged
from sanawm_env.data.formats.common.members import MemberVideo, archive_options, write_clip, zip_member
from sanawm_env.data.formats.registry import Mode, Problem
from sanawm_env.files import write_json

__all__ = ["check", "detect", "read", "write"]

_CAMERA = "_camera.npz"
_SCALE = "_metric_scale_stats.json"
_CAPTION = "_LongSceneStaticCaption-Qwen3-VL-30B-A3B-Instruct.json"
"""The name under which the trainer looks for captions of the scene alone, whoever wrote them."""
_STEM = "sanawm_train"
_FPS = 16.0


def detect(path: Path) -> bool:
    """Whether zips with cameras beside them are there."""
    return bool(_zips(path))


def read(path: Path) -> Iterator[Episode]:
    """Clips that have a video and a camera; poses are multiplied by the metric scale, so that they are metres.

    Raises:
        ValueError: No zips, or damaged ones.
    """
    zips = _zips(path)
    if not zips:
        raise ValueError(f"{path} has no zip with a *{_CAMERA} beside it; check the path.")
    for archive in zips:
        yield from _read_zip(archive)


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write zips and what belongs to them.

    Args:
        path: Folder.
        episodes: What to write; the trainer expects 961 frames of 704x1280, but other clips are not refused.
        mode: See `Mode`; `append` adds a zip.
        **options: `codec` of the videos, and `zip_size`, the number of clips to a zip (500).

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: Unknown options, another frame rate than 16, or frames that do not fit the poses.
    """
    codec, size = archive_options("upstream", options, "zip_size", 500)
    there = _zips(path)
    numbers = [archive.stem.rpartition("_")[2] for archive in there]
    first = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
    taken = {name for archive in there for name in _ids(archive)} if mode == "append" else set()
    with staged(path, mode, bool(there)) as stage:
        batch: list[tuple[str, Episode]] = []
        number = first
        for episode in episodes:
            if episode.fps != _FPS:
                raise ValueError(f"episode {episode.name!r} has {episode.fps} frames per second; SANA-WM trains at 16.")
            # Keys are member names: a dot would be taken for the beginning of the suffix.
            batch.append((free_name((episode.name or f"{len(taken):06d}").replace(".", "_"), taken), episode))
            if len(batch) == size:
                _write_zip(stage / f"{_STEM}_{number:08d}.zip", batch, codec)
                batch, number = [], number + 1
        if batch:
            _write_zip(stage / f"{_STEM}_{number:08d}.zip", batch, codec)


def check(path: Path) -> list[Problem]:
    """What is missing or damaged; frames are decoded."""
    found: list[Problem] = []
    for archive in _zips(path):
        try:
            for episode in _read_zip(archive):
                found += problems_of(f"{archive.name}: {episode.name}", episode)
                if rest := (len(episode) - 1) % 8:
                    what = f"{len(episode)} frames; SANA-WM's VAE takes 1 + 8 n, and drops the last {rest}."
                    found.append(Problem(f"{archive.name}: {episode.name}", what, fatal=False))
                if not episode.text:
                    found.append(Problem(f"{archive.name}: {episode.name}", "it has no caption.", fatal=False))
        except (ValueError, KeyError, OSError) as error:
            found.append(Problem(archive.name, str(error)))
    return found


def _zips(path: Path) -> list[Path]:
    return sorted(each for each in path.glob("*.zip") if _beside(each, _CAMERA).is_file()) if path.is_dir() else []


def _beside(archive: Path, suffix: str) -> Path:
    return archive.with_name(archive.stem + suffix)


def _write_zip(archive: Path, batch: list[tuple[str, Episode]], codec: str | None) -> None:
    counts = [len(episode) for _, episode in batch]
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file,
        tempfile.TemporaryDirectory(dir=archive.parent) as work,
    ):
        for key, episode in batch:
            video = Path(work) / "clip.mp4"
            write_clip(video, episode, codec)
            height, width = (int(side) for side in episode.size)
            values = {"width": width, "height": height, "prompt": episode.text, "fps": _FPS, "num_frames": len(episode)}
            file.writestr(f"{key}.json", json.dumps(values | {"sanawm": facts_of(episode)}))
            file.write(video, f"{key}.mp4")
    np.savez(
        _beside(archive, _CAMERA),
        ids=np.array([key for key, _ in batch]),
        ranges=np.stack([np.cumsum([0, *counts[:-1]]), counts], 1).astype(np.int64),
        pose=np.concatenate([episode.c2w for _, episode in batch]),
        intrinsics=np.concatenate([np.tile(np.asarray(e.intrinsics, float), (len(e), 1)) for _, e in batch]),
    )
    write_json(_beside(archive, _SCALE), {key: 1.0 for key, _ in batch})
    write_json(_beside(archive, _CAPTION), {key: {"prompt": episode.text} for key, episode in batch})


def _ids(archive: Path) -> list[str]:
    with np.load(_beside(archive, _CAMERA)) as camera:
        return [str(each) for each in camera["ids"]]


def _read_zip(archive: Path) -> Iterator[Episode]:
    try:
        with np.load(_beside(archive, _CAMERA)) as camera:
            ranges, pose, intrinsics = camera["ranges"], camera["pose"], camera["intrinsics"]
            ids = [str(each) for each in camera["ids"]]
        scales = _json_beside(archive, _SCALE)
        captions = _json_beside(archive, _CAPTION)
        with zipfile.ZipFile(archive) as file:
            infos = {info.filename: info for info in file.infolist()}
            texts = {key: json.loads(file.read(f"{key}.json")) for key in ids if f"{key}.json" in infos}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive} or what lies beside it is damaged: {error}; copy it again.") from error
    for key, (first, count) in zip(ids, ranges, strict=True):
        if key not in texts or f"{key}.mp4" not in infos:
            raise ValueError(f"{archive}: clip {key!r} lacks {key}.json or {key}.mp4; latents alone cannot be read.")
        lens = intrinsics[first : first + count]
        if len(lens) != count or not count:
            raise ValueError(f"{archive}: there are {len(lens)} of the {count} poses of clip {key!r}.")
        if not np.allclose(lens, lens[0]):
            raise ValueError(
                f"{archive}: the intrinsics of clip {key!r} change from frame to frame; it cannot be read."
            )
        values = texts[key]
        poses = np.array(pose[first : first + count], np.float64)
        poses[:, :3, 3] *= _scale(scales.get(key, 1.0))
        known: dict[str, Any] = {
            "intrinsics": np.array(lens[0], np.float64),
            "size": (int(values["height"]), int(values["width"])),
            "text": _caption(captions.get(key)) or str(values.get("prompt", "")),
        }
        facts = values.get("sanawm") or {}
        if not facts:
            known |= {"name": key, "fps": float(values.get("fps", _FPS))}
        yield episode_from(facts, MemberVideo(zip_member(archive, infos[f"{key}.mp4"])), poses, **known)


def _json_beside(archive: Path, suffix: str) -> dict[str, Any]:
    path = _beside(archive, suffix)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _scale(value: Any) -> float:
    """As the trainer takes it: the score of a record, or else its median."""
    return float((value.get("score") or value.get("median") or 1.0) if isinstance(value, dict) else value)


def _caption(value: Any) -> str:
    return str(value.get("prompt", "") if isinstance(value, dict) else value or "")
