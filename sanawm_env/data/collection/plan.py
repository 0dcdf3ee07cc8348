"""`Plan`: what a collection was asked for, and what each of its work items is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from sanawm_env.scenes.seeds import TRAINING_RESETS

__all__ = ["GROWING", "RANGES", "Item", "Plan"]

FORMAT = "sanawm_env.collection"
VERSION = 1

RANGES = ("fov", "speed")
"""What can be drawn for each episode: the horizontal field of view in degrees, and a factor on the most metres that one
step can command. A camera's height has no meaning in a world that begins with a picture: the picture has it."""

GROWING = ("episodes", "hours")
"""Fields in which a collection may go on with other values than it began with."""


@dataclass(frozen=True)
class Item:
    """One work item: an episode before it is played. JSON-ready, so that it can go to another process."""

    number: int
    """Its place in the collection."""
    seed: int
    """Of the reset; scene, noise and goal are drawn from it."""
    image: str | None
    """The first frame's file, relative to the dataset's folder; None is a built-in scene."""
    prompt: str | None
    """Read by worlds with text; part of the episode's own text in any case."""
    fov: float | None
    """Degrees; None leaves it to the scene or the checkpoint."""
    speed: float
    """Factor on `max_translation`."""
    policy_seed: int
    """For policies that have one."""


@dataclass(frozen=True)
class Plan:
    """What was asked for. Everything of an episode is a function of a plan and the episode's number alone.

    Raises:
        ValueError: A field that makes no collection; names the option.
    """

    checkpoint: str
    """As it was given; only a hint, `checkpoint_hash` decides."""
    checkpoint_hash: str
    """Hash of config and weights."""
    task: dict[str, Any] | None
    """`Task.to_dict()`; None is a free walk. This, `policy_settings` and `env` become what JSON makes of them."""
    policy: str
    """A name of `make_policy`."""
    policy_settings: dict[str, Any] = field(default_factory=dict)
    """Its settings, JSON-ready."""
    policy_sha256: str | None = None
    """Of a trained policy's file; None where there is none."""
    env: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `SanaWMEnv`, JSON-ready."""
    discrete: bool = False
    """Whether the policy acts by Habitat's four actions, see `envs.wrappers.discrete.habitat_moves`; episodes hold the
    pose deltas that they stand for."""
    first_seed: int = TRAINING_RESETS.start
    """Item i is reset with seed `first_seed + i`."""
    images: tuple[tuple[str, str | None], ...] = ()
    """First frames, `(file, prompt)`; the items go round. Without any: built-in scenes."""
    prompts: tuple[str, ...] = ()
    """For items whose picture has none of its own; they go round, once for each round of the pictures."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Least and greatest value, by a name of `RANGES`."""
    keep: tuple[str, ...] = ()
    """Filters, see `filters.make_filters`."""
    codec: str = "h264-444"
    """Of the video, see `encode.CODECS`."""
    episodes: int | None = None
    """How many items to play."""
    hours: float | None = None
    """How much world time to keep, in place of `episodes`; what is in play when it is reached comes on top."""

    def __post_init__(self) -> None:
        for name in ("task", "policy_settings", "env"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        if (self.episodes is None) == (self.hours is None):
            raise ValueError("say how much to collect: either --episodes or --hours.")
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"--episodes must be at least 1; got {self.episodes}.")
        if self.hours is not None and not 0 < self.hours < float("inf"):
            raise ValueError(f"--hours must be positive; got {self.hours}.")
        if self.first_seed < 0:
            raise ValueError(f"--seed must not be negative; got {self.first_seed}.")
        for name, (low, high) in self.ranges.items():
            if name not in RANGES:
                raise ValueError(f"nothing called {name!r} can be varied; there are {', '.join(RANGES)}.")
            most = 180.0 if name == "fov" else float("inf")
            if not 0 < low <= high < most:
                raise ValueError(f"--vary {name}: the range must be positive, least first; got {low}, {high}.")
        if "speed" in self.ranges and self.env.get("action_mode") == "keys":
            raise ValueError("--vary speed: in action mode 'keys' the key map sets the speeds; choose another one.")
        if "fov" in self.ranges and {"fov_deg", "intrinsics"} & set(self.env):
            raise ValueError("--vary fov: --env sets the camera, too; use the one or the other.")

    @property
    def has_prompts(self) -> bool:
        """Whether any item has a prompt."""
        return bool(self.prompts) or any(prompt for _, prompt in self.images)

    def item(self, number: int) -> Item:
        """Work item `number`, 0 or more."""
        image, prompt = self.images[number % len(self.images)] if self.images else (None, None)
        if prompt is None and self.prompts:
            prompt = self.prompts[number // max(1, len(self.images)) % len(self.prompts)]
        # Both numbers are always drawn, so that varying one thing leaves the other as it was.
        draws = np.random.default_rng([self.first_seed, number, 0x5A4A]).random(len(RANGES))
        drawn = {
            name: low + draw * (high - low)
            for name, draw in zip(RANGES, draws.tolist(), strict=True)
            if name in self.ranges
            for low, high in [self.ranges[name]]
        }
        return Item(
            number=number,
            seed=self.first_seed + number,
            image=image,
            prompt=prompt,
            fov=drawn.get("fov"),
            speed=drawn.get("speed", 1.0),
            policy_seed=number,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, as it lies in `collection.json`."""
        values = asdict(self)
        values["images"] = [list(pair) for pair in self.images]
        values["prompts"], values["keep"] = list(self.prompts), list(self.keep)
        values["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        return {"format": FORMAT, "version": VERSION, "plan": values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` made.

        Raises:
            ValueError: Something else, or of a newer version.
        """
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise ValueError(
                f"this is no collection of version {VERSION}; install the version of sanawm_env that began it, or "
                "collect into another folder."
            )
        known = {each.name for each in fields(cls)}
        found = {key: value for key, value in values["plan"].items() if key in known}
        found["images"] = tuple((file, prompt) for file, prompt in found["images"])
        found["prompts"], found["keep"] = tuple(found["prompts"]), tuple(found["keep"])
        found["ranges"] = {name: (low, high) for name, (low, high) in found["ranges"].items()}
        return cls(**found)

    def differences(self, other: Plan) -> list[str]:
        """What `other` asks for otherwise, in words; what may grow and what is a mere hint is left out."""
        mine, theirs = self.to_dict()["plan"], other.to_dict()["plan"]
        names = [name for name in mine if name not in (*GROWING, "checkpoint")]
        return [
            f"{name} {_short(mine[name])} -> {_short(theirs[name])}" for name in names if mine[name] != theirs[name]
        ]


def _plain(name: str, value: Any) -> Any:
    """As it comes back from a file: tuples are lists, so that two plans can be compared."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of a collection must be plain values: {error}.") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
