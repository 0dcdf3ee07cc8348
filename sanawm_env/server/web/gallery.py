"""First frames of procedural scenes, to choose from."""

from __future__ import annotations

import functools

from gymnasium.utils import seeding

from sanawm_env.scenes.start_image import built_in, draw_seeds
from sanawm_env.server.web.pictures import jpeg
from sanawm_env.world.accel.threads import aside

__all__ = ["SEEDS", "gallery_picture"]

SEEDS = range(24)
"""Seeds of `reset` that the gallery offers."""


@functools.lru_cache(maxsize=64)
def gallery_picture(seed: int, width: int, height: int) -> bytes:
    """A JPEG of the frame that `reset(seed=...)` begins with."""
    scene, _ = draw_seeds(seeding.np_random(seed)[0])
    # Rendered aside: the thread that asks goes on living, and a team of its threads would slow the world down.
    return jpeg(aside(lambda: built_in(scene, width, height)).image)
