"""Where a video is cut, and the clips that lie between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from sanawm_env.camera.opencv import cv2
from sanawm_env.data.episode import Frames

__all__ = ["CUT_SIZE", "Span", "find_cuts", "spans"]

CUT_SIZE = 160
"""Longer side of the pictures that cuts are sought in, pixels."""
_LEAST_SHOT = 3
_STANDS_OUT = 2.0
"""How many times as much must change at a cut as around it: a fast camera changes everything all the time."""
_LATENT = 8
"""SANA-WM's VAE takes 1 + 8 n frames."""


@dataclass(frozen=True)
class Span:
    """Frames `first` to `last`, which is not part of it, of a video at 16 a second."""

    first: int
    """Its first frame."""
    last: int
    """One more than its last."""

    def __len__(self) -> int:
        """How many."""
        return self.last - self.first


def find_cuts(frames: Iterable[Frames], fps: float) -> tuple[list[int], int]:
    """First frames of new shots, and the number of frames.

    Args:
        frames: Small pictures `(H, W, 3)` uint8 RGB.
        fps: Frames per second.

    Raises:
        ValueError: PySceneDetect is not installed.
    """
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode
    except ImportError:
        raise ValueError("finding cuts needs scenedetect: pip install 'sanawm_env[annotate]'.") from None
    detector = AdaptiveDetector(adaptive_threshold=_STANDS_OUT, min_scene_len=_LEAST_SHOT)
    cuts, count = [], 0
    for count, frame in enumerate(frames, 1):
        found = detector.process_frame(FrameTimecode(count - 1, float(fps)), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        cuts += [each.frame_num for each in found]
    return sorted(set(cuts)), count


def spans(cuts: Iterable[int], count: int, longest: int, least: int) -> tuple[list[Span], list[Span]]:
    """Clips between cuts.

    Args:
        cuts: First frames of new shots.
        count: Frames of the video.
        longest: Frames of a clip; longer shots are divided into clips of so many.
        least: Frames that a clip needs.

    Returns:
        The clips, of 1 + 8 n frames, and the shots that are too short for one.
    """
    edges = [0, *cuts, count]
    clips, short = [], []
    for begin, end in pairwise(edges):
        if end - begin < least:
            short.append(Span(begin, end))
            continue
        for first in range(begin, end, longest):
            length = min(longest, end - first)
            length -= (length - 1) % _LATENT
            if length >= least:
                clips.append(Span(first, first + length))
    return clips, short
