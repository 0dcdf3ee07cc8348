"""Velocities in ROS body axes on top of pose deltas."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform

from sanawm_env.camera.pose import delta_to_action
from sanawm_env.envs.wrappers.motion import Motion

__all__ = ["TwistActions", "VectorTwistActions", "path_delta"]

ROS_TO_CAMERA = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""REP 103's body axes (x forward, y left, z up) seen from OpenCV's (x right, y down, z forward)."""


class TwistActions(gym.ActionWrapper, RecordConstructorArgs):
    """Drive the camera by a velocity, as ROS's `geometry_msgs/Twist` does.

    | Num | Action                                   | Limit                            | Unit  |
    |-----|------------------------------------------|----------------------------------|-------|
    | 0   | linear x: forward (+) or back            | `max_translation / step_seconds` | m/s   |
    | 1   | linear y: left (+) or right              | likewise                         | m/s   |
    | 2   | linear z: up (+) or down                 | likewise                         | m/s   |
    | 3   | angular x: roll clockwise (+)            | `max_rotation / step_seconds`    | rad/s |
    | 4   | angular y: look down (+) or up           | likewise                         | rad/s |
    | 5   | angular z: turn left (+) or right        | likewise                         | rad/s |
    | 6   | STOP where positive; only if the environment beneath has a STOP component | 1 | -     |

    The axes are those of REP 103, fixed to the camera: x forward, y left, z up. The velocity holds in the moving
    camera's own axes for the whole step, which is just what the environment's frames do: the step ends at the
    exponential of the twist. A twist that is fast in several directions at once may bend to a motion longer
    than one component of the environment's limits; all of it is slowed then, which keeps the shape of the path.

    Args:
        env: Environment with pose-delta actions, `Box(-1, 1, (6,))` or `(7,)`.

    Raises:
        ValueError: Other actions beneath.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """See the class."""
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self._motion = Motion.of(env, env.action_space, "TwistActions")
        self.action_space = _space(self._motion)

    def action(self, action: Any) -> NDArray[np.float32]:
        """The pose delta of a twist `(6,)` or `(7,)`.

        Raises:
            ValueError: Another shape, NaN, or a velocity beyond the limits.
        """
        return _convert(action, self._motion, self.action_space)


class VectorTwistActions(VectorActionWrapper, RecordConstructorArgs):
    """`TwistActions` of every slot: actions `(N, 6)` or `(N, 7)`."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """See `TwistActions`."""
        RecordConstructorArgs.__init__(self)
        VectorActionWrapper.__init__(self, env)
        self._motion = Motion.of(env, env.single_action_space, "VectorTwistActions")
        self.single_action_space = _space(self._motion)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def actions(self, actions: Any) -> NDArray[np.float32]:
        """The pose deltas `(N, 6)` or `(N, 7)`.

        Raises:
            ValueError: Another number of actions than of slots, or a bad one; no slot moves.
        """
        if (count := len(actions)) != self.num_envs:
            raise ValueError(f"actions must be {self.num_envs} twists, one per slot; got {count}.")
        space = self.single_action_space
        return np.stack([_convert(twist, self._motion, space, f"slot {i}: ") for i, twist in enumerate(actions)])


def _space(motion: Motion) -> spaces.Box:
    speed, turn = motion.max_translation / motion.step_seconds, motion.max_rotation / motion.step_seconds
    high = np.array([speed] * 3 + [turn] * 3 + [1.0] * motion.stop, np.float32)
    return spaces.Box(-high, high, dtype=np.float32)


def _convert(twist: Any, motion: Motion, space: Any, where: str = "") -> NDArray[np.float32]:
    values = np.asarray(twist)
    if values.shape != space.shape or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{where}a twist is numbers of shape {space.shape}, linear x y z in m/s and angular x y z in rad/s; "
            f"got {values.dtype} of shape {values.shape}."
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{where}the twist has NaN or infinite entries; check the policy that produced it.")
    if (np.abs(values) > space.high * (1 + 1e-6)).any():
        raise ValueError(
            f"{where}twist {np.round(values, 4).tolist()} is beyond the limits {space.high.tolist()}; clip it to "
            "action_space, or raise max_translation and max_rotation of the environment."
        )
    linear, angular = ROS_TO_CAMERA @ values[:3], ROS_TO_CAMERA @ values[3:6]
    delta = path_delta(linear * motion.step_seconds, angular * motion.step_seconds, motion)
    return motion.action(delta, bool(motion.stop and values[6] > 0))


def path_delta(linear: NDArray[np.float64], angular: NDArray[np.float64], motion: Motion) -> NDArray[np.float64]:
    """The normalised pose delta `(6,)` at the end of a step of constant velocity, or of its first share that fits.

    Args:
        linear: `(3,)` m/s times the step's seconds, camera axes.
        angular: `(3,)` rad/s times the step's seconds.
        motion: The limits.
    """
    # scipy's exponential coordinates put the rotation first.
    path = np.concatenate([angular, linear])
    delta = _end(path, motion)
    if np.abs(delta).max() > 1:
        # A displacement is no longer than its path, so the first share of it fits whatever the direction is.
        slowest, fastest = 1 / np.sqrt(3), 1.0
        for _ in range(4):
            shares = np.linspace(slowest, fastest, 17)
            fits = np.abs(_end(shares[1:-1, None] * path, motion)).max(-1) <= 1
            last = int(np.flatnonzero(np.append(True, fits))[-1])
            slowest, fastest = shares[last], shares[last + 1]
        delta = _end(slowest * path, motion)
    return delta.clip(-1, 1)


def _end(path: NDArray[np.float64], motion: Motion) -> NDArray[np.float64]:
    return delta_to_action(RigidTransform.from_exp_coords(path), motion.max_translation, motion.max_rotation)
