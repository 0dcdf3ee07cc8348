"""Camera conditioning tensors of the world model: raymap rows, Plücker channels and UCPE ray matrices.

Three quantities leave this file (docs/model.md, "Camera inputs"):

* the *raymap*, twenty numbers per latent frame: camera-to-world matrix and intrinsics of its last pixel
  frame;
* the *chunk Plücker*, six channels for each of the ``stride`` pixel frames inside a latent frame;
* the *ray matrices*, one rigid transform ``ray <- world`` per latent cell, made from a raymap.

Conventions: OpenCV camera axes (+x right, +y down, +z forward), camera-to-world poses in metres, intrinsics
``(fx, fy, cx, cy)`` in *latent-grid* pixels, cell ``(u, v)`` at integer coordinates with no half-cell offset.

Every product of small matrices is written as an elementwise multiply and sum. A ``matmul`` would drop to bf16
under autocast and to TF32 on a GPU, and its rounding may depend on the batch size, while a slot of a batched
environment must give the same bits whatever its neighbours are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "FirstWindow",
    "camera_rows",
    "chunk_plucker",
    "invert_ray_matrices",
    "latent_windows",
    "matmul",
    "num_latent_frames",
    "plucker_windows",
    "ray_matrices",
    "raymap",
    "relative_to_first",
]

FirstWindow = Literal["future", "hold"]
"""Which pixel frames stand for latent frame 0: the ``stride`` first ones, or frame 0 repeated."""


def relative_to_first(c2w: Tensor) -> Tensor:
    """Express every pose of a trajectory in the camera frame of its frame 0.

    Args:
        c2w: Camera-to-world matrices ``(..., F, 4, 4)``, metres, any world frame.

    Returns:
        ``inverse(c2w[0]) @ c2w`` with shape ``(..., F, 4, 4)``; frame 0 is exactly the identity.
    """
    c2w = _full_precision(c2w)
    rotation, centre = c2w[..., :3, :3], c2w[..., :3, 3]
    to_first = rotation[..., :1, :, :].transpose(-1, -2)
    turned = matmul(to_first, rotation)
    moved = _apply(to_first, centre - centre[..., :1, :])
    relative = _rigid(turned, moved)
    first = _eye(relative).expand_as(relative[..., :1, :, :])
    return torch.cat([first, relative[..., 1:, :, :]], dim=-3)


def num_latent_frames(num_frames: int, stride: int = 8) -> int:
    """Number of latent frames that ``num_frames`` pixel frames complete; left-over ones do not count."""
    if num_frames < 1 or stride < 1:
        raise ValueError(f"num_frames and stride must be at least 1; got {num_frames} and {stride}.")
    return (num_frames - 1) // stride + 1


def latent_windows(
    num_frames: int,
    stride: int = 8,
    first: FirstWindow = "future",
    device: torch.device | str | None = None,
) -> Tensor:
    """Index the pixel frames that belong to each latent frame.

    Latent ``j`` holds the ``stride`` frames that end at pixel frame ``stride * j``. Latent 0 is an exception:
    the release gives it frames ``0 .. stride-1``, all but one of them still in the future. An interactive
    caller does not know those and holds frame 0 instead.

    Args:
        num_frames: Pixel frames F of the trajectory.
        stride: Pixel frames per latent frame (8 in the release, 4 in the built-in world).
        first: ``"future"`` as in the release, ``"hold"`` to repeat frame 0 for latent 0.
        device: Device of the answer.

    Returns:
        Index tensor ``(T, stride)``, int64; a window that runs past the end repeats the last frame.

    Raises:
        ValueError: if ``num_frames`` or ``stride`` is below 1, or ``first`` is another word.
    """
    if first not in ("future", "hold"):
        raise ValueError(f"first must be 'future' or 'hold'; got {first!r}.")
    latents = torch.arange(num_latent_frames(num_frames, stride), device=device)
    starts = (latents * stride - (stride - 1)).clamp(min=0)
    windows = starts[:, None] + torch.arange(stride, device=device)
    windows = windows.clamp(max=num_frames - 1)
    if first == "hold":
        windows[0] = 0
    return windows


def plucker_windows(c2w: Tensor, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Plücker coordinates of every ray of pixel frames already grouped by latent frame.

    Poses are used as given, so a streaming caller passes them relative to frame 0 of the whole rollout.

    Args:
        c2w: Camera-to-world matrices ``(B, T, stride, 4, 4)``, metres.
        intrinsics: ``(B, T, stride, 4)`` in latent-grid pixels.
        height: Rows H of the latent grid.
        width: Columns W of the latent grid.

    Returns:
        ``(B, 6 * stride, T, H, W)``: frame-major channels, per frame unit direction then moment (metres).
    """
    c2w, intrinsics = _full_precision(c2w), _full_precision(intrinsics)
    direction = _world_directions(c2w, intrinsics, height, width)
    centre = c2w[..., None, None, :3, 3].expand_as(direction)
    moment = torch.linalg.cross(centre, direction, dim=-1)
    rays = torch.cat([direction, moment], dim=-1)  # (B, T, stride, H, W, 6)
    batch, latents, stride = rays.shape[:3]
    return rays.permute(0, 2, 5, 1, 3, 4).reshape(batch, 6 * stride, latents, height, width)


