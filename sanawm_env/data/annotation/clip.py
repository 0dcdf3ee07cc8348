"""A clip on the disk: its video while it is tracked, its poses, scale and verdict once they are known."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.camera.intrinsics import Intrinsics
from sanawm_env.data.annotation.cuts import Span
from sanawm_env.data.annotation.options import Options, output_size
from sanawm_env.data.annotation.report import write_pictures
from sanawm_env.data.annotation.scale import NoScale
from sanawm_env.data.annotation.source import FPS, Source
from sanawm_env.data.annotation.structure.solve import Solution
from sanawm_env.data.annotation.structure.tracks import Tracks, track, work_size
from sanawm_env.data.episode import Frames
from sanawm_env.scenes.posed_clips import PosedClip, clip_video, write_clip

__all__ = ["keep_solution", "refuse_short", "scratch_folder", "store_and_track"]


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A folder on the clip's disk that is gone afterwards."""
    scratch = folder.with_name(f".{folder.name}.work")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def store_and_track(frames: Iterator[Frames], scratch: Path, size: tuple[int, int]) -> Tracks:
    """Track frames while they are written: they are never all in memory."""
    with clip_video(scratch / "video.mp4", FPS) as video:

        def seen() -> Iterator[Frames]:
            for frame in frames:
                video.write(frame)
                yield frame

        return track(seen(), work_size(*size))


def keep_solution(
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
    """Give a solution its scale, and write the clip and its pictures.

    Args:
        folder: Of the clip.
        scratch: Folder with its video, from `store_and_track`.
        tracks: Of its frames.
        solution: Poses, or the reasons why there are none.
        size: Rows and columns of its frames.
        begin: Second of the source at which it begins.
        options: How to annotate.
        source: Where it comes from.
        metric: Whether the poses are in metres as they are.
        reasons: What speaks against it, beside the solution's.
        figures: What was measured, beside the solution's.
        text: What it shows, where there is nothing that captions.
    """
    c2w, wrong = solution.c2w.copy(), [*reasons, *solution.reasons]
    all_figures: dict[str, Any] = {**(figures or {}), **solution.figures, "scale": None}
    if options.scale is not None and not solution.turning and len(c2w) and not wrong:
        try:
            keys = solution.keys or tuple(range(len(tracks)))
            found = options.scale(solution, [tracks.picture(key) for key in keys], begin)
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
        caption = options.caption(tracks.picture(0))
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


def refuse_short(folder: Path, source: Source, short: Sequence[Span], options: Options) -> PosedClip:
    """Write down that a video is refused, as no shot of it is long enough."""
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


def _plain(value: Any) -> Any:
    """JSON for figures: numbers of Python, and null for what is none."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
