"""`Refinement`: which episodes of a collection are to be refined, and which of them are.

The truth is the file system here, too: an episode is refined when its record is there, which is written last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sanawm_env.data.collection.filters import Candidate, make_filters, needs_frames
from sanawm_env.data.collection.store import Store
from sanawm_env.data.episode import VideoFile
from sanawm_env.data.storage.native import refined_file

__all__ = ["FORMAT", "Refinement", "check_only_if", "record_file"]

FORMAT = "sanawm_env.refined_episode"


def record_file(root: Path, number: int) -> Path:
    """What the refined video of an item depends on; where it is, the video is whole."""
    return refined_file(root, number).with_suffix(".json")


@dataclass(frozen=True)
class Refinement:
    """What kept episodes are refined with, and which ones."""

    refiner_hash: str
    """Of the refiner's weights: `world.offline.refiner_files.weights_hash`."""
    only_if: tuple[str, ...] = ()
    """Filters as of `collect --keep`; all of them must pass."""
    seed: int = 42
    """Of the refiner's noise, the same for all, as released."""

    def key(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the refined video of an episode follows from; JSON-ready.

        Args:
            values: The item: `recipe`, `outcome` and `video`.
        """
        recipe, video = values["recipe"], values["video"]
        return {
            "source_frames_sha256": recipe["frames_sha256"],
            "source_codec": video["codec"],
            "refiner_hash": self.refiner_hash,
            "prompt": recipe["options"].get("prompt") or "",
            "seed": self.seed,
            "frames": recipe["frames"] - 1,
        }

    def wants(self, store: Store, number: int) -> bool:
        """Whether an item is done and kept, passes the filters, and has a step to refine."""
        try:
            values = json.loads(store.episode(number).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        if not values["outcome"]["kept"] or values["recipe"]["frames"] < 2:
            return False
        if not self.only_if:
            return True
        candidate = _candidate(store, number, values, needs_frames(self.only_if))
        return all(judge(candidate) is None for judge in make_filters(self.only_if))

    def is_done(self, store: Store, number: int) -> bool:
        """Whether an item is refined, from the same frames and by the same refiner."""
        record = record_file(store.root, number)
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
            values = json.loads(store.episode(number).read_text(encoding="utf-8"))
            same = all(found.get(name) == value for name, value in self.key(values).items())
            return same and refined_file(store.root, number).is_file()
        except (FileNotFoundError, ValueError, AttributeError, TypeError, KeyError):
            return False

    def todo(self, store: Store) -> Iterator[int]:
        """Items to be refined, among those that are there now, in order."""
        for number in store.done():
            if not self.is_done(store, number) and self.wants(store, number):
                yield number


def check_only_if(texts: tuple[str, ...]) -> None:
    """Refuse filters that cannot be asked of an episode which is there.

    Raises:
        ValueError: `distinct`, or one that `make_filters` refuses.
    """
    if any(text.startswith("distinct=") for text in texts):
        raise ValueError("--refine-if distinct: that is decided before an episode is played; use --keep distinct=BITS.")
    make_filters(texts)


def _candidate(store: Store, number: int, values: Mapping[str, Any], with_frames: bool) -> Candidate:
    with np.load(store.arrays(number)) as arrays:
        found = {name: arrays[name] for name in ("c2w", "intrinsics", "actions", "rewards")}
    frames = np.concatenate(list(VideoFile(store.video(number)))) if with_frames else None
    return Candidate(number=number, outcome=values["outcome"], frames=frames, **found)
