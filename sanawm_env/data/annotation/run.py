"""Videos to a dataset of posed clips: one clip after another, each whole or not at all, so that a rerun goes on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.intrinsics import Intrinsics, fit_image, fit_intrinsics
from sanawm_env.camera.opencv import cv2
from sanawm_env.data.annotation.cuts import CUT_SIZE, Span, find_cuts, spans
from sanawm_env.data.annotation.given import check_given
from sanawm_env.data.annotation.report import write_pictures
from sanawm_env.data.annotation.scale import NoScale, ScaleSource
from sanawm_env.data.annotation.source import FPS, Source, frames_of, open_source
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.solve import Solution, solve
from sanawm_env.data.annotation.structure.tracks import Tracks, track, work_size
from sanawm_env.data.episode import Episode, Frames
from sanawm_env.data.formats.common.folders import free_name
from sanawm_env.files import write_json
from sanawm_env.scenes.posed_clips import PosedClip, clip_video, prepare_clips, read_clip, write_clip

__all__ = ["Caption", "Options", "annotate_episodes", "annotate_frames", "annotate_videos", "output_size"]

Array = NDArray[np.float64]
Caption = Callable[[Frames], str]
"""From a clip's first frame to what the scene shows."""

LONGEST_SIDE = 1280
"""Larger pictures are shrunk to this unless a size is given, pixels."""


