"""Pixels of `sensor_msgs` images, raw and compressed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

__all__ = ["COMPRESSED", "RAW", "depth", "is_depth", "pixels"]

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

_CHANNELS = {
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]),
    "8UC3": (3, [2, 1, 0]),  # as OpenCV has them
    "8UC1": (1, [0, 0, 0]),
}
"""By encoding: channels of a pixel, and which of them are red, green and blue."""
_DEPTH = {"32FC1": ("f4", 1.0), "16UC1": ("u2", 0.001)}
"""By encoding of REP-118: type, and metres of its unit."""


def is_depth(message: Any) -> bool:
    """Whether an image, raw or compressed, holds distances."""
    if hasattr(message, "format"):
        return "compressedDepth" in message.format or message.format.startswith(("32FC1", "16UC1"))
    return message.encoding in _DEPTH


def pixels(message: Any) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of a colour or grey image.

    Raises:
        ValueError: An encoding that is not read here, or fewer bytes than it says.
    """
    if hasattr(message, "format"):
        try:
            with Image.open(io.BytesIO(bytes(message.data))) as picture:
                return np.asarray(picture.convert("RGB"), np.uint8)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"a compressed image of format {message.format!r} is no JPEG or PNG: {error}.") from None
    if message.encoding not in _CHANNELS:
        raise ValueError(
            f"images of encoding {message.encoding!r} cannot be read; convert them to rgb8 (image_proc does), or "
            f"record one of {', '.join(_CHANNELS)}."
        )
    channels, order = _CHANNELS[message.encoding]
    rows = _rows(message, channels)
    return rows.reshape(message.height, message.width, channels)[..., order]


def depth(message: Any) -> NDArray[np.float32]:
    """`(H, W)` metres of a depth image, 32FC1 or 16UC1 in millimetres.

    Raises:
        ValueError: Another encoding, or fewer bytes than it says.
    """
    if message.encoding not in _DEPTH:
        raise ValueError(f"{message.encoding!r} is no encoding of depth; there are {', '.join(_DEPTH)}.")
    kind, unit = _DEPTH[message.encoding]
    rows = _rows(message, np.dtype(kind).itemsize)
    values = rows.copy().view((">" if message.is_bigendian else "<") + kind)
    return (values * unit).astype(np.float32) if unit != 1.0 else values.astype(np.float32)


def _rows(message: Any, size: int) -> NDArray[np.uint8]:
    """`(H, W * size)` bytes without what pads the rows."""
    data = np.asarray(message.data, np.uint8)
    if message.step < size * message.width or data.size < message.step * message.height:
        raise ValueError(
            f"an image of {message.width}x{message.height} pixels has {data.size} bytes and rows of {message.step}; "
            "it was cut short."
        )
    return data[: message.step * message.height].reshape(message.height, message.step)[:, : size * message.width]
