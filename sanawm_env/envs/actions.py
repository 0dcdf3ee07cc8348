"""From one environment action to the camera poses of one step: the three action modes.

Each mode has its Gymnasium space and a `move`, which checks the action and returns the poses. A `move` has no
side effects, so that a refused action changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.keymaps import KeyMap
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.camera.trajectory import KeyboardState

__all__ = ["TOLERANCE", "ActionMode", "Controls", "DeltaControls", "FrameControls", "KeyControls"]

ActionMode = Literal["delta", "per_frame", "keys"]
Poses: TypeAlias = NDArray[np.float64]

TOLERANCE = 1e-6
"""How far beyond [-1, 1] an action may lie from rounding; it is clipped then."""


class Controls(Protocol):
    """One way to steer the camera."""

    @property
    def space(self) -> spaces.Space[Any]:
        """A new action space."""

    def move(self, c2w: Poses, keyboard: KeyboardState | None, action: Any) -> tuple[Poses, KeyboardState | None]:
        """Poses `(F, 4, 4)` of the step that starts at `c2w`, and the keyboard after it.

        Raises:
            ValueError: The action does not lie in the space; says what to change.
        """


@dataclass(frozen=True)
class DeltaControls:
    """One pose delta per step; the frames follow the SE(3) geodesic."""

    frames: int
    """Pixel frames F of a step."""
    max_translation: float
    """Metres per step of a full component."""
    max_rotation: float
    """Radians per step of a full component."""

    def __post_init__(self) -> None:
        action_to_delta(np.zeros(6), self.max_translation, self.max_rotation)  # checks the limits

    @property
    def space(self) -> spaces.Space[Any]:
        """`[tx, ty, tz, rx, ry, rz]`."""
        return spaces.Box(-1.0, 1.0, (6,), np.float32)

    def move(self, c2w: Poses, keyboard: KeyboardState | None, action: Any) -> tuple[Poses, KeyboardState | None]:
        """See `Controls`; the keyboard is at rest afterwards."""
        values = check_box_action(action, (6,))
        delta = action_to_delta(values, self.max_translation, self.max_rotation)
        return geodesic(c2w, delta, self.frames), None


@dataclass(frozen=True)
class FrameControls:
    """One pose delta per pixel frame; a full component is the F-th part of the step's limit."""

    frames: int
    """Pixel frames F of a step."""
    max_translation: float
    """Metres per step when all frames have a full component."""
    max_rotation: float
    """Radians per step when all frames have a full component."""

    def __post_init__(self) -> None:
        action_to_delta(np.zeros(6), self.max_translation, self.max_rotation)  # checks the limits

    @property
    def space(self) -> spaces.Space[Any]:
        """F rows of `[tx, ty, tz, rx, ry, rz]`."""
        return spaces.Box(-1.0, 1.0, (self.frames, 6), np.float32)

    def move(self, c2w: Poses, keyboard: KeyboardState | None, action: Any) -> tuple[Poses, KeyboardState | None]:
        """See `Controls`; the keyboard is at rest afterwards."""
        values = check_box_action(action, (self.frames, 6))
        limits = self.max_translation / self.frames, self.max_rotation / self.frames
        poses, pose = [], c2w
        for delta in action_to_delta(values, *limits):
            pose = geodesic(pose, delta, 1)[0]
            poses.append(pose)
        return np.stack(poses), None


@dataclass(frozen=True)
class KeyControls:
    """Keys held during the step; the key map decides speeds, inertia and pitch limits."""

    frames: int
    """Pixel frames F of a step."""
    keymap: KeyMap
    """Whose keys, in the order of `KeyMap.controls`, are the components of an action."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Name of each component of an action."""
        return tuple(key for key, _ in self.keymap.controls)

    @property
    def space(self) -> spaces.Space[Any]:
        """One bit per key."""
        return spaces.MultiBinary(len(self.keys))

    def move(self, c2w: Poses, keyboard: KeyboardState | None, action: Any) -> tuple[Poses, KeyboardState | None]:
        """See `Controls`; without a keyboard of this key map the camera starts at rest."""
        bits = np.asarray(action)
        if bits.shape != (len(self.keys),) or not np.isin(bits, (0, 1)).all():
            raise ValueError(
                f"a 'keys' action has one 0 or 1 for each of {' '.join(self.keys)}, shape ({len(self.keys)},); "
                f"got {_describe(action)}."
            )
        if keyboard is None or keyboard.keymap != self.keymap:
            keyboard = KeyboardState.start(self.keymap, c2w)
        held = [key for key, bit in zip(self.keys, bits, strict=True) if bit]
        poses = []
        for _ in range(self.frames):
            keyboard, pose = keyboard.step(held)
            poses.append(pose)
        return np.stack(poses), keyboard


def check_box_action(action: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The action as float64, clipped to [-1, 1].

    Args:
        action: Numbers of any real type, as an array or nested lists.
        shape: Required shape.

    Raises:
        ValueError: Another shape or type, NaN, or further than `TOLERANCE` outside [-1, 1].
    """
    try:
        values = np.asarray(action)
    except ValueError:  # ragged lists
        values = np.empty(0)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise ValueError(
            f"action must be real numbers of shape {shape}, [tx, ty, tz, rx, ry, rz] in [-1, 1]; "
            f"got {_describe(action)}."
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("action has NaN or infinite entries; check the policy that produced it.")
    worst = float(np.abs(values).max())
    if worst > 1 + TOLERANCE:
        raise ValueError(
            f"action has an entry of magnitude {worst:.6g}, outside [-1, 1]; clip it, or raise "
            "max_translation and max_rotation of the environment."
        )
    return values.clip(-1.0, 1.0)


def _describe(action: Any) -> str:
    if isinstance(action, np.ndarray):
        return f"{action.dtype} of shape {action.shape}"
    text = repr(action)
    return text if len(text) <= 60 else text[:57] + "..."
