"""Keyboard presets: which key moves the camera how, one for each server of this model and its neighbours.

The servers disagree (docs/reference/conventions.md, "Key maps"): ``a`` turns left in the current NVlabs code and
steps left in its first release, speeds differ by two, some glide and some stop dead. A preset writes one such
convention down in full, so that a recorded key sequence means the same poses wherever it is replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

__all__ = ["KEYMAPS", "Control", "KeyMap", "get_keymap"]

Control = Literal[
    "forward",
    "back",
    "strafe_left",
    "strafe_right",
    "yaw_left",
    "yaw_right",
    "pitch_up",
    "pitch_down",
]
"""What a key asks for, seen from the camera."""

PitchRule = Literal["saturate", "drop"]
"""A step across the pitch limit is cut to end on it, or left out altogether."""


@dataclass(frozen=True)
class KeyMap:
    """Keys, speeds and dynamics of one control convention."""

    name: str
    """Name in `KEYMAPS`."""
    controls: tuple[tuple[str, Control], ...]
    """Pairs of key and what it asks for; several keys may ask for the same."""
    translation_speed: float
    """Metres per pixel frame."""
    rotation_speed_deg: float
    """Degrees per pixel frame, for yaw and pitch."""
    pitch_limit_deg: float | None
    """Largest pitch up or down in degrees; None sets no limit."""
    pitch_rule: PitchRule
    """What becomes of a step that would cross the limit."""
    smoothing: bool
    """Whether speeds build up and die away, or follow the keys at once."""
    tau_press: float = 0.45
    """Seconds in which a speed approaches a target other than zero, with smoothing."""
    tau_coast: float = 1.0
    """Seconds in which a released axis comes to rest, with smoothing."""
    fps: float = 16.0
    """Pixel frames per second that the two time constants refer to."""
    walk: bool = True
    """Move on the ground plane and yaw about the vertical; False does both along the camera's own axes."""
    strafe_yaw: float = 0.0
    """Share of the rotation speed with which a strafe also turns the camera to its side."""
    axis_epsilon: float = 0.0
    """Metres added to the length that a ground axis is divided by; the release adds 1e-6."""

    def __post_init__(self) -> None:
        if not (self.translation_speed >= 0 and self.rotation_speed_deg >= 0):
            raise ValueError(
                "translation_speed (m) and rotation_speed_deg must not be negative, got "
                f"{self.translation_speed} and {self.rotation_speed_deg}; swap the keys to move backwards."
            )
        if self.pitch_limit_deg is not None and not 0 <= self.pitch_limit_deg <= 90:
            raise ValueError(f"pitch_limit_deg must lie between 0 and 90; got {self.pitch_limit_deg}.")
        if not (self.tau_press > 0 and self.tau_coast > 0 and self.fps > 0):
            raise ValueError("tau_press, tau_coast (s) and fps must be positive; smoothing=False stops dead.")

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, ready for JSON; `get_keymap` makes the map again."""
        return asdict(self) | {"controls": [list(pair) for pair in self.controls]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeyMap:
        """Inverse of `to_dict`, also after JSON made lists of tuples.

        Raises:
            ValueError: A field too many or too few, controls that are no pairs, or a value that a map refuses.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(map(str, values.keys() - set(known))):
            raise ValueError(f"a key map has no field {unknown[0]!r}; it has {', '.join(known)}.")
        try:
            controls = tuple((str(key), control) for key, control in values["controls"])
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"no key map (controls: {error}); give what KeyMap.to_dict gave.") from None
        try:
            return cls(**{**values, "controls": controls})
        except TypeError as error:
            raise ValueError(f"no key map ({error}); give what KeyMap.to_dict gave.") from None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, longest first, so that a scanner meets ``down`` before ``d``."""
        return tuple(sorted((key for key, _ in self.controls), key=lambda key: (-len(key), key)))

    def asked(self, keys: Iterable[str]) -> frozenset[Control]:
        """Controls that the held ``keys`` ask for; upper case counts as lower case.

        Raises:
            ValueError: on a key that this map does not know.
        """
        table = dict(self.controls)
        held = [key.lower() for key in keys]
        unknown = sorted({key for key in held if key not in table})
        if unknown:
            raise ValueError(
                f"key map {self.name!r} has no key {', '.join(map(repr, unknown))}; "
                f"use {' '.join(sorted(table))}, or another map of {', '.join(KEYMAPS)}."
            )
        return frozenset(table[key] for key in held)


_MOVE: tuple[tuple[str, Control], ...] = (("w", "forward"), ("s", "back"))
_STRAFE_AD: tuple[tuple[str, Control], ...] = (("a", "strafe_left"), ("d", "strafe_right"))
_STRAFE_JL: tuple[tuple[str, Control], ...] = (("j", "strafe_left"), ("l", "strafe_right"))
_STRAFE_QE: tuple[tuple[str, Control], ...] = (("q", "strafe_left"), ("e", "strafe_right"))
_YAW_AD: tuple[tuple[str, Control], ...] = (("a", "yaw_left"), ("d", "yaw_right"))
_YAW_JL: tuple[tuple[str, Control], ...] = (("j", "yaw_left"), ("l", "yaw_right"))
_PITCH_IK: tuple[tuple[str, Control], ...] = (("i", "pitch_up"), ("k", "pitch_down"))
_LOOK_ARROWS: tuple[tuple[str, Control], ...] = (
    ("left", "yaw_left"),
    ("right", "yaw_right"),
    ("up", "pitch_up"),
    ("down", "pitch_down"),
)

_PRESETS = (
    # NVlabs/Sana, current (docs/model.md, "Held keys"), checked against the conformance vectors.
    KeyMap(
        "nvlabs", _MOVE + _YAW_AD + _STRAFE_JL + _PITCH_IK, 0.025, 0.6, 60.0, "saturate", True,
        axis_epsilon=1e-6,
    ),
    # NVlabs/Sana at its first release, and diffusers; same sources.
    KeyMap("nvlabs-2026-05", _MOVE + _STRAFE_AD + _YAW_JL + _PITCH_IK, 0.05, 1.2, 85.0, "drop", False),
    # SGLang's streaming pipelines: slower steps, and a strafe that turns the camera by 0.4 of the yaw speed.
    KeyMap(
        "sglang", _MOVE + _STRAFE_AD + _YAW_JL + _PITCH_IK, 0.04, 1.2, 85.0, "drop", False,
        strafe_yaw=0.4, axis_epsilon=1e-6,
    ),
    # NVIDIA FlashDreams cam2v with SANA-WM: the current NVlabs dynamics under other keys.
    KeyMap(
        "flashdreams", _MOVE + _STRAFE_QE + _YAW_AD + _YAW_JL + _PITCH_IK, 0.025, 0.6, 60.0, "saturate", True,
        axis_epsilon=1e-6,
    ),
    # HY-WorldPlay moves 0.08 m or 3 degrees per latent of four pixel frames, along the camera's own axes.
    KeyMap(
        "hy-worldplay", _MOVE + _STRAFE_AD + _LOOK_ARROWS, 0.02, 0.75, None, "saturate", False,
        walk=False,
    ),
)  # fmt: skip

KEYMAPS: dict[str, KeyMap] = {preset.name: preset for preset in _PRESETS}
"""The presets by name."""


def get_keymap(keymap: str | KeyMap | Mapping[str, Any]) -> KeyMap:
    """Look a preset up by name; a `KeyMap` passes through, and one that became a dictionary is made again.

    Raises:
        ValueError: if there is no preset of that name, or the dictionary is no key map.
    """
    if isinstance(keymap, KeyMap):
        return keymap
    if isinstance(keymap, Mapping):  # out of the JSON of an environment's spec
        return KeyMap.from_dict(keymap)
    if keymap not in KEYMAPS:
        raise ValueError(f"no key map {keymap!r}; choose one of {', '.join(KEYMAPS)}, or pass a KeyMap.")
    return KEYMAPS[keymap]
