"""`EpisodeRecipe`: everything that the frames of an episode depend on, in kilobytes of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sanawm_env.world.offline.recipe import FORMAT, frames_digest, versions

__all__ = ["FORMAT", "EpisodeRecipe", "frames_digest"]

VERSION = 2
"""Of what is written here."""


@dataclass(frozen=True)
class EpisodeRecipe:
    """How to make an episode again: `SanaWMEnv(checkpoint, **env)`, `reset(seed, options)`, and the actions."""

    checkpoint: str
    """Name, repository or folder, as it was given; where it is only a hint, `checkpoint_hash` decides."""
    checkpoint_hash: str
    """Hash of config and weights."""
    checkpoint_name: str
    """Name of the world; for a release repository, commit and preset."""
    env: dict[str, Any]
    """Arguments of `SanaWMEnv` that were not the default ones, JSON-ready; a task as its `to_dict()`."""
    seed: int
    """Of the reset; scene, noise and goal are drawn from it."""
    options: dict[str, Any]
    """Of the reset, JSON-ready: `prompt`, `intrinsics`, `goal`. A given image is in `image`."""
    image: dict[str, str] | None
    """`file`, relative to the dataset's folder and named by its hash, and `sha256`; None is a built-in scene."""
    start: dict[str, Any]
    """What came of it: `scene_seed` (None with an image), `noise_seed`, `intrinsics` (4,) and `goal`."""
    actions: list[Any]
    """What the environment was given, step by step; float32 values as decimal numbers that give the same bits."""
    policy: str
    """Who acted, with settings; for information only, the actions decide."""
    frames: int
    """F, the first one included."""
    frames_per_step: int
    """k."""
    size: tuple[int, int]
    """Rows and columns."""
    fps: float
    """Frames per second."""
    digests: list[str]
    """`frames_digest` of frame 0 and of the frames of each step: tells where two renderings part."""
    frames_sha256: str
    """SHA-256 of all frames as raw RGB bytes."""
    depends_on: dict[str, Any]
    """`world.offline.provenance.frames_depend_on`: what the bits depend on beside the inputs, such as threads."""
    versions: dict[str, str] = field(default_factory=versions)
    """Of the software."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": FORMAT, "version": VERSION, "kind": "episode"} | asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpisodeRecipe:
        """Read what `to_dict` made.

        Raises:
            ValueError: Something else, or of a newer version.
        """
        if values.get("format") != FORMAT or values.get("kind") != "episode":
            raise ValueError("this is no recipe of an episode; give the JSON that `sanawm collect` wrote.")
        if values.get("version") != VERSION:
            raise ValueError(
                f"the recipe is of version {values.get('version')} and this package reads {VERSION}; install the "
                f"version of sanawm_env that wrote it ({values.get('versions', {}).get('sanawm_env', 'unknown')})."
            )
        known = {each.name for each in fields(cls)}
        if missing := known - set(values):
            raise ValueError(f"the recipe lacks {', '.join(sorted(missing))}; it was cut short or edited.")
        found = {key: value for key, value in values.items() if key in known}
        return cls(**found | {"size": tuple(values["size"])})
