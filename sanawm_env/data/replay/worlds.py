"""The worlds that recipes ask for, each loaded once."""

from __future__ import annotations

from typing import Any

import torch

from sanawm_env.data.recipe import EpisodeRecipe
from sanawm_env.data.replay.sources import Source
from sanawm_env.world.model import WorldModel

__all__ = ["Worlds"]


class Worlds:
    """Worlds by what a recipe says of them: checkpoint, device, type, precision of weights and of states."""

    def __init__(self, checkpoint: str | None = None, device: str | None = None) -> None:
        """Load nothing yet.

        Args:
            checkpoint: Name or folder in place of the recipes' own; its hash must be theirs all the same.
            device: Where to compute; None is where the recipe was made, or the CPU if there is no such device here.
        """
        self._checkpoint, self._device = checkpoint, device
        self._loaded: dict[tuple[Any, ...], WorldModel] = {}

    def of(self, source: Source) -> WorldModel:
        """The world of a recipe.

        Raises:
            ValueError: It has another hash than the recipe's.
            FileNotFoundError, ImportError, ConnectionError: It cannot be loaded.
        """
        recipe, made = source.recipe, source.depends_on
        name = self._checkpoint or recipe.checkpoint
        precision = recipe.env.get("precision") if isinstance(recipe, EpisodeRecipe) else None
        device = self._device or _usable(str(made.get("device", "cpu")))
        key = (name, device, made.get("dtype"), made.get("batched"), precision, made.get("state_precision"))
        if key not in self._loaded:
            try:
                self._loaded[key] = _load(*key)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{source.file}: {error} --checkpoint names another place.") from None
        world = self._loaded[key]
        if world.checkpoint != recipe.checkpoint_hash:
            raise ValueError(
                f"{source.file} was made with the checkpoint {recipe.checkpoint_name or recipe.checkpoint!r} of hash "
                f"{recipe.checkpoint_hash}, and {name!r} here has the hash {world.checkpoint}; give the one that "
                "it was made with: --checkpoint FOLDER."
            )
        return world


def _load(
    name: str, device: str, dtype: str | None, batched: bool | None, precision: str | None, state: str | None
) -> WorldModel:
    return WorldModel.load(
        name, device, None if precision else dtype, batched=batched, precision=precision, state_precision=state
    )


def _usable(device: str) -> str:
    """The device itself, or the CPU if this machine has none of the kind."""
    if not device.startswith("cuda"):
        return device
    index = int(device.partition(":")[2] or 0)
    return device if torch.cuda.is_available() and index < torch.cuda.device_count() else "cpu"
