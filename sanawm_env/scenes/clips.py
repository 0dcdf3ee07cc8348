"""Training clips, first frames and ground truth, all from integer seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.scenes.builder import Dice
from sanawm_env.scenes.families import check_families, make_scene
from sanawm_env.scenes.motion import smooth_motion
from sanawm_env.scenes.raycast.render import render
from sanawm_env.scenes.scene import Scene
from sanawm_env.scenes.seeds import EVAL_SEEDS, TRAIN_SEEDS

__all__ = [
    "EVAL_SEEDS",
    "TRAIN_SEEDS",
    "Clips",
    "first_frame",
    "make_clips",
    "render_scene",
    "sample_scenes",
    "to_uint8",
    "upright",
]


@dataclass(frozen=True)
class Clips:
    """A batch of rendered clips."""

    rgb: Tensor
    """(B, F, H, W, 3) uint8."""
    depth: Tensor
    """(B, F, H, W) float32 z-depth, m; infinite for the sky."""
    c2w: Tensor
    """(B, F, 4, 4) float32 camera-to-world in the scene's world (not relative to frame 0), m."""
    intrinsics: Tensor
    """(B, 4) float32 fx, fy, cx, cy, px."""
    family: tuple[str, ...]
    """Family of each clip's scene."""
    seed: tuple[int, ...]
    """Seed of each clip."""


def to_uint8(rgb: Tensor) -> Tensor:
    """[0, 1] floats to rounded bytes."""
    return (rgb * 255 + 0.5).to(torch.uint8)


def sample_scenes(
    seeds: Sequence[int],
    height: int,
    width: int,
    *,
    families: Sequence[str] | None = None,
    fov: tuple[float, float] = (60.0, 90.0),
) -> tuple[Scene, Tensor, tuple[str, ...]]:
    """Scenes, intrinsics (B, 4) px and family names that belong to the seeds, on CPU."""
    names = check_families(families)
    if not 0 < fov[0] <= fov[1] < 180:
        raise ValueError(f"fov must be an increasing pair of degrees within (0, 180), got {fov}")
    if not len(seeds):
        raise ValueError("at least one seed is needed")
    chosen, scenes, cameras = [], [], []
    for seed in (int(s) for s in seeds):
        if seed < 0:
            raise ValueError(f"seeds must not be negative, got {seed}")
        dice = Dice(seed, 0)
        chosen.append(names[dice.index(len(names))])
        scenes.append(make_scene(chosen[-1], seed))
        focal = width / 2 / math.tan(math.radians(dice.uniform(*fov)) / 2)
        cameras.append([focal, focal, width / 2, height / 2])
    return Scene.cat(scenes), torch.tensor(cameras, dtype=torch.float32, device="cpu"), tuple(chosen)


def make_clips(
    seeds: Sequence[int],
    frames: int,
    height: int,
    width: int,
    *,
    device: torch.device | str = "cpu",
    families: Sequence[str] | None = None,
    fov: tuple[float, float] = (60.0, 90.0),
    fps: float = 16.0,
    compile: bool = False,
) -> Clips:
    """Renders one clip per seed; clip i depends on seeds[i] and the options only, not on its neighbours.

    Args:
        seeds: Non-negative integers; `scenes.seeds` says which are whose.
        frames: Frames per clip.
        height: Rows, px.
        width: Columns, px.
        device: Where the rendering runs and the result lies.
        families: Families to draw from, all by default.
        fov: Range of the horizontal field of view, degrees.
        fps: Frame rate that the motion is meant for.
        compile: See `render`.

    Returns:
        The clips; pixels are square and the principal point is the middle of the image.
    """
    scene, intrinsics, names = sample_scenes(seeds, height, width, families=families, fov=fov)
    c2w = smooth_motion(seeds, scene, frames, fps).to(device)
    rgb, depth = render(scene.to(device), c2w, intrinsics.to(device), height, width, compile=compile)
    return Clips(to_uint8(rgb), depth, c2w, intrinsics.to(device), names, tuple(int(s) for s in seeds))


def first_frame(
    seed: int,
    height: int,
    width: int,
    *,
    families: Sequence[str] | None = None,
    fov: tuple[float, float] = (60.0, 90.0),
    level: bool = False,
) -> tuple[NDArray[np.uint8], Tensor, Scene, Tensor]:
    """The first image of a seed's world: rgb (H, W, 3) uint8, intrinsics (4,) px, scene, c2w (4, 4).

    Scene and intrinsics are those of `make_clips`; the camera stands somewhere roomy, which need not be where
    the seed's clip begins, since that place depends on the clip's length. `level` turns it upright: it looks the
    same way, with neither pitch nor roll.
    """
    scene, intrinsics, _ = sample_scenes([seed], height, width, families=families, fov=fov)
    c2w = smooth_motion([seed], scene, 1)
    c2w = upright(c2w) if level else c2w
    rgb, _ = render_scene(scene, c2w[0], intrinsics[0], height, width)
    return rgb[0].numpy(), intrinsics[0], scene, c2w[0, 0]


def upright(c2w: Tensor) -> Tensor:
    """Poses (..., 4, 4) in a scene's world without pitch and roll: the same places, the same headings."""
    ahead = c2w[..., :3, 2] * torch.tensor([1.0, 0.0, 1.0])
    ahead = ahead / ahead.norm(dim=-1, keepdim=True)
    down = torch.tensor([0.0, 1.0, 0.0]).expand_as(ahead)
    levelled = c2w.clone()
    levelled[..., :3, :3] = torch.stack([torch.linalg.cross(down, ahead), down, ahead], -1)
    return levelled


def render_scene(
    scene: Scene, c2w: Tensor, intrinsics: Tensor, height: int, width: int, *, compile: bool = False
) -> tuple[Tensor, Tensor]:
    """Ground truth of one scene along any path.

    Args:
        scene: One scene (batch of one).
        c2w: (F, 4, 4) camera-to-world poses in the scene's world, m.
        intrinsics: (4,) fx, fy, cx, cy, px.
        height: Rows, px.
        width: Columns, px.
        compile: See `render`.

    Returns:
        rgb (F, H, W, 3) uint8 and z-depth (F, H, W) in metres.
    """
    rgb, depth = render(scene, c2w[None], intrinsics[None], height, width, compile=compile)
    return to_uint8(rgb[0]), depth[0]
