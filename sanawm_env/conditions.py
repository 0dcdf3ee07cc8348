"""From camera poses of pixel frames to the transformer's camera inputs, one chunk at a time (spec 5.2, 5.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .camera.rays import camera_rows, plucker_windows

__all__ = ["CameraChunk", "FirstFrame", "camera_chunk", "camera_conditions", "first_frame_chunk"]

FirstFrame = Literal["absent", "future"]
"""Whether latent frame 0 is part of the chunk; `future` gives it the window of the release."""

CameraChunk = tuple[Tensor, Tensor]
"""Poses `(B, T, 4, 4)` of the latent frames' last pixel frames, and the windows `(B, T, stride, 4, 4)` of all
their pixel frames; metres, relative to frame 0."""


def camera_chunk(c2w: Tensor, stride: int, first: FirstFrame = "absent") -> CameraChunk:
    """Group the poses of a chunk's pixel frames by latent frame.

    Args:
        c2w: `(B, n*stride, 4, 4)` poses of the chunk's pixel frames, relative to frame 0 of the rollout.
        stride: Pixel frames per latent frame.
        first: `future` puts latent frame 0 in front, its window being pixel frames `0 .. stride-1`.

    Returns:
        See `CameraChunk`; T is n, or n + 1 with frame 0.
    """
    windows = c2w.unflatten(1, (-1, stride))
    poses = windows[:, :, -1]
    if first == "future":
        origin = _identity(c2w)
        opening = torch.cat((origin, c2w[:, : stride - 1]), dim=1)
        poses, windows = torch.cat((origin, poses), dim=1), torch.cat((opening[:, None], windows), dim=1)
    return poses, windows


def first_frame_chunk(slots: int, stride: int, device: torch.device) -> CameraChunk:
    """Latent frame 0 by itself: nothing of the future is known, so frame 0 is held (`CameraChunk`, T = 1)."""
    origin = _identity(torch.empty(slots, 1, 4, 4, dtype=torch.float64, device=device))
    return origin, origin[:, :, None].expand(-1, -1, stride, -1, -1)


def camera_conditions(
    chunk: CameraChunk, intrinsics: Tensor, frame_size: tuple[int, int], grid: tuple[int, int]
) -> dict[str, Tensor]:
    """Keyword arguments `raymap` and `plucker` of `SanaWMTransformer.forward`.

    Args:
        chunk: Poses and windows.
        intrinsics: `(B, 4)` fx, fy, cx, cy in pixels of the frame.
        frame_size: Frame height and width, pixels.
        grid: Rows and columns of tokens.

    Returns:
        `raymap` `(B, T, 20)` and `plucker` `(B, 6*stride, T, rows, columns)`, float32. Computed in float64:
        far from frame 0 the moments lose their small differences otherwise.
    """
    poses, windows = chunk
    down, across = grid[0] / frame_size[0], grid[1] / frame_size[1]
    scale = torch.tensor([across, down, across, down], dtype=torch.float64, device=poses.device)
    tokens = (intrinsics.double() * scale)[:, None]
    per_pose = tokens.expand(-1, poses.shape[1], -1)
    per_window = tokens[:, None].expand(-1, *windows.shape[1:3], -1)
    return {
        "raymap": camera_rows(poses, per_pose).float(),
        "plucker": plucker_windows(windows, per_window, *grid).float(),
    }


def _identity(like: Tensor) -> Tensor:
    """`(B, 1, 4, 4)` identity poses."""
    eye = torch.eye(4, dtype=like.dtype, device=like.device)
    return eye.expand(like.shape[0], 1, 4, 4)
