"""Videos to a dataset of posed clips: one clip after another, each whole or not at all, so that a rerun goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.intrinsics import Intrinsics, fit_image, fit_intrinsics
from sanawm_env.data.annotation.clip import keep_solution, refuse_short, scratch_folder, store_and_track
from sanawm_env.data.annotation.cuts import Span
from sanawm_env.data.annotation.given import check_given
from sanawm_env.data.annotation.options import Options, output_size
from sanawm_env.data.annotation.shots import divide, frames_of_spans
from sanawm_env.data.annotation.source import FPS, Source, frames_of, open_source
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.solve import Solution, solve
from sanawm_env.data.annotation.structure.tracks import Tracks, track, work_size
from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.folders import free_name
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, read_clip

__all__ = ["Options", "annotate_episodes", "annotate_frames", "annotate_videos"]

Array = NDArray[np.float64]


def annotate_videos(
    videos: Sequence[Path],
    ds: Path,
    options: Options,
    *,
    progress: Callable[[Iterable[Any], int, str], Iterable[Any]] = lambda each, total, name: each,
) -> list[PosedClip]:
    """Annotate videos, or folders of pictures.

    Args:
        videos: What to annotate.
        ds: Dataset, a new one or one that this began.
        options: How.
        progress: Wraps each video's clips; gets them, their number and the video's name.

    Returns:
        All clips of these videos, those that were there already among them.

    Raises:
        ValueError, FileNotFoundError: Something that cannot be read, before anything is written.
    """
    sources = [open_source(each, options.fps) for each in videos]
    cameras = [options.camera(source) for source in sources]
    place = prepare_clips(ds)
    taken: set[str] = set()
    done: list[PosedClip] = []
    for source, camera in zip(sources, cameras, strict=True):
        name = free_name(source.path.stem if not source.pictures else source.path.name, taken)
        clips, short = divide(ds, name, source, options)
        wanted = [(f"{name}-{number:04d}", span) for number, span in enumerate(clips)]
        if not wanted:
            done.append(refuse_short(place / f"{name}-0000", source, short, options))
            continue
        todo = [each for each in wanted if not (place / each[0] / "clip.json").is_file()]
        done += [read_clip(place / each[0]) for each in wanted if each not in todo]
        pieces = frames_of_spans(
            frames_of(source, output_size(source.height, source.width, options.size)), [s for _, s in todo]
        )
        for (clip_name, span), frames in progress(zip(todo, pieces, strict=False), len(todo), name):
            done.append(_annotate(place / clip_name, frames, span, source, camera, options))
    return done


def annotate_episodes(
    episodes: Iterable[Episode], ds: Path, options: Options, *, metric: bool, source: str
) -> Iterator[PosedClip]:
    """Annotate episodes whose poses are given: they are checked against their pictures, and kept.

    Args:
        episodes: Of any format; 16 frames a second, as `sanawm data` reads them.
        ds: Dataset, a new one or one that this began.
        options: How; the scale, if one is named, is found anew.
        metric: Whether the given poses are in metres.
        source: Where they come from.

    Raises:
        ValueError: An episode that cannot be read; if it is the first, nothing is written.
    """
    coming = iter(episodes)
    first = list(islice(coming, 1))
    place = prepare_clips(ds)
    taken: set[str] = set()
    for number, episode in enumerate(chain(first, coming)):
        name = free_name(episode.name or f"{number:06d}", taken)
        if (place / name / "clip.json").is_file():
            yield read_clip(place / name)
            continue
        height, width = episode.size
        size = output_size(height, width, options.size)
        lens = Intrinsics(episode.intrinsics, width, height)
        keep = _at_rate(len(episode), episode.fps)
        poses = episode.c2w[keep]
        frames = _fitted(episode, Counter(keep.tolist()), size)
        with scratch_folder(place / name) as folder:
            tracks = store_and_track(frames, folder, size)
            if len(tracks) != len(poses):
                raise ValueError(f"episode {name} has {len(poses)} poses and {len(tracks)} frames at 16 a second.")
            work = fit_intrinsics(lens, size[1], size[0]).resized(tracks.size[1], tracks.size[0])
            solution = check_given(tracks, poses, work.values, options.limits)
            reasons = _slow(episode.fps, options.limits)
            yield keep_solution(
                place / name,
                folder,
                tracks,
                solution,
                size,
                0.0,
                options,
                metric=metric,
                source=source,
                reasons=reasons,
                text=episode.text,
            )


def annotate_frames(
    frames: Iterable[Frames], size: tuple[int, int], intrinsics: Array | None, limits: Limits
) -> tuple[Tracks, Solution]:
    """Tracks and poses of frames `(H, W, 3)` uint8 RGB; intrinsics `(4,)` in their pixels, or None."""
    height, width = size
    tracks = track(frames, work_size(height, width))
    work = None
    if intrinsics is not None:
        work = Intrinsics(intrinsics, width, height).resized(tracks.size[1], tracks.size[0]).values
    return tracks, solve(tracks, work, limits)


def _annotate(
    folder: Path, frames: Iterator[Frames], span: Span, source: Source, camera: Intrinsics | None, options: Options
) -> PosedClip:
    size = output_size(source.height, source.width, options.size)
    with scratch_folder(folder) as scratch:
        tracks = store_and_track(frames, scratch, size)
        work = None
        if camera is not None:
            work = fit_intrinsics(camera, size[1], size[0]).resized(tracks.size[1], tracks.size[0]).values
        solution = solve(tracks, work, options.limits)
        figures = {"first_frame": span.first, "notes": list(source.notes)}
        begin, reasons = span.first / FPS, _slow(source.fps, options.limits)
        name = str(source.path)
        return keep_solution(
            folder, scratch, tracks, solution, size, begin, options, source=name, reasons=reasons, figures=figures
        )


def _slow(fps: float, limits: Limits) -> list[str]:
    if fps >= limits.least_fps:
        return []
    return [f"it was taken at {fps:.1f} frames a second, and {limits.least_fps:g} are needed"]


def _at_rate(count: int, fps: float) -> NDArray[np.int64]:
    """The frames that are nearest to each sixteenth of a second."""
    due = np.arange(int((count - 1) / fps * FPS + 1e-6) + 1) / FPS
    return np.clip(np.rint(due * fps), 0, count - 1).astype(np.int64)


def _fitted(episode: Episode, wanted: Mapping[int, int], size: tuple[int, int]) -> Iterator[Frames]:
    """The frames that are wanted, each as often as it is."""
    index = 0
    for piece in episode.frames:
        for frame in piece:
            if times := wanted.get(index, 0):
                fitted = frame if frame.shape[:2] == size else fit_image(frame, None, size[1], size[0])[0]
                yield from [fitted] * times
            index += 1
