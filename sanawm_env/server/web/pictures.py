"""Frames as JPEG and PNG files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.server.wire import ImageCodec

__all__ = ["codec", "jpeg", "png"]


def jpeg(image: NDArray[np.uint8], quality: int = 85) -> bytes:
    """A JPEG of an RGB image `(H, W, 3)`."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG of an RGB image `(H, W, 3)`: lossless."""
    _, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(data)


def codec(encoding: str, quality: int) -> ImageCodec | None:
    """What `wire.encode` needs for an attachment's encoding."""
    if encoding == "raw":
        return None
    return png if encoding == "png" else lambda image: jpeg(image, quality)
