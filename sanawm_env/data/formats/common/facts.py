"""What an episode is beside frames and poses, as JSON: formats made for cameras alone have no place for steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.episode import Episode, Frames

__all__ = ["episode_from", "facts_of", "from_first"]

_FORMAT, _VERSION = "sanawm_env.episode", 1
_PLAIN = ("name", "fps", "frames_per_step", "terminated", "truncated", "success", "text", "recipe")
"""Fields that are JSON as they are."""


def facts_of(episode: Episode) -> dict[str, Any]:
    """All but frames, depth and poses, JSON-ready; a measure that is no number becomes null."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        **{name: getattr(episode, name) for name in _PLAIN},
        "size": [int(side) for side in episode.size],
        "intrinsics": np.asarray(episode.intrinsics, float).tolist(),
        "action_shape": list(np.shape(episode.actions)[1:]),
        "action_dtype": str(np.asarray(episode.actions).dtype),
        "actions": np.asarray(episode.actions).tolist(),
        "rewards": np.asarray(episode.rewards, float).tolist(),
        "entries": {name: np.asarray(values, np.float32).tolist() for name, values in dict(episode.entries).items()},
        "measures": {
            name: float(value) if math.isfinite(value) else None for name, value in dict(episode.measures).items()
        },
    }


def episode_from(
    facts: Mapping[str, Any],
    frames: Iterable[Frames],
    c2w: NDArray[np.floating[Any]],
    depth: Iterable[NDArray[np.float32]] | None = None,
    **known: Any,
) -> Episode:
    """An episode again.

    Args:
        facts: What `facts_of` made, or an empty mapping for data that came from elsewhere.
        frames: As in `Episode`.
        c2w: `(F, 4, 4)`; made relative to frame 0.
        depth: As in `Episode`.
        **known: Fields that the format itself holds; they come before those of `facts`.

    Raises:
        ValueError: The facts are of another kind or newer, or do not fit the poses.
    """
    found: dict[str, Any] = {}
    if facts:
        if facts.get("format") != _FORMAT or facts.get("version") != _VERSION:
            raise ValueError(
                f"the facts of the episode are {facts.get('format')!r}, version {facts.get('version')}, and this "
                f"package reads {_FORMAT!r}, version {_VERSION}; remove them to read frames and poses only."
            )
        found = {name: facts[name] for name in _PLAIN if name in facts}
        found["size"] = tuple(facts["size"])
        found["intrinsics"] = np.asarray(facts["intrinsics"], float)
        if "actions" in facts:
            shape = (len(facts["rewards"]), *facts["action_shape"])
            found["actions"] = np.asarray(facts["actions"], facts["action_dtype"]).reshape(shape)
            found["rewards"] = np.asarray(facts["rewards"], float)
        found["entries"] = {name: np.asarray(values, np.float32) for name, values in facts.get("entries", {}).items()}
        found["measures"] = {
            name: math.nan if value is None else float(value) for name, value in facts["measures"].items()
        }
    return Episode(frames=frames, c2w=from_first(c2w), depth=depth, **(found | known))


def from_first(c2w: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Poses `(F, 4, 4)` relative to frame 0; those that are already stay bit for bit."""
    poses: NDArray[np.float64] = np.asarray(c2w, np.float64)
    if not len(poses) or np.array_equal(poses[0], np.eye(4)):
        return poses
    relative: NDArray[np.float64] = np.linalg.inv(poses[0]) @ poses
    relative[0] = np.eye(4)
    return relative
