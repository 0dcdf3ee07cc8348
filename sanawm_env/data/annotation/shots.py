"""The clips of a video: where they lie, which is sought once and kept, and the frames of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from sanawm_env.data.annotation.cuts import CUT_SIZE, Span, find_cuts, spans
from sanawm_env.data.annotation.options import Options
from sanawm_env.data.annotation.source import FPS, Source, frames_of
from sanawm_env.data.episode import Frames
from sanawm_env.files import write_json

__all__ = ["divide", "frames_of_spans"]


def divide(ds: Path, name: str, source: Source, options: Options) -> tuple[list[Span], list[Span]]:
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


def frames_of_spans(frames: Iterator[Frames], wanted: Sequence[Span]) -> Iterator[Iterator[Frames]]:
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
