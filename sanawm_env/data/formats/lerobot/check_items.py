"""Recipes and items of ours: whole, findable, and those that `meta/` speaks of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sanawm_env.data.formats.lerobot import layout
from sanawm_env.data.formats.lerobot.items import Item, read_items, recipes_hash
from sanawm_env.data.formats.registry import Problem
from sanawm_env.data.recipe import EpisodeRecipe

__all__ = ["check_items", "world_rate"]


def check_items(path: Path, info: Mapping[str, Any] | None, episodes: pa.Table | None = None) -> list[Problem]:
    """Nothing for datasets of others.

    Args:
        path: The dataset's folder.
        info: `meta/info.json`, if it could be read.
        episodes: `meta/episodes`, if it could be read.
    """
    if not layout.item_files(path):
        return []
    try:
        items = [item for item in read_items(path) if item.kept]
    except ValueError as error:
        return [Problem("sanawm/episodes", str(error))]
    problems: list[Problem] = []
    for item in items:
        problems += _check_item(item, None if info is None else info.get("fps"))
    if problems or info is None:
        return problems
    block = info.get("sanawm") or {}
    if episodes is not None and "sanawm/item" in episodes.column_names:
        known = set(episodes["sanawm/item"].to_pylist())
        if more := [item.number for item in items if item.number not in known]:
            what = f"{len(more)} episodes, {more[0]} the first, are not in meta/ yet; index the dataset anew."
            problems.append(Problem("meta/episodes", what))
        if gone := sorted(known - {item.number for item in items}):
            what = f"{len(gone)} episodes, {gone[0]} the first, were dropped after indexing; index the dataset anew."
            problems.append(Problem("meta/episodes", what))
    if not problems and block.get("recipes_sha256") != recipes_hash([item.recipe for item in items]):
        problems.append(
            Problem("sanawm/episodes", "the recipes are not those that meta/info.json was made from; index it anew.")
        )
    worlds = {item.world for item in items}
    if len(worlds) > 1:
        problems.append(Problem("sanawm/episodes", f"episodes come from {len(worlds)} worlds.", fatal=False))
    return problems


def world_rate(path: Path) -> float | None:
    """Frames per second of a dataset of ours, by its items; None where they disagree, or cannot be read."""
    try:
        rates = {float(item.told("fps", 0)) for item in read_items(path) if item.kept}
    except (ValueError, TypeError):
        return None
    return rates.pop() if len(rates) == 1 else None


def _check_item(item: Item, fps: float | None) -> list[Problem]:
    where = f"sanawm/episodes/{item.number:06d}"
    try:
        episode = item.episode()
        recipe = None if item.recipe is None else EpisodeRecipe.from_dict(item.recipe)
    except (ValueError, KeyError, TypeError) as error:
        return [Problem(where, f"it is broken: {error}")]
    problems = []
    if fps is not None and episode.fps != fps:
        problems.append(
            Problem(where, f"the world runs at {episode.fps:g} fps and meta/info.json says {fps}; index anew.")
        )
    if recipe is None:
        return problems
    if recipe.fps != episode.fps or recipe.frames != len(episode):
        told = f"{recipe.frames} frames at {recipe.fps:g} fps"
        problems.append(Problem(where, f"its recipe makes {told}, its files have {len(episode)} at {episode.fps:g}."))
    if recipe.image is not None:
        file = Path(recipe.image["file"])
        if file.is_absolute() or ".." in file.parts:
            problems.append(
                Problem(where, f"its recipe names {file}, which is not in the dataset; copy the picture in.")
            )
        elif not (item.root / file).is_file():
            problems.append(Problem(where, f"the picture {file} of its recipe is missing; fetch the dataset again."))
        elif hashlib.sha256((item.root / file).read_bytes()).hexdigest() not in (file.stem, recipe.image.get("sha256")):
            problems.append(Problem(where, f"the picture {file} is another one than the recipe's; fetch it again."))
    return problems
