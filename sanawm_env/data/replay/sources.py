"""Recipes to replay: of one episode, of a dataset's, or beside a rollout's video."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanawm_env.data.recipe import FORMAT, EpisodeRecipe
from sanawm_env.data.storage.native import image_root, is_native, item_files, item_number, video_file
from sanawm_env.world.offline.recipe import Recipe, sidecars

__all__ = ["NothingToReplay", "Source", "find_sources", "read_source"]


class NothingToReplay(ValueError):
    """An episode that failed before its first frame."""


@dataclass(frozen=True)
class Source:
    """A recipe and what lies around it."""

    name: str
    """Of the episode, or stem of the rollout's file."""
    file: Path
    """The JSON."""
    root: Path
    """Folder that the recipe's files are relative to."""
    recipe: EpisodeRecipe | Recipe
    """What to make."""
    video: Path | None
    """Its frames as they were stored; None if they were not."""

    @property
    def pieces(self) -> list[int]:
        """How many frames each digest stands for; empty if the recipe has none (version 1 of a rollout's)."""
        if isinstance(self.recipe, EpisodeRecipe):
            return [1] + [self.recipe.frames_per_step] * len(self.recipe.actions)
        return []

    @property
    def depends_on(self) -> Mapping[str, Any]:
        """What the bits depended on when they were made; a rollout of version 1 knows only a part of it."""
        if self.recipe.depends_on:
            return self.recipe.depends_on
        recipe = self.recipe
        known: dict[str, Any] = {"checkpoint": recipe.checkpoint_hash}
        if isinstance(recipe, Recipe):
            known |= {"device": recipe.device, "dtype": recipe.dtype}
        return known | ({"torch": recipe.versions["torch"]} if "torch" in recipe.versions else {})


def find_sources(paths: Sequence[Path], episodes: int | None = None, names: Sequence[str] = ()) -> list[Path]:
    """The JSON files that are meant.

    Args:
        paths: Of recipes, of rollouts' videos, or dataset folders.
        episodes: Of each dataset the first so many only.
        names: Of each dataset these episodes only, such as `000012` or `12`.

    Raises:
        FileNotFoundError: Nothing there, or no such episode.
        ValueError: A folder that is no dataset, or one without a finished episode.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _of_dataset(path, episodes, names)
            continue
        file = path.with_suffix(".json") if path.suffix.lower() == ".mp4" else path
        if not file.is_file():
            raise FileNotFoundError(f"no recipe {file}; give the JSON of an episode or rollout, or a dataset's folder.")
        found.append(file)
    return found


def _of_dataset(root: Path, episodes: int | None, names: Sequence[str]) -> list[Path]:
    if not is_native(root):
        raise ValueError(
            f"{root} holds no recipes (no folder sanawm/episodes); give a dataset of `sanawm collect`, or recipes."
        )
    files = item_files(root)
    if not files:
        raise ValueError(f"{root} has no finished episode yet; wait for `sanawm collect`, or start it again.")
    if names:
        by_number = {item_number(file): file for file in files}
        wanted = [int(name) if name.isdecimal() else -1 for name in names]
        if missing := [name for name, number in zip(names, wanted, strict=True) if number not in by_number]:
            raise FileNotFoundError(
                f"{root} has no episode {missing[0]!r}; there are {files[0].stem} to {files[-1].stem}."
            )
        files = [by_number[number] for number in wanted]
    return files[:episodes]


def read_source(file: Path) -> Source:
    """The recipe in a JSON file.

    Raises:
        NothingToReplay: The episode has no frames.
        ValueError: None there, one of a newer version, or one that cannot be replayed; names the fix.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as JSON ({error}); it was cut short, or is no recipe.") from None
    recipe = values.get("recipe", values) if isinstance(values, dict) else None
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        raise ValueError(f"{file} holds no recipe; give the JSON of an episode or the one beside a rollout's video.")
    try:
        if recipe.get("kind") == "episode":
            return _of_episode(file, recipe)
        if recipe.get("kind") == "clip" or "mode" in recipe:
            raise ValueError(
                "it is a clip of `sanawm render`, which sees all frames at once and is not replayed; run that command "
                "again with the options that the recipe names, and compare frames_sha256."
            )
        made = Recipe.from_dict(recipe)
    except NothingToReplay:
        raise
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from None
    video = file.with_suffix(".mp4")
    if not sidecars(video)[0].is_file():
        raise ValueError(f"{file}: no poses {sidecars(video)[0].name} beside it; move them here, too.")
    return Source(file.stem, file, file.parent, made, video if video.is_file() else None)


def _of_episode(file: Path, values: Mapping[str, Any]) -> Source:
    recipe, root = EpisodeRecipe.from_dict(values), image_root(file)
    if recipe.frames == 0 and not recipe.digests:
        raise NothingToReplay("it failed before its first frame.")
    frames = 1 + len(recipe.actions) * recipe.frames_per_step
    if len(recipe.digests) != 1 + len(recipe.actions) or recipe.frames != frames:
        raise ValueError(
            f"the recipe has {len(recipe.actions)} actions, {len(recipe.digests)} digests and {recipe.frames} frames, "
            "which do not belong together; it was cut short or edited."
        )
    video = video_file(root, item_number(file)) if file.stem.isdigit() else file.with_suffix(".mp4")
    return Source(file.stem, file, root, recipe, video if video.is_file() else None)
