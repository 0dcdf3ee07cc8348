"""Has the world decayed? A cheap look at every step's last frame, for the drift guard.

The careful measures are in `sanawm_env.evaluation.metrics.drift` and take many times as long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sanawm_env.scenes.resize import shrunk

__all__ = ["appearance", "decay"]

_COLOUR_SCALE = 64.0
"""Levels of 255 by which the mean colour has moved when nothing of it is left."""


def appearance(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(5,)` mean red, green and blue, contrast (standard deviation, levels), and saturation (0..1) of a frame.

    Args:
        frame: `(H, W, 3)` uint8 RGB. Looked at in a quarter of its size: decay is coarse.
    """
    small = shrunk(frame, 4).astype(np.float64)
    high, low = small.max(-1), small.min(-1)
    saturation = float(((high - low) / np.maximum(high, 1.0)).mean())
    return np.array([*small.mean((0, 1)), small.std((0, 1)).mean(), saturation])


def decay(first: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """How much of the first frame's appearance is gone, in [0, 1].

    The largest of four: contrast lost, contrast gained (three times the first counts as all) and saturation gained (as
    a share of what it could gain), for worlds break into bright coloured blocks, and mean colour moved (64 levels count
    as all). It also rises when the camera looks at something
    else, a plain wall for instance; therefore limits belong near 1.

    Args:
        first: `appearance` of the episode's first frame.
        now: `appearance` of the present one.
    """
    contrast = now[3] / first[3] if first[3] > 0 else 1.0
    moved = float(np.abs(now[:3] - first[:3]).mean()) / _COLOUR_SCALE
    gained = (now[4] - first[4]) / (1 - first[4]) if first[4] < 1 else 0.0
    return float(np.clip(max(1 - contrast, (contrast - 1) / 2, gained, moved), 0.0, 1.0))
