"""`ItemEnvs`: the environments that a plan's items are played in, and the options of their resets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.scenes.start_image import built_in, draw_seeds, read_image
from sanawm_env.world.checkpoints.prompts import takes_prompts
from sanawm_env.world.model import WorldModel

__all__ = ["ItemEnvs"]

_WORLD_ARGUMENTS = ("dtype", "precision", "state_precision")
"""Arguments of `SanaWMEnv` that load the world, and are no longer settings where there is one."""


class ItemEnvs:
    """What an item's settings come to: an environment, the options of its reset, the picture that it begins with."""

    def __init__(self, model: WorldModel, plan: Plan, root: Path, most: int) -> None:
        """Make none yet.

        Args:
            model: The world.
            plan: Whose items.
            root: Folder that items' pictures are named from.
            most: Environments to keep, one for each combination of settings.
        """
        self._model, self._plan, self._root, self._most = model, plan, root, most
        self._envs: dict[tuple[float | None, float], SanaWMEnv] = {}
        self._pictures: dict[str, Any] = {}

    def arguments(self, item: Item) -> dict[str, Any]:
        """Arguments of `SanaWMEnv` for an item, without the checkpoint and what loads it."""
        given = {key: value for key, value in self._plan.env.items() if key not in _WORLD_ARGUMENTS}
        if self._plan.task is not None:
            given["task"] = self._plan.task
        if item.fov is not None:
            given["fov_deg"] = item.fov
        if item.speed != 1.0:
            given["max_translation"] = self._usual_translation() * item.speed
        return given

    def recorded(self, item: Item) -> dict[str, Any]:
        """Arguments of `SanaWMEnv` as an item's recipe has them, those that load the world among them."""
        return self.arguments(item) | {key: self._plan.env[key] for key in _WORLD_ARGUMENTS if key in self._plan.env}

    def options(self, item: Item) -> dict[str, Any]:
        """Options of an item's reset, with the picture itself."""
        found: dict[str, Any] = {}
        if item.image is not None:
            if item.image not in self._pictures:
                self._pictures = {item.image: read_image(self._root / item.image)}  # one: it may be large
            found["image"] = self._pictures[item.image]
        if item.prompt is not None and takes_prompts(self._model):
            found["prompt"] = item.prompt
        return found

    def of(self, item: Item) -> SanaWMEnv:
        """An environment with an item's settings; the last few are kept."""
        key = item.fov, item.speed
        if key not in self._envs:
            while len(self._envs) >= self._most:
                del self._envs[next(iter(self._envs))]
            self._envs[key] = SanaWMEnv(self._model, **self.arguments(item))
        return self._envs[key]

    def faced(self, env: SanaWMEnv) -> gym.Env[Any, Any]:
        """An environment as the policy is to see it."""
        return habitat_moves(env) if self._plan.discrete else env

    def first_picture(self, item: Item) -> NDArray[np.uint8]:
        """What an item begins with, `(H, W, 3)`, before the world has seen it."""
        if item.image is not None:
            return self.options(item)["image"]
        config = self._model.config
        fov = self._plan.env.get("fov_deg") if item.fov is None else item.fov
        scene, _ = draw_seeds(seeding.np_random(item.seed)[0])
        return built_in(scene, config.width, config.height, fov, bool(self._plan.env.get("level"))).image

    def _usual_translation(self) -> float:
        if (given := self._plan.env.get("max_translation")) is not None:
            return float(given)
        config = self._model.config
        chunk = self._plan.env.get("chunk_frames") or config.chunk_frames
        return config.max_translation * chunk * self._model.vae.temporal_stride
