"""Posed clips, as `sanawm annotate` writes and `sanawm train --data` reads them; see `sanawm_env.scenes.posed_clips`.

Refused clips are passed over. Clips without a scale are no episodes, whose lengths are metres: they cannot be read.
What an episode is beside its pictures and poses stays in the figures of its clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.facts import episode_from, facts_of
from sanawm_env.data.formats.common.folders import free_name, problems_of, refuse_options, staged
from sanawm_env.data.formats.registry import Mode, Problem
from sanawm_env.scenes.posed_clips import PosedClip, is_clips, list_clips, prepare_clips, write_clip

__all__ = ["check", "detect", "read", "write"]

_EPISODE = "episode"
"""Key of the facts among a clip's figures."""


@dataclass(frozen=True)
class _Pieces:
    """Frames of a clip, decoded anew each time that they are iterated."""

    clip: PosedClip

    def __iter__(self) -> Iterator[Frames]:
        for frame in self.clip.frames():
            yield frame[None]


def detect(path: Path) -> bool:
    """Whether posed clips lie there."""
    return is_clips(path)


def read(path: Path) -> Iterator[Episode]:
    """The accepted clips.

    Raises:
        ValueError: No posed clips, damaged ones, or one that moves by an unknown scale or changes its focal length.
    """
    for clip in list_clips(path):
        yield _episode(clip)


def write(path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
    """Write each episode as an accepted clip, its video without loss.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: An option, or episodes whose frames do not fit their poses; nothing is left behind.
    """
    refuse_options("clips", options)
    there = is_clips(path)
    with staged(path, mode, there) as stage:
        # An append is staged inside the dataset, so that its clips only have to move.
        place = stage if there else prepare_clips(stage)
        taken = {each.name for each in (path / "clips").iterdir()} if there else set()
        for number, episode in enumerate(episodes, len(taken)):
            _write_one(place / free_name(episode.name or f"{number:06d}", taken), episode)
        if there:
            for each in sorted(stage.iterdir()):
                each.rename(path / "clips" / each.name)
            (stage / "dataset.json").write_bytes((path / "dataset.json").read_bytes())


def check(path: Path) -> list[Problem]:
    """What is missing or damaged, and what was refused; frames are decoded."""
    found: list[Problem] = []
    try:
        clips = list_clips(path, accepted_only=False)
    except ValueError as error:
        return [Problem(str(path), str(error))]
    for clip in clips:
        if clip.verdict == "refused":
            found.append(Problem(clip.name, f"it was refused: {'; '.join(clip.reasons)}.", fatal=False))
            continue
        try:
            found += problems_of(clip.name, _episode(clip))
        except ValueError as error:
            found.append(Problem(clip.name, str(error)))
    return found


def _episode(clip: PosedClip) -> Episode:
    if not clip.metric and np.any(clip.c2w[:, :3, 3]):
        raise ValueError(
            f"clip {clip.name} has no scale, and an episode is in metres: annotate it with --camera-height, "
            "--distance, --depth, --odometry or --gps."
        )
    if not np.allclose(clip.intrinsics, clip.intrinsics[0], rtol=1e-4):
        raise ValueError(f"clip {clip.name} changes its intrinsics from frame to frame; an episode has one lens.")
    depth = clip.depth()
    facts = clip.figures.get(_EPISODE) or {}
    known: dict[str, Any] = {"size": (clip.height, clip.width), "fps": clip.fps}
    known["intrinsics"] = np.asarray(facts.get("intrinsics", clip.intrinsics[0]), np.float64)
    if not facts:
        known |= {"name": clip.name, "text": clip.caption or ""}
    pieces = None if depth is None else [depth.astype(np.float32)]
    return episode_from(facts, _Pieces(clip), clip.c2w, pieces, **known)


def _write_one(folder: Path, episode: Episode) -> None:
    height, width = (int(side) for side in episode.size)
    depth: NDArray[np.float32] | None = None
    if episode.depth is not None:
        depth = np.concatenate(list(episode.depth))
    clip = PosedClip(
        c2w=episode.c2w,
        intrinsics=np.tile(np.asarray(episode.intrinsics, np.float32), (len(episode), 1)),
        height=height,
        width=width,
        fps=episode.fps,
        metric=True,
        figures={_EPISODE: facts_of(episode)},
        source=episode.name,
        caption=episode.text or None,
    )
    write_clip(folder, clip, episode.frames, depth)
