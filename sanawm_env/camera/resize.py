"""Smaller pictures by area averaging: OpenCV's, or the same bits without it where sides shrink by a whole factor."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["resized", "shrunk"]


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image brought to another size, in memory of its own.

    Args:
        image: `(H, W, 3)` uint8.
        size: Rows and columns.

    Raises:
        ImportError: No usable OpenCV, and the image is not a whole number of times as large.
    """
    if image.shape[:2] == size:
        return image.copy()
    try:
        from sanawm_env.camera.opencv import cv2
    except ImportError:
        factor = image.shape[0] // size[0]
        if image.shape[:2] != (size[0] * factor, size[1] * factor):
            raise
        return _block_means(image, factor)
    return cast(NDArray[np.uint8], cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def shrunk(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """An image `(H, W, 3)` whose pixels are `factor` times as large; those at the edge may hang over it.

    Raises:
        ImportError: No usable OpenCV, and pixels that would hang over.
    """
    try:
        from sanawm_env.camera.opencv import cv2
    except ImportError:
        if image.shape[0] % factor or image.shape[1] % factor:
            raise
        return _block_means(image, factor)
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cast(NDArray[np.uint8], small)


def _block_means(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Means of squares of pixels, rounded as OpenCV rounds them."""
    height, width, channels = image.shape
    rows = image.reshape(height // factor, factor, width, channels).sum(1, dtype=np.int32)
    sums = rows.reshape(height // factor, width // factor, factor, channels).sum(2, dtype=np.int32)
    if factor == 2:
        return ((sums + 2) >> 2).astype(np.uint8)
    return np.rint(sums.astype(np.float32) * np.float32(1 / factor**2)).astype(np.uint8)
