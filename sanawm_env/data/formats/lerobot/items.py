"""`Item`: one episode in the folder of ours, the truth from which `data/` and `meta/` are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, VideoFile
from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.recipe import EpisodeRecipe
from sanawm_env.data.storage.depth import DepthFile, depth_file
from sanawm_env.data.storage.native import mending

__all__ = ["Item", "checkpoint_of", "read_items", "recipes_hash"]

_OWN = ("c2w", "intrinsics", "actions", "rewards")
"""Arrays of every item; the others are entries of the observation."""


@dataclass(frozen=True, eq=False)
class Item:
    """What `sanawm/episodes/000012.json` and `.npz` say."""

    root: Path
    """The dataset's folder."""
    number: int
    """12."""
    values: Mapping[str, Any]
    """The JSON: `recipe` (may be null), `outcome`, `video`, and `episode` where there is no recipe to tell."""

    @property
    def kept(self) -> bool:
        """Whether it belongs to the dataset."""
        return bool(self.outcome.get("kept", True))

    @property
    def recipe(self) -> Mapping[str, Any] | None:
        """How to make it again; None where that is not known."""
        return self.values.get("recipe")

    @property
    def world(self) -> tuple[str, str]:
        """Hash and name of the checkpoint that made it; both empty where that is not known.

        Raises:
            ValueError: The recipe is of another version, or damaged.
        """
        return checkpoint_of(self.recipe, layout.item_file(self.root, self.number))

    @property
    def outcome(self) -> Mapping[str, Any]:
        """Reward, success and so on."""
        return self.values.get("outcome") or {}

    @property
    def video(self) -> Mapping[str, Any]:
        """Codec and statistics of the pictures."""
        return self.values.get("video") or {}

    @property
    def video_file(self) -> Path:
        """Its pictures."""
        return layout.video_file(self.root, self.number)

    def told(self, name: str, default: Any = None) -> Any:
        """`size`, `fps`, `frames_per_step`, `text` or `name`, from wherever the item tells it."""
        for source in (self.values.get("episode") or {}, self.outcome, self.recipe or {}):
            if source.get(name) is not None:
                return source[name]
        return default

    @property
    def text(self) -> str:
        """What was to be done, in words."""
        options = (self.recipe or {}).get("options") or {}
        return str(self.told("text") or options.get("prompt") or "")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`c2w`, `intrinsics`, `actions`, `rewards` and entries.

        Raises:
            ValueError: The file is missing or broken.
        """
        path = layout.item_file(self.root, self.number).with_suffix(".npz")
        try:
            with np.load(path) as file:
                found = {name: file[name] for name in file.files}
        except Exception as error:  # zip, numpy and the file system each have their own
            again = f"fetch it again, or {mending(self.root, self.number)}"
            raise ValueError(f"{path} cannot be read ({error}); {again}.") from None
        if missing := [name for name in _OWN if name not in found]:
            raise ValueError(f"{path} lacks {', '.join(missing)}; {mending(self.root, self.number)}.")
        return found

    def episode(self) -> Episode:
        """It as an episode; frames are decoded when they are iterated.

        Raises:
            ValueError: Arrays are missing or do not fit one another.
        """
        arrays, outcome = self.arrays(), self.outcome
        success, depth = outcome.get("success"), depth_file(self.root, self.number)
        return Episode(
            frames=VideoFile(self.video_file, count=len(arrays["c2w"])),
            c2w=np.asarray(arrays["c2w"], np.float64),
            intrinsics=np.asarray(arrays["intrinsics"], np.float64),
            size=tuple(self.told("size")),
            fps=float(self.told("fps", 16.0)),
            frames_per_step=int(self.told("frames_per_step", 0)),
            actions=np.asarray(arrays["actions"]),
            rewards=np.asarray(arrays["rewards"], np.float64),
            terminated=bool(outcome.get("terminated")),
            truncated=bool(outcome.get("truncated")),
            success=None if success is None else bool(success),
            entries={name: value for name, value in arrays.items() if name not in _OWN},
            text=self.text,
            depth=DepthFile(depth) if depth.exists() else None,
            measures=dict(outcome.get("measures") or {}),
            recipe=self._findable_recipe(),
            name=str(self.told("name") or f"{self.number:06d}"),
        )

    def _findable_recipe(self) -> dict[str, Any] | None:
        """The recipe with its picture's file as a path that can be opened; on disk it is relative to the dataset."""
        if self.recipe is None:
            return None
        image = self.recipe.get("image")
        found = {**image, "file": str((self.root / image["file"]).resolve())} if image else None
        return {**self.recipe, "image": found}


def read_items(root: Path) -> list[Item]:
    """All items that are done, kept or not, in order.

    Raises:
        ValueError: One cannot be read.
    """
    found = []
    for path in layout.item_files(root):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}); delete it, and its item counts as not done.") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds no object; delete it, and its item counts as not done.")
        found.append(Item(root, int(path.stem), values))
    return found


def checkpoint_of(recipe: Mapping[str, Any] | None, where: object) -> tuple[str, str]:
    """Hash and name of the world that a recipe asks for; both empty without one.

    Raises:
        ValueError: It is of another version, or damaged; names `where` it stands.
    """
    if recipe is None:
        return "", ""
    try:
        known = EpisodeRecipe.from_dict(recipe)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None
    return known.checkpoint_hash, known.checkpoint_name


def recipes_hash(recipes: list[Mapping[str, Any] | None]) -> str:
    """SHA-256 that tells one list of recipes from another."""
    text = json.dumps(recipes, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
