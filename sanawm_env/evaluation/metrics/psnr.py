"""PSNR against the true render, and its gain over a world that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.tasks.metrics import CEILING_DB, psnr

__all__ = ["CEILING_DB", "MOVING_DB", "PsnrGain", "psnr", "psnr_gain"]

MOVING_DB = 30.0
"""A scene has moved once its frozen first frame is below this PSNR (error above 3 % of full scale)."""


@dataclass(frozen=True, eq=False)
class PsnrGain:
    """PSNR of N scenes at one moment; means count only the scenes that have moved by then."""

    generated_db: NDArray[np.float64]
    """`(N,)` PSNR of the generated frame."""
    frozen_db: NDArray[np.float64]
    """`(N,)` PSNR of frame 0, shown as if nothing had moved."""

    @property
    def gain_db(self) -> NDArray[np.float64]:
        """`(N,)` what generating is better than standing still."""
        return self.generated_db - self.frozen_db

    @property
    def moving(self) -> NDArray[np.bool_]:
        """`(N,)` whether the scene has moved: the frozen frame is below `MOVING_DB`."""
        return self.frozen_db < MOVING_DB

    @property
    def counted(self) -> int:
        """Number of scenes that have moved."""
        return int(self.moving.sum())

    def mean(self, values: NDArray[np.float64]) -> float | None:
        """Mean of `(N,)` values over the scenes that have moved; None if none has."""
        return float(values[self.moving].mean()) if self.counted else None

    @classmethod
    def cat(cls, parts: Sequence[PsnrGain]) -> PsnrGain:
        """Join scenes."""
        generated = np.concatenate([part.generated_db for part in parts])
        return cls(generated, np.concatenate([part.frozen_db for part in parts]))


def psnr_gain(generated: ArrayLike, truth: ArrayLike, frame: int) -> PsnrGain:
    """Compare generated videos with the true renders at one frame.

    Args:
        generated: `(N, F, H, W, 3)` uint8.
        truth: `(N, F, H, W, 3)` uint8 along the same camera paths.
        frame: Index of the frame to compare, above 0.

    Raises:
        ValueError: Different shapes, or no such frame.
    """
    ours, theirs = np.asarray(generated), np.asarray(truth)
    if ours.shape != theirs.shape or ours.ndim != 5:
        raise ValueError(f"need two videos (N, F, H, W, 3) of one shape; got {ours.shape} and {theirs.shape}.")
    if not 0 < frame < ours.shape[1]:
        raise ValueError(f"frame must lie in 1..{ours.shape[1] - 1}; got {frame}.")
    now = theirs[:, frame]
    return PsnrGain(psnr(ours[:, frame], now), psnr(theirs[:, 0], now))
