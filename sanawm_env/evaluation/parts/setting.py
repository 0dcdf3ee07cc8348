"""How a part runs a world, and the held-out scene that it runs it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.camera import relative_to_first
from sanawm_env.evaluation.captions import Captions
from sanawm_env.scenes import render_scene, sample_scenes, smooth_motion
from sanawm_env.scenes import scene as procedural
from sanawm_env.scenes.paths import draw_path
from sanawm_env.world.checkpoints.prompts import Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import rollout, starts_of

__all__ = ["Frames", "Scene", "Setting", "load_scene", "run_world"]


LONG_S = 60.0
"""Seconds of a long rollout."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """How the world is run."""

    chunk_frames: int | None = None
    """Latent frames per step; None is the checkpoint's default."""
    sigmas: tuple[float, ...] | None = None
    """Noise levels of the sampler; None is the checkpoint's."""
    long_s: float = LONG_S
    """Seconds of long rollouts."""
    captions: Captions | None = field(default=None, compare=False)
    """Texts of the scenes, for a world that was trained with some."""

    def text(self, scene: Scene) -> list[Text] | None:
        """Of a scene, as `rollout` takes it."""
        return None if self.captions is None else self.captions.of(scene.family)

    def key(self) -> dict[str, Any]:
        """What results depend on; JSON-ready."""
        how = {"chunk_frames": self.chunk_frames, "sigmas": self.sigmas, "long_s": self.long_s}
        return how | ({} if self.captions is None else self.captions.key())


@dataclass(frozen=True, eq=False)
class Scene:
    """A held-out scene along a path, rendered."""

    family: str
    truth: Frames
    """`(F, H, W, 3)`; only frame 0 where the rest was not asked for."""
    depth0: NDArray[np.float64]
    c2w: NDArray[np.float64]
    """`(F, 4, 4)` relative to frame 0."""
    intrinsics: NDArray[np.float64]
    up: NDArray[np.float64]
    """Away from the ground, in the camera of frame 0."""


def load_scene(
    world: WorldModel,
    seed: int,
    seconds: float,
    path: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    every: int = 1,
    tour: bool = False,
) -> Scene:
    """Render a scene.

    Args:
        world: Decides size and frame rate.
        seed: Of the scene and its path.
        seconds: Length of the scene's own path.
        path: Makes another path `(F, 4, 4)` of it.
        every: Render each so-manieth frame only; `truth` then holds just those.
        tour: Follow a bench path through the free space of the scene, for its own one, which ends at the first
            wall within a minute.
    """
    config = world.config
    size, frames = (config.height, config.width), round(seconds * config.fps) + 1
    scene, intrinsics, families = sample_scenes([seed], *size)
    own = smooth_motion([seed], scene, 1 if tour else frames, config.fps)[0].double().numpy()
    if tour:
        free = partial(_metres, scene)
        own = draw_path(np.random.default_rng([seed, 5]), own[0], free, "simple", frames, config.fps)
    c2w = own if path is None else path(own)
    truth, depth = render_scene(scene, torch.from_numpy(c2w[::every]).float(), intrinsics[0], *size)
    return Scene(
        families[0],
        truth.numpy(),
        depth[0].double().numpy(),
        relative_to_first(torch.from_numpy(c2w)).numpy(),
        intrinsics[0].double().numpy(),
        c2w[0, :3, :3].T @ np.array([0.0, -1.0, 0.0]),
    )


def _metres(scene: procedural.Scene, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points `(n, 3)` to the nearest thing."""
    return scene.clearance(torch.from_numpy(points)[None].float())[0].double().numpy()


def run_world(world: WorldModel, scene: Scene, seed: int, setting: Setting) -> Frames:
    """The world along the scene's path: `(F, H, W, 3)`."""
    made = rollout(
        world, starts_of(scene.truth[:1], scene.intrinsics[None]), scene.c2w[None], [seed], setting.text(scene),
        chunk_frames=setting.chunk_frames, sigmas=setting.sigmas,
    )  # fmt: skip
    return made[0]
