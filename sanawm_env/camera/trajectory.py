"""Poses from held keys: the action-string language and the keyboard integrator (docs/model.md, "Held keys").

An action string such as ``"w-32,dw-16,none-8"`` holds ``w`` for 32 pixel frames, then ``d`` and ``w`` for 16,
then nothing for 8; N frames give N + 1 poses. `KeyboardState` is one moment of such a rollout. Its `step` is
pure, so that an environment can be driven key by key, forked and replayed; `rollout_keys` is a loop over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.camera.keymaps import Control, KeyMap, get_keymap
from sanawm_env.camera.pose import validate_c2w

__all__ = ["KeyboardState", "parse_actions", "rollout_keys"]

Velocity = tuple[float, float, float, float]
"""Forward and rightward metres, yaw to the right and pitch upwards in radians; all per pixel frame."""


def parse_actions(text: str, keymap: str | KeyMap = "nvlabs") -> list[frozenset[str]]:
    """Read an action string.

    Case and blanks do not count, a full-width comma (U+FF0C) counts as a comma, and a segment without keys
    (``"-4"``) is idle like ``none``. Keys with a name of their own are written out, ``"wleft-3"``.

    Args:
        text: Comma-separated ``<keys>-<frames>``.
        keymap: The map whose keys are allowed.

    Returns:
        The keys held in each pixel frame.

    Raises:
        ValueError: naming the faulty segment and the fix.
    """
    keys_of = get_keymap(keymap)
    compact = "".join(text.replace("，", ",").split()).lower()
    if not compact:
        raise ValueError("the action string is empty; write '<keys>-<frames>', for example 'w-32,none-8'.")
    frames: list[frozenset[str]] = []
    for segment in compact.split(","):
        held, dash, count = segment.rpartition("-")
        if not dash:
            raise ValueError(
                f"action segment {segment!r} is not '<keys>-<frames>'; write for example 'w-16', "
                "and take out empty segments and stray commas."
            )
        if not (count.isascii() and count.isdecimal() and int(count) > 0):
            raise ValueError(f"action segment {segment!r} lasts {count!r} frames; write a whole number of at least 1.")
        frames += [_scan_keys(held, segment, keys_of)] * int(count)
    return frames


def _scan_keys(held: str, segment: str, keymap: KeyMap) -> frozenset[str]:
    """Split a run of key names, longest name first."""
    if held == "none":
        return frozenset()
    found: set[str] = set()
    rest = held
    while rest:
        key = next((key for key in keymap.keys if rest.startswith(key)), None)
        if key is None:
            raise ValueError(
                f"action segment {segment!r} has the unknown key {rest[0]!r}; key map {keymap.name!r} knows "
                f"{' '.join(sorted(keymap.keys))} and none."
            )
        found.add(key)
        rest = rest[len(key) :]
    return frozenset(found)


@dataclass(frozen=True, eq=False)
class KeyboardState:
    """One moment of a keyboard-driven camera. Immutable: `step` returns the next one."""

    keymap: KeyMap
    """Keys, speeds and dynamics."""
    c2w: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """Pose ``(4, 4)``, camera-to-world, metres."""
    pitch: float = 0.0
    """Radians above the horizon, counted since the start."""
    velocity: Velocity = (0.0, 0.0, 0.0, 0.0)
    """Speed of each axis in the last frame."""
    asked: frozenset[Control] = frozenset()
    """What the keys of the last frame asked for."""

    def __post_init__(self) -> None:
        c2w = np.array(self.c2w, dtype=np.float64)
        c2w.flags.writeable = False
        object.__setattr__(self, "c2w", c2w)

    @classmethod
    def start(cls, keymap: str | KeyMap = "nvlabs", c2w: ArrayLike | None = None) -> KeyboardState:
        """Camera at rest.

        Args:
            keymap: Preset name or a `KeyMap`.
            c2w: Pose ``(4, 4)`` to start from, in a world whose y axis points down; the identity if None.

        Raises:
            ValueError: on an unknown key map or a pose that is not rigid.
        """
        pose = np.eye(4) if c2w is None else validate_c2w(c2w)
        if pose.shape != (4, 4):
            raise ValueError(f"the start pose must have shape (4, 4); got {pose.shape}. Pass one frame.")
        x, y, z = pose[:3, 2]
        return cls(get_keymap(keymap), pose, pitch=math.atan2(-y, math.hypot(x, z)))

    def step(self, keys: Iterable[str]) -> tuple[KeyboardState, NDArray[np.float64]]:
        """Advance one pixel frame with ``keys`` held.

        Args:
            keys: Names of the held keys; none is an empty collection. A string counts as its letters.

        Returns:
            The next state and its pose ``(4, 4)``.

        Raises:
            ValueError: on a key that the map does not know.
        """
        asked = self.keymap.asked(keys)
        velocity = self._velocity(asked)
        pitch = self._pitch(velocity[3])
        c2w = self._move(velocity, pitch - self.pitch)
        after = replace(self, c2w=c2w, pitch=pitch, velocity=velocity, asked=asked)
        return after, after.c2w

    def _velocity(self, asked: frozenset[Control]) -> Velocity:
        """Follow the keys at once, or glide towards what they ask for."""
        target = _target(asked, self.keymap)
        # A fresh key press snaps every axis, also those whose key has not changed; upstream does so.
        if not self.keymap.smoothing or asked - self.asked:
            return target
        forward, right, yaw, pitch = (
            old + _approach(new, self.keymap) * (new - old) for old, new in zip(self.velocity, target, strict=True)
        )
        return forward, right, yaw, pitch

    def _pitch(self, step: float) -> float:
        """Pitch after a step, within the limit by the map's rule."""
        pitch = self.pitch + step
        if self.keymap.pitch_limit_deg is None:
            return pitch
        # A start pose may lie beyond the limit; it is not pulled back, and can still return.
        limit = max(math.radians(self.keymap.pitch_limit_deg), abs(self.pitch))
        if abs(pitch) <= limit:
            return pitch
        return math.copysign(limit, pitch) if self.keymap.pitch_rule == "saturate" else self.pitch

    def _move(self, velocity: Velocity, pitch_step: float) -> NDArray[np.float64]:
        """Turn first, then move along the new axes."""
        forward, right, yaw, _ = velocity
        rotation = Rotation.from_matrix(self.c2w[:3, :3])
        yaw_turn = Rotation.from_rotvec([0.0, yaw, 0.0])
        pitch_turn = Rotation.from_rotvec([pitch_step, 0.0, 0.0])
        if self.keymap.walk:
            rotation = yaw_turn * rotation * pitch_turn
        else:
            rotation = rotation * yaw_turn * pitch_turn
        c2w = np.eye(4)
        c2w[:3, :3] = rotation.as_matrix()
        ahead, aside = (self._axis(c2w[:3, column]) for column in (2, 0))
        c2w[:3, 3] = self.c2w[:3, 3] + forward * ahead + right * aside
        return c2w

    def _axis(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Direction of travel: the camera axis itself, or its unit shadow on the ground when walking."""
        if not self.keymap.walk:
            return axis
        shadow = axis * np.array([1.0, 0.0, 1.0])
        length = float(np.linalg.norm(shadow))
        # A camera that looks straight down has no heading; it stays where it is.
        return shadow / (length + self.keymap.axis_epsilon) if length > 1e-9 else np.zeros(3)


def _target(asked: frozenset[Control], keymap: KeyMap) -> Velocity:
    """Velocity that the controls ask for; opposite ones cancel."""

    def sign(plus: Control, minus: Control) -> int:
        return (plus in asked) - (minus in asked)

    turn = math.radians(keymap.rotation_speed_deg)
    strafe = sign("strafe_right", "strafe_left")
    return (
        sign("forward", "back") * keymap.translation_speed,
        strafe * keymap.translation_speed,
        (sign("yaw_right", "yaw_left") + keymap.strafe_yaw * strafe) * turn,
        sign("pitch_up", "pitch_down") * turn,
    )


def _approach(target: float, keymap: KeyMap) -> float:
    """Share of the way to ``target`` that one frame covers."""
    tau = keymap.tau_press if target else keymap.tau_coast
    return 1.0 - math.exp(-1.0 / (keymap.fps * tau))


def rollout_keys(
    actions: str | Sequence[Iterable[str]],
    keymap: str | KeyMap = "nvlabs",
    start: ArrayLike | None = None,
    *,
    translation_speed: float | None = None,
    rotation_speed_deg: float | None = None,
    pitch_limit_deg: float | None = None,
    smoothing: bool | None = None,
) -> NDArray[np.float64]:
    """Poses of a whole key sequence.

    Args:
        actions: Action string, or the keys held in each pixel frame.
        keymap: Preset name or a `KeyMap`.
        start: First pose ``(4, 4)``; the identity if None.
        translation_speed: Metres per frame in place of the map's.
        rotation_speed_deg: Degrees per frame in place of the map's.
        pitch_limit_deg: Pitch limit in degrees in place of the map's.
        smoothing: Inertia on or off in place of the map's choice.

    Returns:
        ``(N + 1, 4, 4)`` camera-to-world matrices, ``start`` first.

    Raises:
        ValueError: on a faulty action string, key, key map, speed or pose.
    """
    given: dict[str, Any] = {
        "translation_speed": translation_speed,
        "rotation_speed_deg": rotation_speed_deg,
        "pitch_limit_deg": pitch_limit_deg,
        "smoothing": smoothing,
    }
    given = {name: value for name, value in given.items() if value is not None}
    chosen = replace(get_keymap(keymap), **given)
    state = KeyboardState.start(chosen, start)
    poses = [state.c2w]
    for keys in parse_actions(actions, chosen) if isinstance(actions, str) else actions:
        state, c2w = state.step(keys)
        poses.append(c2w)
    return np.stack(poses)
