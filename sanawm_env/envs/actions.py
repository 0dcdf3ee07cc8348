"""From environment actions to the camera poses of one step: the three action modes.

Each mode has its Gymnasium space and a `move` for any number of slots, which checks the actions and returns the
poses. A `move` has no side effects, so that a refused action changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.keymaps import KeyMap
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.camera.trajectory import KeyboardState

__all__ = [
    "TOLERANCE",
    "ActionError",
    "ActionMode",
    "Controls",
    "DeltaControls",
    "FrameControls",
    "KeyControls",
    "check_box_actions",
]

ActionMode = Literal["delta", "per_frame", "keys"]
Poses: TypeAlias = NDArray[np.float64]
Keyboards: TypeAlias = "Sequence[KeyboardState | None]"

TOLERANCE = 1e-6
"""How far beyond [-1, 1] an action may lie from rounding; it is clipped then."""


class ActionError(ValueError):
    """An action outside the action space; nothing has changed. `slot` counts the actions of the call."""

    def __init__(self, message: str, slot: int = 0) -> None:
        super().__init__(message)
        self.slot = slot


class Controls(Protocol):
    """One way to steer cameras."""

    @property
    def space(self) -> spaces.Space[Any]:
        """A new action space, of one slot."""

    @property
    def limits(self) -> tuple[float, float]:
        """Metres along an axis and radians about one that a step can command at most."""

    def move(self, c2w: Poses, keyboards: Keyboards, actions: Any) -> tuple[Poses, list[KeyboardState | None]]:
        """The step of every slot.

        Args:
            c2w: `(N, 4, 4)` poses now.
            keyboards: N of them; only the mode `keys` has any.
            actions: N actions.

        Returns:
            Poses `(N, F, 4, 4)` of the step's frames, and the keyboards after it.

        Raises:
            ActionError: An action does not lie in the space; says what to change.
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

    @property
    def limits(self) -> tuple[float, float]:
        """See `Controls`."""
        return self.max_translation, self.max_rotation

    def move(self, c2w: Poses, keyboards: Keyboards, actions: Any) -> tuple[Poses, list[KeyboardState | None]]:
        """See `Controls`; the keyboards are at rest afterwards."""
        delta = action_to_delta(check_box_actions(actions, len(c2w), (6,)), self.max_translation, self.max_rotation)
        return geodesic(c2w, delta, self.frames), [None] * len(c2w)


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

    @property
    def limits(self) -> tuple[float, float]:
        """See `Controls`."""
        return self.max_translation, self.max_rotation

    def move(self, c2w: Poses, keyboards: Keyboards, actions: Any) -> tuple[Poses, list[KeyboardState | None]]:
        """See `Controls`; the keyboards are at rest afterwards."""
        values = check_box_actions(actions, len(c2w), (self.frames, 6))
        limits = self.max_translation / self.frames, self.max_rotation / self.frames
        poses, pose = [], c2w
        for frame in range(self.frames):
            pose = geodesic(pose, action_to_delta(values[:, frame], *limits), 1)[:, 0]
            poses.append(pose)
        return np.stack(poses, axis=1), [None] * len(c2w)


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

    @property
    def limits(self) -> tuple[float, float]:
        """See `Controls`."""
        return self.frames * self.keymap.translation_speed, self.frames * np.radians(self.keymap.rotation_speed_deg)

    def move(self, c2w: Poses, keyboards: Keyboards, actions: Any) -> tuple[Poses, list[KeyboardState | None]]:
        """See `Controls`; without a keyboard of this key map a camera starts at rest."""
        moved = [self._move_one(c2w[slot], keyboards[slot], actions[slot], slot) for slot in range(len(c2w))]
        return np.stack([poses for poses, _ in moved]), [keyboard for _, keyboard in moved]

    def _move_one(
        self, c2w: Poses, keyboard: KeyboardState | None, action: Any, slot: int
    ) -> tuple[Poses, KeyboardState]:
        bits = np.asarray(action)
        if bits.shape != (len(self.keys),) or not np.isin(bits, (0, 1)).all():
            raise ActionError(
                f"a 'keys' action has one 0 or 1 for each of {' '.join(self.keys)}, shape ({len(self.keys)},); "
                f"got {_describe(action)}.",
                slot,
            )
        if keyboard is None or keyboard.keymap != self.keymap:
            keyboard = KeyboardState.start(self.keymap, c2w)
        held = [key for key, bit in zip(self.keys, bits, strict=True) if bit]
        poses = []
        for _ in range(self.frames):
            keyboard, pose = keyboard.step(held)
            poses.append(pose)
        return np.stack(poses), keyboard


def check_box_actions(actions: Any, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The actions as float64 `(count, *shape)`, clipped to [-1, 1].

    Args:
        actions: Numbers of any real type, as an array or nested lists; `count` of them.
        count: Slots.
        shape: Required shape of one action.

    Raises:
        ActionError: Another shape or type, NaN, or further than `TOLERANCE` outside [-1, 1].
    """
    if isinstance(actions, np.ndarray) and actions.dtype.kind in "fiu" and actions.shape == (count, *shape):
        values = actions.astype(np.float64)
        # A comparison with NaN is false, so that this is the whole check.
        if (np.abs(values) <= 1 + TOLERANCE).all():
            return values.clip(-1.0, 1.0)
    return np.stack([_check_one(actions[slot], shape, slot) for slot in range(count)])


def _check_one(action: Any, shape: tuple[int, ...], slot: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(action)
    except ValueError:  # ragged lists
        values = np.empty(0)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise ActionError(
            f"action must be real numbers of shape {shape}, [tx, ty, tz, rx, ry, rz] in [-1, 1]; "
            f"got {_describe(action)}.",
            slot,
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ActionError("action has NaN or infinite entries; check the policy that produced it.", slot)
    worst = float(np.abs(values).max())
    if worst > 1 + TOLERANCE:
        raise ActionError(
            f"action has an entry of magnitude {worst:.6g}, outside [-1, 1]; clip it, or raise "
            "max_translation and max_rotation of the environment.",
            slot,
        )
    return values.clip(-1.0, 1.0)


def _describe(action: Any) -> str:
    if isinstance(action, np.ndarray):
        return f"{action.dtype} of shape {action.shape}"
    text = repr(action)
    return text if len(text) <= 60 else text[:57] + "..."
