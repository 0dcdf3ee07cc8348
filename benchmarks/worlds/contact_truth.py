"""What a body would run into in a scene, and what of it frame 0 shows: the truth that contact is judged against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.envs.sensors.contact import Body
from sanawm_env.scenes import Scene, render_scene

Array = NDArray[np.float64]

SPACING = 0.005
"""Metres between the places of a move at which the truth is asked for."""


@dataclass(frozen=True)
class Truth:
    """A scene, and where the world's frame 0 stands in it."""

    scene: Scene
    start: Array
    """`(4, 4)` pose of frame 0 in the scene."""
    intrinsics: Array
    depth: Array
    """`(H, W)` true z-depth of frame 0, m."""
    body: Body

    def room(self, places: Array, radius: float | None = None) -> Array:
        """`(N,)` metres between a body at `(N, 3)` places of the world and the nearest surface."""
        there = torch.from_numpy(places @ self.start[:3, :3].T + self.start[:3, 3]).float()[None]
        size = self.body.radius if radius is None else radius, self.body.height - self.body.camera, self.body.camera
        return self.scene.body_clearance(there, *size)[0].double().numpy()

    def true_depth(self, c2w: Array) -> Array:
        """`(H, W)` z-depth that a camera of the world would see."""
        pose = torch.from_numpy(self.start @ c2w)[None].float()
        camera = torch.from_numpy(self.intrinsics).float()
        return render_scene(self.scene, pose, camera, *self.depth.shape)[1][0].double().numpy()

    def shows_contact(self, place: Array) -> bool:
        """Whether frame 0 shows the surface that is nearest to a body at a place."""
        step = 2e-3
        gap = self.room(place + step * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1]]), 0.0)
        away = np.array([gap[1] - gap[2], 0.0, gap[3] - gap[4]])
        point = place - away / max(float(np.linalg.norm(away)), 1e-9) * gap[0]
        heights = np.linspace(self.body.camera - self.body.height, self.body.camera, 9)
        z, depth = self._frame_0(point + heights[:, None] * np.array([0.0, 1.0, 0.0]))
        return bool((np.abs(z - depth) < 0.03 + 0.03 * z).any())

    def shows_way(self, places: Array) -> bool:
        """Whether frame 0 looks through all the empty places `(N, 3)`, and round the last one by the radius."""
        angle = np.arange(8) * np.pi / 4
        ring = places[-1] + self.body.radius * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)
        z, depth = self._frame_0(np.concatenate([places, ring]))
        return bool((z < depth).all())

    def _frame_0(self, points: Array) -> tuple[Array, Array]:
        """Depth of `(N, 3)` points in frame 0, and of what it shows there; NaN outside."""
        x, y, z = points.T
        fx, fy, cx, cy = self.intrinsics
        with np.errstate(divide="ignore", invalid="ignore"):
            column, row = np.floor(x / z * fx + cx), np.floor(y / z * fy + cy)
        height, width = self.depth.shape
        inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        found = np.full(len(points), np.nan)
        found[inside] = self.depth[row[inside].astype(int), column[inside].astype(int)]
        return z, found


def places_along(c2w0: Array, c2w: Array) -> Array:
    """Places `(N, 3)` along a path, `SPACING` apart or less."""
    track = np.concatenate([c2w0[None, :3, 3], c2w[:, :3, 3]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track, axis=0), axis=1))])
    metres = np.linspace(0, along[-1], math.ceil(along[-1] / SPACING) + 1)
    return np.stack([np.interp(metres, along, track[:, axis]) for axis in range(3)], -1)