def chunk_plucker(
    c2w: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    stride: int = 8,
    first: FirstWindow = "future",
) -> Tensor:
    """Plücker channels of a whole trajectory, made relative to its first frame.

    Args:
        c2w: Camera-to-world matrices ``(B, F, 4, 4)`` from frame 0 of the rollout on, any world frame.
        intrinsics: ``(B, F, 4)`` in latent-grid pixels.
        height: Rows H of the latent grid.
        width: Columns W of the latent grid.
        stride: Pixel frames per latent frame.
        first: See `latent_windows`.

    Returns:
        ``(B, 6 * stride, T, H, W)`` with ``T = num_latent_frames(F, stride)``.
    """
    windows = latent_windows(c2w.shape[1], stride, first, c2w.device)
    return plucker_windows(relative_to_first(c2w)[:, windows], intrinsics[:, windows], height, width)


def camera_rows(c2w: Tensor, intrinsics: Tensor) -> Tensor:
    """Pack poses and intrinsics as raymap rows, poses used as given.

    Args:
        c2w: Camera-to-world matrices ``(..., 4, 4)``, relative to frame 0 of the rollout.
        intrinsics: ``(..., 4)`` in latent-grid pixels.

    Returns:
        ``(..., 20)``: the matrix row-major, then ``fx, fy, cx, cy``.
    """
    c2w = _full_precision(c2w)
    return torch.cat([c2w.flatten(-2), intrinsics.to(c2w.dtype)], dim=-1)


def raymap(c2w: Tensor, intrinsics: Tensor, stride: int = 8) -> Tensor:
    """Raymap of a whole trajectory, made relative to its first frame.

    Args:
        c2w: Camera-to-world matrices ``(B, F, 4, 4)`` from frame 0 of the rollout on, any world frame.
        intrinsics: ``(B, F, 4)`` in latent-grid pixels.
        stride: Pixel frames per latent frame; row ``j`` describes pixel frame ``stride * j``.

    Returns:
        ``(B, T, 20)`` with ``T = num_latent_frames(F, stride)``.
    """
    return camera_rows(relative_to_first(c2w)[:, ::stride], intrinsics[:, ::stride])


def ray_matrices(raymap: Tensor, height: int, width: int) -> Tensor:
    """UCPE transforms ``P = ray <- world``, one for each latent cell.

    The ray frame has z along the viewing ray, x across the camera's y axis and the ray, y completing it; its
    origin is the camera centre. Rays without a direction (a row with NaN or a zero focal length) get the
    identity.

    Args:
        raymap: ``(B, T, 20)`` as made by `raymap` or `camera_rows`.
        height: Rows H of the latent grid.
        width: Columns W of the latent grid.

    Returns:
        ``(B, T, H, W, 4, 4)`` rigid transforms.
    """
    raymap = _full_precision(raymap)
    c2w = raymap[..., :16].unflatten(-1, (4, 4))
    z = _world_directions(c2w, raymap[..., 16:], height, width)
    camera_y = c2w[..., None, None, :3, 1].expand_as(z)
    x = _normalise(torch.linalg.cross(camera_y, z, dim=-1))
    y = _normalise(torch.linalg.cross(z, x, dim=-1))
    axes = torch.stack([x, y, z], dim=-2)
    centre = c2w[..., None, None, :3, 3]
    rays = _rigid(axes, -_apply(axes, centre))
    usable = torch.isfinite(rays).all(dim=-1).all(dim=-1)[..., None, None]
    return torch.where(usable, rays, _eye(rays))


def invert_ray_matrices(rays: Tensor) -> Tensor:
    """Invert rigid transforms in closed form, ``[A, b]^-1 = [A^T, -A^T b]``.

    Args:
        rays: ``(..., 4, 4)`` rigid transforms, for instance from `ray_matrices`.

    Returns:
        ``(..., 4, 4)``, here ``world <- ray``.
    """
    back = rays[..., :3, :3].transpose(-1, -2)
    return _rigid(back, -_apply(back, rays[..., :3, 3]))


def _world_directions(c2w: Tensor, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Unit world directions ``(..., H, W, 3)`` of poses ``(..., 4, 4)`` with intrinsics ``(..., 4)``."""
    fx, fy, cx, cy = intrinsics[..., None, None, :].unbind(-1)
    columns = torch.arange(width, device=c2w.device, dtype=c2w.dtype)
    rows = torch.arange(height, device=c2w.device, dtype=c2w.dtype)[:, None]
    x, y = torch.broadcast_tensors((columns - cx) / fx, (rows - cy) / fy)
    in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    return _normalise(_apply(c2w[..., None, None, :3, :3], in_camera))


def _rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """Assemble ``(..., 4, 4)`` from ``(..., 3, 3)`` and ``(..., 3)``."""
    upper = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = _eye(rotation)[3:].expand(*upper.shape[:-2], 1, 4)
    return torch.cat([upper, bottom], dim=-2)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """``matrix @ vector`` over leading axes, elementwise (see the module docstring)."""
    return (matrix * vector[..., None, :]).sum(dim=-1)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` over leading axes, elementwise (see the module docstring)."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(dim=-2)


def _normalise(vector: Tensor) -> Tensor:
    """Scale to unit length; a null vector becomes NaN, which `ray_matrices` then replaces."""
    return vector / vector.square().sum(dim=-1, keepdim=True).sqrt()


def _eye(like: Tensor) -> Tensor:
    return torch.eye(4, dtype=like.dtype, device=like.device)


def _full_precision(tensor: Tensor) -> Tensor:
    """Raise half precision to float32: a bf16 pose a few metres away is wrong by centimetres."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
