"""How videos are annotated: lens, size, scale, and what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sanawm_env.camera.intrinsics import Intrinsics
from sanawm_env.data.annotation.scale import ScaleSource
from sanawm_env.data.annotation.source import FPS, Source
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.episode import Frames

__all__ = ["Caption", "Options", "output_size"]

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


def output_size(height: int, width: int, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the clips of a source of that size."""
    if wanted is not None:
        return wanted
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(round(height * shrink / 2) * 2, 2), max(round(width * shrink / 2) * 2, 2)
