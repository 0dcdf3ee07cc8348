"""From a decoder's output to frames: the bytes that everybody looks at."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["to_frames"]

_BLOCK = 1 << 18
"""Pixels of float levels that are held at a time (3 MB), if one slot's are not more: few calls, all within a cache."""


def to_frames(pixels: Tensor) -> Tensor:
    """Frames `(B, F, H, W, 3)` uint8 of pixels `(B, 3, F, H, W)` in about [-1, 1], on the same device.

    Levels are (x + 1) * 127.5 in float32, rounded half to even, and those beyond 0..255 the nearest; NaN is 0.
    """
    batch, _, count, height, width = pixels.shape
    frames = torch.empty(batch, count, height, width, 3, dtype=torch.uint8, device=pixels.device)
    if pixels.device.type == "cpu" and pixels.numel() and (cv2 := _opencv()) is not None:
        _merge(cv2, pixels.flatten(2), frames.numpy().reshape(batch, 1, -1, 3))
        return frames
    # Slot by slot and in place, so that one slot's floats are all that is held beside the frames. Colours are joined by
    # `stack`: to copy a permuted view takes three times as long.
    for clip, place in zip(pixels, frames, strict=True):
        levels = clip.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
        torch.stack(levels.unbind(0), dim=-1, out=place)
    return frames


def _merge(cv2: Any, pixels: Tensor, frames: np.ndarray[Any, Any]) -> None:
    """The same bits in less than half the time: OpenCV rounds to bytes, and joins colours, with vector instructions.

    Args:
        cv2: OpenCV.
        pixels: `(B, 3, P)`.
        frames: `(B, 1, P, 3)`, where to write.
    """
    slots, _, count = pixels.shape
    group = min(slots, max(1, _BLOCK // max(count, 1)))
    levels = torch.empty(group, 3, count, dtype=torch.float32, device="cpu")
    planes = np.empty((group, 3, 1, count), np.uint8)
    for first in range(0, slots, group):
        part = pixels[first : first + group]
        own, own_planes = levels[: len(part)], planes[: len(part)]
        torch.add(part if part.dtype == torch.float32 else part.float(), 1, out=own).clamp_(0, 2)
        cv2.convertScaleAbs(own.numpy().reshape(-1, count), own_planes.reshape(-1, count), 127.5)
        for slot, colours in enumerate(own_planes, first):
            cv2.merge(list(colours), frames[slot])


@cache
def _opencv() -> Any:
    """OpenCV; None where it cannot be loaded."""
    try:
        from sanawm_env.camera.opencv import cv2
    except ImportError:
        return None
    return cv2
