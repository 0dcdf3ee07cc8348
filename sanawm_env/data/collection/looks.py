"""Cheap looks at frames: how sharp and contrasty they still are, and whether two starts are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2

__all__ = ["decline", "sharpness_and_contrast", "start_hash"]


def sharpness_and_contrast(frame: NDArray[np.uint8]) -> tuple[float, float]:
    """Of a frame `(H, W, 3)`: the mean size of its Laplacian, and its standard deviation, both in levels of grey."""
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_16S)).mean()), float(grey.std())


def decline(looks: list[tuple[float, float]]) -> dict[str, float]:
    """What of frame 0's sharpness and contrast is left in the last quarter of an episode, as factors.

    1 is all of it. Worlds that decay lose both, or break into noise and gain; a camera that comes to a plain wall loses
    some, too. The median counts, so that one look at a wall does not.

    Args:
        looks: `sharpness_and_contrast` of frame 0 and of the last frame of each step. Without a step there is nothing
            to tell.
    """
    if len(looks) < 2:
        return {}
    first, end = np.array(looks[0]), np.median(looks[-max(1, (len(looks) - 1) // 4) :], axis=0)
    sharpness, contrast = (end / np.maximum(first, 1e-3)).tolist()
    return {"sharpness_kept": sharpness, "contrast_kept": contrast}


def start_hash(frame: NDArray[np.uint8]) -> int:
    """Perceptual hash of a picture `(H, W, 3)`, 64 bits: whether it gets brighter from each cell of 8 x 9 to the next.

    Small changes of light, size or noise leave most bits as they are; unrelated pictures differ in about 32.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int("".join("1" if bit else "0" for bit in (cells[:, 1:] > cells[:, :-1]).ravel()), 2)
