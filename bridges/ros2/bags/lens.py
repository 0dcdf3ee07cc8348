"""The camera of a recording, out of `CameraInfo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.intrinsics import HALF_PIXEL, Intrinsics

__all__ = ["Lens", "read_lens"]


@dataclass(frozen=True, eq=False)
class Lens:
    """A pinhole camera, and where it is told."""

    topic: str
    intrinsics: Intrinsics
    """Of the images as they were recorded; as in the package, (0, 0) is a corner."""


def read_lens(
    infos: Mapping[str, Any], image_topic: str, size: tuple[int, int], ignore_distortion: bool, notes: list[str]
) -> Lens | None:
    """Find what describes the images of a topic.

    Args:
        infos: A `CameraInfo` of each topic.
        image_topic: Of the images.
        size: Their rows and columns.
        ignore_distortion: Take images of a lens with distortion as they are.
        notes: Takes what was assumed.

    Returns:
        None if nothing does.

    Raises:
        ValueError: A lens with distortion, or numbers that fit no such image.
    """
    rectified = "rect" in image_topic
    place = image_topic.removesuffix("/compressed").rpartition("/")[0]
    topic = f"{place}/camera_info" if f"{place}/camera_info" in infos else next(iter(infos), None)
    if topic is None or (not topic.startswith(f"{place}/") and len(infos) > 1):
        return None
    info = infos[topic]
    matrix = np.asarray(info.p).reshape(3, 4)[:, :3] if rectified else np.asarray(info.k).reshape(3, 3)
    if not matrix[0, 0] > 0:
        notes.append(f"{topic} holds no calibration (its focal length is 0).")
        return None
    if np.any(np.asarray(info.d)) and not rectified:
        text = f"the lens of {topic} has distortion ({info.distortion_model}), and the world's has none"
        if not ignore_distortion:
            raise ValueError(
                f"{text}; rectify the images first (image_proc), choose a rectified topic with --image-topic, or give "
                "--ignore-distortion."
            )
        notes.append(f"{text}; the images are taken as they are.")
    height, width = size
    values: NDArray[np.float64] = matrix[[0, 1, 0, 1], [0, 1, 2, 2]] + HALF_PIXEL
    told = (int(info.width), int(info.height))
    if told in ((0, 0), (width, height)):
        return Lens(topic, Intrinsics(values, width, height))
    if abs(told[0] * height - told[1] * width) > max(told):
        raise ValueError(
            f"{topic} describes images of {told[0]}x{told[1]}, and those of {image_topic} have {width}x{height}: "
            "another cut, not another size. Choose another topic with --image-topic."
        )
    return Lens(topic, Intrinsics(values, *told).resized(width, height))
