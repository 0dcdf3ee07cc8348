"""Habitat's four navigation actions on top of pose deltas."""

from __future__ import annotations

import math
import operator
from enum import IntEnum
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sanawm_env.envs.wrappers.motion import Motion

__all__ = ["DiscreteNavigation", "NavigationAction", "VectorDiscreteNavigation", "habitat_moves"]

STEP = 0.25
"""Habitat's step, metres."""
TURN = 10.0
"""Habitat's turn, degrees."""


class NavigationAction(IntEnum):
    """Habitat's actions, in Habitat's order."""

    STOP = 0
    MOVE_FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3


class DiscreteNavigation(gym.ActionWrapper, RecordConstructorArgs):
    """Navigate as in Habitat, by four discrete actions.

    | Num | Action       | Effect                                                                        |
    |-----|--------------|-------------------------------------------------------------------------------|
    | 0   | STOP         | calls STOP where the task was made with `stop_action=True`, else stands still |
    | 1   | MOVE_FORWARD | `step` metres along the camera's z axis                                       |
    | 2   | TURN_LEFT    | `turn` degrees about the camera's y axis                                      |
    | 3   | TURN_RIGHT   | likewise, the other way                                                       |

    Moves and turns are the camera's own. Since none of them pitches or rolls, a camera that starts level stays
    level, as Habitat's does; one that starts tilted (a restored state) keeps moving in its own tilted plane.
    Nothing blocks a move: a dreamt world has no collisions.

    Args:
        env: Environment with pose-delta actions, `Box(-1, 1, (6,))` or `(7,)`.
        step: Metres of MOVE_FORWARD.
        turn: Degrees of a turn.

    Raises:
        ValueError: Other actions beneath, or a step or turn beyond what one step of the environment can do.
    """

    def __init__(self, env: gym.Env[Any, Any], step: float = STEP, turn: float = TURN) -> None:
        """See the class."""
        RecordConstructorArgs.__init__(self, step=step, turn=turn)
        gym.ActionWrapper.__init__(self, env)
        self._table = _table(Motion.of(env, env.action_space, "DiscreteNavigation"), step, turn)
        self.step_metres = float(step)
        """Metres of MOVE_FORWARD."""
        self.turn_degrees = float(turn)
        """Degrees of a turn."""
        self.action_space = spaces.Discrete(len(NavigationAction))

    def action(self, action: Any) -> NDArray[np.float32]:
        """The pose delta of a `NavigationAction`.

        Raises:
            ValueError: None of the four.
        """
        return self._table[_number(action)].copy()


class VectorDiscreteNavigation(VectorActionWrapper, RecordConstructorArgs):
    """`DiscreteNavigation` of every slot: actions `(N,)` integers."""

    def __init__(self, env: VectorEnv[Any, Any, Any], step: float = STEP, turn: float = TURN) -> None:
        """See `DiscreteNavigation`."""
        RecordConstructorArgs.__init__(self, step=step, turn=turn)
        VectorActionWrapper.__init__(self, env)
        self._table = _table(Motion.of(env, env.single_action_space, "VectorDiscreteNavigation"), step, turn)
        self.step_metres = float(step)
        """Metres of MOVE_FORWARD."""
        self.turn_degrees = float(turn)
        """Degrees of a turn."""
        self.single_action_space = spaces.Discrete(len(NavigationAction))
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def actions(self, actions: Any) -> NDArray[np.float32]:
        """The pose deltas `(N, 6)` or `(N, 7)`.

        Raises:
            ValueError: Another number of actions than of slots, or one that is none of the four; no slot moves.
        """
        given = np.asarray(actions)
        if given.shape != (self.num_envs,):
            raise ValueError(f"actions must be {self.num_envs} integers, one per slot; got shape {given.shape}.")
        return self._table[[_number(action, f"slot {slot}: ") for slot, action in enumerate(given)]]


def habitat_moves(env: gym.Env[Any, Any]) -> DiscreteNavigation:
    """`DiscreteNavigation` with Habitat's move and turn, or the most that one step can do if that is less."""
    base: Any = env.unwrapped
    return DiscreteNavigation(env, min(STEP, base.max_translation), min(TURN, math.degrees(base.max_rotation)))


def _table(motion: Motion, step: float, turn: float) -> NDArray[np.float32]:
    """Base action of each `NavigationAction`, in order."""
    reach, degrees = motion.max_translation, math.degrees(motion.max_rotation)
    # A limit that was given in degrees comes back from radians with a rounded last digit.
    for name, value, limit, unit, base, fix in (
        ("step", step, reach, "m", "max_translation", f"max_translation={step:g}"),
        ("turn", turn, degrees, "degrees", "max_rotation", f"max_rotation={math.radians(turn):.6g}"),
    ):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number of {unit}; got {value}.")
        if value > limit * (1 + 1e-9):
            raise ValueError(
                f"{name} of {value:g} {unit} is more than the environment can do in one step, {limit:.4g}; "
                f"make it with {fix}, with longer steps (chunk_frames), or lower {name} to {base}."
            )
    table = []
    for action in NavigationAction:
        delta = np.zeros(6)
        if action is NavigationAction.MOVE_FORWARD:
            delta[2] = min(step / reach, 1.0)
        elif action is not NavigationAction.STOP:
            # y points down, so a positive rotation about it turns right.
            delta[4] = min(turn / degrees, 1.0) * (1 if action is NavigationAction.TURN_RIGHT else -1)
        table.append(motion.action(delta, action is NavigationAction.STOP))
    return np.stack(table)


def _number(action: Any, where: str = "") -> int:
    try:
        number = operator.index(action.item() if isinstance(action, np.ndarray) and action.ndim == 0 else action)
    except TypeError:
        number = -1
    if not 0 <= number < len(NavigationAction):
        names = ", ".join(f"{a.value} {a.name}" for a in NavigationAction)
        raise ValueError(f"{where}a navigation action is one of {names}; got {action!r}.")
    return number
