"""Trials on disk, so that an interrupted evaluation of policies goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sanawm_env.evaluation.policy.trials import Trial
from sanawm_env.evaluation.store import PartStore

__all__ = ["TrialStore"]


class TrialStore:
    """One file for every episode of one policy on one task, valid for one world and one way of playing."""

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        """Open or begin a folder.

        Args:
            folder: Where; made if missing.
            key: What the episodes depend on beside their seed, JSON-ready: world, environment, task, policy.
        """
        self._store = PartStore(folder, key)

    def get(self, seed: int) -> Trial | None:
        """The episode of a reset seed; None if it is not there, or its file cannot be read."""
        values = self._store.get("episodes", seed)
        try:
            return None if values is None else Trial.from_dict(values)
        except (KeyError, TypeError):
            return None

    def put(self, trial: Trial) -> None:
        """Keep an episode. One that failed is not kept: the next run tries it again."""
        if trial.ending != "failed":
            self._store.put("episodes", trial.seed, trial.to_dict())
