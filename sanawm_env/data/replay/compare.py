"""Where two renderings part: by digests, and by pixels where the first one was stored without loss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.episode import Frames, VideoFile
from sanawm_env.data.recipe import frames_digest

__all__ = ["Comparison", "Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """The first place where frames are not the same."""

    step: int | None
    """Index of the digest: 0 is frame 0, t the frames of step (or chunk) t - 1; None if nothing tells the place."""
    first: int
    """Index of the first frame of that step."""
    last: int
    """Index of its last frame."""
    frame: int | None = None
    """Index of the first frame that differs; None where the stored video does not tell."""
    pixels: int | None = None
    """How many pixels of that frame differ."""
    size: int | None = None
    """How many it has."""
    levels: int | None = None
    """By how many of 255 levels at most."""

    def __str__(self) -> str:
        if self.step is None:
            return "the frames differ, and the recipe, an older one, does not tell where"
        place = "frame 0" if self.step == 0 else f"step {self.step}, frames {self.first} to {self.last}"
        if self.step and self.frame is not None:
            place = f"frame {self.frame} (step {self.step})"
        if self.pixels is None:
            return f"first difference in {place}, by its digest; the stored video, if any, is not exact"
        return f"first difference in {place}: {self.pixels} of {self.size} pixels, by up to {self.levels} of 255 levels"


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    frames: int
    """Frames that were made."""
    difference: Difference | None
    """None if all bits are the same."""


def compare(
    pieces: Iterable[Frames],
    digests: list[str],
    sha256: str,
    video: Path | None = None,
    *,
    whole: bool = False,
    watch: Callable[[Frames], Any] = lambda frames: None,
) -> Comparison:
    """Compare frames with what a recipe says of them.

    Args:
        pieces: Frames `(n, H, W, 3)` as they are made, one piece for each digest.
        digests: `frames_digest` of each piece; empty if only the hash of all is known.
        sha256: Of all frames.
        video: The first rendering as it was stored; where its frames have the digests, it shows what differs.
        whole: Go on after a difference.
        watch: Given each piece.
    """
    hashed, done, step, difference = hashlib.sha256(), 0, 0, None
    for step, frames in enumerate(pieces):
        watch(frames)
        hashed.update(np.ascontiguousarray(frames).data)
        known = digests[step] if step < len(digests) else None
        if digests and difference is None and frames_digest(frames) != known:
            difference = _difference(step, done, frames, known, video)
        done += len(frames)
        if difference is not None and not whole:
            return Comparison(done, difference)
    if difference is None and digests and step + 1 < len(digests):
        difference = Difference(step + 1, done, done)
    if difference is None and hashed.hexdigest() != sha256:
        difference = Difference(None, 0, done - 1)
    return Comparison(done, difference)


def _difference(step: int, first: int, frames: Frames, digest: str | None, video: Path | None) -> Difference:
    bare = Difference(step, first, first + len(frames) - 1)
    if video is None:
        return bare
    try:
        stored = np.concatenate(list(VideoFile(video, first, len(frames))))
    except ValueError:  # a broken video says nothing
        return bare
    if stored.shape != frames.shape or frames_digest(stored) != digest:
        return bare
    apart = np.abs(stored.astype(np.int16) - frames)
    which = int(np.flatnonzero(apart.any(axis=(1, 2, 3)))[0])
    there = apart[which].any(axis=-1)
    return Difference(step, first, bare.last, first + which, int(there.sum()), int(there.size), int(apart[which].max()))
