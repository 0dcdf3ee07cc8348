"""Views from anywhere in a scene, close to things as well: what a robot sees that walks up to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sanawm_env.scenes.scene import Scene

__all__ = ["NEAREST", "standpoints"]

NEAREST = 0.15
"""Metres that a view keeps from everything."""
_EYES = (1.1, 1.8)
"""Heights of the camera above the floor, metres."""
_PITCH, _ROLL = np.deg2rad(20.0), np.deg2rad(3.0)
"""Standard deviation, 2/3 of views being within it."""
_TRIES = 64


def standpoints(seeds: Sequence[int], scene: Scene, views: int) -> Tensor:
    """Draw `views` free places and directions in each scene; those of scene i depend on `seeds[i]` and it only.

    `scenes.motion.smooth_motion` keeps 0.35 m from everything and looks for an open view, so a network that learns from
    its poses alone hardly ever sees a thing from less than a metre.

    Args:
        seeds: `B` integers.
        scene: `B` scenes.
        views: Views of each.

    Returns:
        `(B, views, 4, 4)` float32 camera-to-world in the scene's world, on its device.
    """
    host = scene.to("cpu")
    poses = torch.eye(4, dtype=torch.float64).expand(len(seeds), views, 4, 4).clone()
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng([int(seed), 7])
        poses[index, :, :3, 3] = torch.from_numpy(_places(rng, host.select(index), views))
        turns = np.stack(
            (2 * np.pi * rng.random(views), _PITCH * rng.normal(size=views) / 2, _ROLL * rng.normal(size=views)), -1
        )
        poses[index, :, :3, :3] = torch.from_numpy(Rotation.from_euler("YXZ", turns).as_matrix())
    return poses.to(scene.device, torch.float32)


def _places(rng: np.random.Generator, scene: Scene, views: int) -> np.ndarray:
    """`(views, 3)` free places; half of them are those of all that were tried which are closest to something."""
    x0, x1, z0, z1 = scene.bounds[0].double().tolist()
    draw = rng.random((_TRIES, 3))
    height = _EYES[0] + (_EYES[1] - _EYES[0]) * draw[:, 2]
    place = np.stack((x0 + (x1 - x0) * draw[:, 0], -height, z0 + (z1 - z0) * draw[:, 1]), -1)
    room = scene.clearance(torch.from_numpy(place[None]).float())[0].numpy()
    free = np.flatnonzero(room >= NEAREST)
    if not len(free):
        free = np.argsort(-room)[:1]
    close = free[np.argsort(room[free])][: views // 2]
    rest = rng.choice(free, views - len(close))
    return np.asarray(place[np.concatenate((close, rest))])
