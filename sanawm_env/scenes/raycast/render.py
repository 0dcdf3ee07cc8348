"""`render`: RGB and depth of batched scenes along camera paths, eager or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sanawm_env.scenes.raycast.shade import light_table, material_table, shade
from sanawm_env.scenes.raycast.trace import prepare, trace
from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS, NUM_SOLIDS, Scene

Planes = tuple[Tensor, Tensor, Tensor, Tensor]
Looks = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Tracer = Callable[..., tuple[Tensor, Tensor]]
Shader = Callable[..., Planes]

EAGER_RAYS = 1 << 13
"""Rays per eager pass on CPU: few enough that the intermediate planes stay in the processor's cache."""

# By default Inductor writes every reused plane to memory; as one loop the tracer is ten times as fast.
_FUSE_ALL: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_reads_threshold": 1000,
    "realize_opcount_threshold": 100_000,
    "realize_acc_reads_threshold": 1000,
}
_broken: set[tuple[int, ...]] = set()
"""Shapes (frames, height, width) that could not be compiled."""


@cache
def _compiled() -> tuple[Tracer, Shader]:
    fast_trace = torch.compile(trace, dynamic=False, fullgraph=True, options=_FUSE_ALL)
    return fast_trace, torch.compile(shade, dynamic=False, fullgraph=True)


def render(
    scene: Scene, c2w: Tensor, intrinsics: Tensor, height: int, width: int, *, compile: bool = False
) -> tuple[Tensor, Tensor]:
    """Renders every scene along its own camera path.

    Camera axes are OpenCV's (+x right, +y down, +z forward). Pixel (row i, column j) is sampled at its
    centre, image coordinates (j + 0.5, i + 0.5). Each scene is drawn on its own, so that its frames do not
    depend on its neighbours in the batch, not even in the last bit.

    Args:
        scene: `B` scenes.
        c2w: (B, F, 4, 4) camera-to-world poses in the scene's world, m.
        intrinsics: (B, 4) fx, fy, cx, cy in pixels.
        height: Rows of the image.
        width: Columns of the image.
        compile: Uses torch.compile (one compilation for each frame count and size, then much faster); warns
            and draws eagerly where no compiler is found.

    Returns:
        rgb (B, F, H, W, 3) float32 in [0, 1], and z-depth (B, F, H, W) in metres, infinite for the sky.
    """
    _check(scene, c2w, intrinsics, height, width)
    device = scene.device
    c2w, intrinsics = c2w.to(device, torch.float32), intrinsics.to(device, torch.float32)
    rays, table, light = prepare(scene, c2w), material_table(scene), light_table(scene)
    columns = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    rows = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    number = torch.arange(NUM_SOLIDS, device=device, dtype=torch.int32)
    batch, frames = c2w.shape[:2]
    rgb = torch.empty(batch, frames, height, width, 3, dtype=torch.float32, device=device)
    depth = torch.empty(batch, frames, height, width, dtype=torch.float32, device=device)
    # Only the eager CPU path culls: it costs a synchronisation on CUDA and a new shape when compiled.
    cull = device.type == "cpu" and not compile
    step = max(1, EAGER_RAYS // (height * width)) if cull else frames
    for b in range(batch):
        fx, fy, cx, cy = intrinsics[b].unbind()
        x, y = ((columns - cx) / fx)[None, None, :], ((rows - cy) / fy)[None, :, None]
        for f in range(0, frames, step):
            part = slice(f, f + step)
            kinds = [rays.boxes[b, :, part], rays.cylinders[b, :, part], rays.ellipsoids[b, :, part]]
            keep = number
            if cull:
                seen = _in_view(scene, b, c2w[b, part], x, y)
                masks = seen.split((NUM_BOXES, NUM_CYLINDERS, NUM_SOLIDS - NUM_BOXES - NUM_CYLINDERS))
                kinds, keep = [k[m] for k, m in zip(kinds, masks, strict=True)], number[seen]
            geometry = (rays.shell[b, part], *kinds, keep, x, y)
            looks: Looks = (table[b], light[b], c2w[b, part], x, y, fx.reshape(1, 1, 1))
            planes = _draw(geometry, looks, compile)
            torch.stack(planes[:3], -1, out=rgb[b, part])
            depth[b, part] = planes[3]
    return rgb, depth


def _draw(geometry: tuple[Tensor, ...], looks: Looks, compile: bool) -> Planes:
    shape = (len(geometry[0]), geometry[-1].shape[1], geometry[-2].shape[2])
    if compile and shape not in _broken:
        try:
            find, paint = _compiled()
            return paint(*looks, *find(*geometry))
        except Exception as error:
            _broken.add(shape)
            warnings.warn(
                f"torch.compile failed for (frames, height, width) = {shape} ({type(error).__name__}); "
                "such clips render eagerly, slower."
            )
    return shade(*looks, *trace(*geometry))


def _in_view(scene: Scene, b: int, c2w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Which solids' bounding balls may touch the view pyramid of any of the (F, 4, 4) poses: (S,) bool."""
    rel = scene.center[b, :, None] - c2w[None, :, :3, 3]
    cx, cy, cz = (rel[..., None] * c2w[None, :, :3, :3]).sum(-2).unbind(-1)  # (S, F) in the camera
    radius = scene.half[b].square().sum(-1).sqrt()[:, None]
    seen = (cz > -radius) & scene.active[b, :, None]
    for slopes, along in ((x, cx), (y, cy)):
        low, high = slopes.min(), slopes.max()
        seen &= (along - high * cz) < radius * (1 + high * high).sqrt()
        seen &= (low * cz - along) < radius * (1 + low * low).sqrt()
    return seen.any(1)


def _check(scene: Scene, c2w: Tensor, intrinsics: Tensor, height: int, width: int) -> None:
    if c2w.ndim != 4 or c2w.shape[0] != scene.batch or tuple(c2w.shape[2:]) != (4, 4) or c2w.shape[1] < 1:
        raise ValueError(f"c2w must have shape ({scene.batch}, F, 4, 4) with F >= 1, got {tuple(c2w.shape)}")
    if tuple(intrinsics.shape) != (scene.batch, 4):
        raise ValueError(f"intrinsics must have shape ({scene.batch}, 4), got {tuple(intrinsics.shape)}")
    if not bool((intrinsics[:, :2] > 0).all()):
        raise ValueError("focal lengths must be positive")
    if not bool(torch.isfinite(c2w).all()):
        raise ValueError("c2w must be finite")
    if height < 1 or width < 1:
        raise ValueError(f"the image needs at least one pixel, got {height} x {width}")