@dataclass(frozen=True)
class Options:
    """How to annotate."""

    intrinsics: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels of the upright source picture; None finds the focal length."""
    fov: float | None = None
    """Horizontal field of view of the upright source picture, degrees, in place of intrinsics."""
    size: tuple[int, int] | None = None
    """Rows and columns of the clips, by resizing and cropping the middle; None keeps the source's shape."""
    clip_frames: int = 161
    """Frames of a clip at most, at 16 a second."""
    fps: float = FPS
    """Rate of the pictures of a folder."""
    scale: ScaleSource | None = None
    """Where metres come from; None leaves the scale open."""
    license: str = ""
    """Of the pictures."""
    caption: Caption | None = None
    """What says what the scenes show."""
    limits: Limits = field(default_factory=Limits)
    """Of what is accepted."""

    def camera(self, source: Source) -> Intrinsics | None:
        """Intrinsics of the upright source picture.

        Raises:
            ValueError: Both were given, or values that no camera has.
        """
        if self.intrinsics is not None and self.fov is not None:
            raise ValueError("give --intrinsics or --fov, not both.")
        if self.fov is not None:
            return Intrinsics.from_fov(self.fov, source.width, source.height)
        if self.intrinsics is not None:
            return Intrinsics.from_any(self.intrinsics, source.width, source.height)
        return None


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
        clips, short = _divided(ds, name, source, options)
        wanted = [(f"{name}-{number:04d}", span) for number, span in enumerate(clips)]
        if not wanted:
            done.append(_too_short(place / f"{name}-0000", source, short, options))
            continue
        todo = [each for each in wanted if not (place / each[0] / "clip.json").is_file()]
        done += [read_clip(place / each[0]) for each in wanted if each not in todo]
        pieces = _pieces(
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
        with _scratch(place / name) as folder:
            tracks = _stored(frames, folder, size)
            if len(tracks) != len(poses):
                raise ValueError(f"episode {name} has {len(poses)} poses and {len(tracks)} frames at 16 a second.")
            work = fit_intrinsics(lens, size[1], size[0]).resized(tracks.size[1], tracks.size[0])
            solution = check_given(tracks, poses, work.values, options.limits)
            reasons = _slow(episode.fps, options.limits)
            yield _kept(
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


def output_size(height: int, width: int, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the clips of a source of that size."""
    if wanted is not None:
        return wanted
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(round(height * shrink / 2) * 2, 2), max(round(width * shrink / 2) * 2, 2)


def _divided(ds: Path, name: str, source: Source, options: Options) -> tuple[list[Span], list[Span]]:
    """The clips of a video; cuts are sought once and kept in `ds/videos`.

    Raises:
        ValueError: The video was another one, or the options were others, when this dataset was begun.
    """
    path = ds / "videos" / f"{name}.json"
    facts = {
        "source": str(source.path),
        "bytes": sum(each.stat().st_size for each in (source.pictures or (source.path,))),
        "intrinsics": options.intrinsics,
        "fov": options.fov,
        "size": options.size,
        "clip_frames": options.clip_frames,
        "fps": source.fps,
    }
    facts = json.loads(json.dumps(facts))
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key, value in facts.items() if found.get(key) != value]:
            raise ValueError(
                f"{path} says that {name} was begun with another {', '.join(changed)}; annotate into another "
                "folder, or as before."
            )
    else:
        shrink = CUT_SIZE / max(source.height, source.width)
        small = (max(round(source.height * shrink), 2), max(round(source.width * shrink), 2))
        cuts, count = find_cuts(frames_of(source, small), FPS)
        found = facts | {"cuts": cuts, "frames": count, "notes": source.notes}
        write_json(path, found)
    source.notes[:] = found["notes"]
    return spans(found["cuts"], found["frames"], options.clip_frames, options.limits.least_frames)


def _pieces(frames: Iterator[Frames], wanted: Sequence[Span]) -> Iterator[Iterator[Frames]]:
    """The frames of each span, in order; what a reader leaves of one is passed over."""
    at = 0

    def until(end: int) -> Iterator[Frames]:
        nonlocal at
        while at < end:
            frame = next(frames, None)
            if frame is None:
                return
            at += 1
            yield frame

    for span in wanted:
        for _ in until(span.first):
            pass
        yield until(span.last)


def _annotate(
    folder: Path, frames: Iterator[Frames], span: Span, source: Source, camera: Intrinsics | None, options: Options
) -> PosedClip:
    size = output_size(source.height, source.width, options.size)
    with _scratch(folder) as scratch:
        tracks = _stored(frames, scratch, size)
        work = None
        if camera is not None:
            work = fit_intrinsics(camera, size[1], size[0]).resized(tracks.size[1], tracks.size[0]).values
        solution = solve(tracks, work, options.limits)
        figures = {"first_frame": span.first, "notes": list(source.notes)}
        begin, reasons = span.first / FPS, _slow(source.fps, options.limits)
        name = str(source.path)
        return _kept(
            folder, scratch, tracks, solution, size, begin, options, source=name, reasons=reasons, figures=figures
        )


def _slow(fps: float, limits: Limits) -> list[str]:
    if fps >= limits.least_fps:
        return []
    return [f"it was taken at {fps:.1f} frames a second, and {limits.least_fps:g} are needed"]


def _stored(frames: Iterator[Frames], scratch: Path, size: tuple[int, int]) -> Tracks:
    """Track frames while they are written: they are never all in memory."""
    with clip_video(scratch / "video.mp4", FPS) as video:

        def seen() -> Iterator[Frames]:
            for frame in frames:
                video.write(frame)
                yield frame

        return track(seen(), work_size(*size))


def _kept(
    folder: Path,
    scratch: Path,
    tracks: Tracks,
    solution: Solution,
    size: tuple[int, int],
    begin: float,
    options: Options,
    *,
    source: str,
    metric: bool = False,
    reasons: Sequence[str] = (),
    figures: dict[str, Any] | None = None,
    text: str = "",
) -> PosedClip:
    """Give a solution its scale, and write the clip and its pictures."""
    c2w, wrong = solution.c2w.copy(), [*reasons, *solution.reasons]
    all_figures: dict[str, Any] = {**(figures or {}), **solution.figures, "scale": None}
    if options.scale is not None and not solution.turning and len(c2w) and not wrong:
        try:
            keys = solution.keys or tuple(range(len(tracks)))
            found = options.scale(solution, [_decoded(tracks, key) for key in keys], begin)
        except NoScale as error:
            wrong.append(f"its scale could not be found: {error}")
        else:
            c2w[:, :3, 3] *= found.factor
            metric = True
            all_figures["scale"] = {"metres_per_unit": found.factor, "share": found.uncertainty, "source": found.source}
    work = Intrinsics(solution.intrinsics, tracks.size[1], tracks.size[0])
    rows = np.tile(work.resized(size[1], size[0]).values, (len(c2w), 1)).astype(np.float32)
    caption = text or None
    if options.caption is not None and not wrong:
        caption = options.caption(_decoded(tracks, 0))
    clip = PosedClip(
        c2w=c2w,
        intrinsics=rows,
        height=size[0],
        width=size[1],
        fps=FPS,
        metric=metric,
        verdict="refused" if wrong else "accepted",
        reasons=tuple(wrong),
        figures=_plain(all_figures),
        source=source,
        license=options.license,
        caption=caption,
    )
    write_pictures(folder.parent.parent / "report", folder.name, tracks, solution)
    return write_clip(folder, clip, None if wrong else scratch / "video.mp4")


def _too_short(folder: Path, source: Source, short: Sequence[Span], options: Options) -> PosedClip:
    least = options.limits.least_frames
    longest = max(map(len, short), default=0)
    what = f"its {len(short)} shots are" if len(short) > 1 else "it is"
    reason = f"{what} too short: {longest} frames at 16 a second at most, and {least} are needed"
    size = output_size(source.height, source.width, options.size)
    clip = PosedClip(
        c2w=np.zeros((0, 4, 4)),
        intrinsics=np.zeros((0, 4), np.float32),
        height=size[0],
        width=size[1],
        verdict="refused",
        reasons=(reason,),
        figures={"frames": longest, "shots": len(short), "notes": list(source.notes)},
        source=str(source.path),
        license=options.license,
    )
    return write_clip(folder, clip)


def _decoded(tracks: Tracks, frame: int) -> Frames:
    image = cv2.imdecode(np.asarray(tracks.keep[frame]), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(image)[..., ::-1], np.uint8)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder on the clip's disk that is gone afterwards."""
    scratch = folder.with_name(f".{folder.name}.work")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def _plain(value: Any) -> Any:
    """JSON for figures: numbers of Python, and null for what is none."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
