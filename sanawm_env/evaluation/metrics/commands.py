"""Commanded camera motions: one axis, constant speed, a sign that nothing in the picture gives away."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera import rollout_actions

__all__ = ["MOTIONS", "ROTATION", "TRANSLATION", "Command", "Motion", "commanded_path", "draw_commands"]

Motion = Literal["yaw", "pitch", "forward"]
MOTIONS: tuple[Motion, ...] = ("yaw", "pitch", "forward")
"""In the order in which they are tried."""
ROTATION = math.radians(0.6)
"""Typical turn of the release, radians per frame."""
TRANSLATION = 0.025
"""Typical speed of the release, metres per frame."""
_COMPONENT: dict[Motion, int] = {"yaw": 4, "pitch": 3, "forward": 2}


@dataclass(frozen=True)
class Command:
    """One motion to carry out."""

    motion: Motion
    """Its axis."""
    sign: int
    """+1 turns right, looks up or moves forward; -1 is the opposite."""
    free: bool = True
    """Whether the path is clear of obstacles; a blocked one is carried out all the same."""
    drawn: bool = True
    """Whether the sign is the one drawn at random; False where only the other way was free."""


def commanded_path(
    start: ArrayLike, command: Command, frames: int, *, rotation: float = ROTATION, translation: float = TRANSLATION
) -> NDArray[np.float64]:
    """Poses of a commanded motion at constant speed.

    Args:
        start: `(4, 4)` pose of frame 0, camera-to-world, metres.
        command: What to do.
        frames: Frames after frame 0.
        rotation: Radians per frame.
        translation: Metres per frame.

    Returns:
        `(frames + 1, 4, 4)`, `start` first.
    """
    actions = np.zeros((frames, 6))
    actions[:, _COMPONENT[command.motion]] = command.sign
    return rollout_actions(start, actions, 1, translation, rotation)


def draw_commands(seed: int, is_free: Callable[[Command], bool] = lambda command: True) -> tuple[Command, ...]:
    """The three motions of a scene, each with a random sign that depends on the seed alone.

    A camera cannot back into a wall: if the drawn way is blocked and the opposite one is free, the opposite
    one is taken. If both are blocked the drawn one stays. Either is noted on the command, so that a report
    can count it.

    Args:
        seed: Of the scene.
        is_free: Whether a command's path is clear.
    """
    signs = np.random.default_rng([seed, 3]).choice([-1, 1], len(MOTIONS))
    commands = []
    for motion, sign in zip(MOTIONS, signs.tolist(), strict=True):
        drawn, other = Command(motion, sign), Command(motion, -sign, drawn=False)
        if is_free(drawn):
            commands.append(drawn)
        elif is_free(other):
            commands.append(other)
        else:
            commands.append(Command(motion, sign, free=False))
    return tuple(commands)
