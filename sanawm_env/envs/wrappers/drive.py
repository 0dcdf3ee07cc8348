"""A robot's base under the camera: a differential drive on top of pose deltas."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from sanawm_env.envs.wrappers.unicycle import Unicycle

__all__ = ["DifferentialDrive", "VectorDifferentialDrive"]


class DifferentialDrive(gym.ActionWrapper, RecordConstructorArgs):
    """Drive as a robot with two wheels does: forward and back, turning, and never sideways or up.

    | Num | Action                                                                    | Limit       | Unit  |
    |-----|---------------------------------------------------------------------------|-------------|-------|
    | 0   | linear velocity v: forward (+) or back                                     | `max_speed` | m/s   |
    | 1   | angular velocity w: turn left (+) or right                                 | `max_turn`  | rad/s |
    | 2   | STOP where positive; only if the environment beneath has a STOP component | 1           | -     |

    A step keeps one (v, w), an arc of a circle. It is the commanded one, or as near to it as the accelerations allow
    after the velocity at which the step before ended. That velocity is read from the environment's own poses: it is
    right after a restore, in a fork, and where a contact has stopped the camera. After a reset, and after a moment
    that came from a file, the base is at rest.

    The base moves in the plane in which it stands at frame 0: the camera keeps its height, pitch and roll. Rounding
    does not add up, since every step aims at a pose in that plane. A moment at which the camera had left the plane (a
    free camera's) goes on in the tilted or lifted plane of that moment.

    `info` has two more keys, of the base and not of the camera, in the axes of REP 103:

    | Key             | Type           | Meaning                                                                      |
    |-----------------|----------------|------------------------------------------------------------------------------|
    | `base_pose`     | `(3,)` float64 | x (ahead), y (left), m, and yaw (to the left), rad, from the base at frame 0 |
    | `base_velocity` | `(2,)` float64 | v in m/s and w in rad/s at the end of the step                               |

    ```python
    import gymnasium as gym
    import numpy as np
    import sanawm_env
    from sanawm_env.envs.wrappers import DifferentialDrive, camera_mount

    env = DifferentialDrive(gym.make("SanaWM-v0", chunk_frames=1), mount=camera_mount(xyz=(0.1, 0.0, 0.3)))
    env.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(np.array([0.4, 0.2], np.float32))  # ahead, bearing to the left
    x, y, yaw = info["base_pose"]
    ```

    Args:
        env: Environment with pose-delta actions, `Box(-1, 1, (6,))` or `(7,)`.
        max_speed: Fastest v, m/s.
        max_turn: Fastest w, rad/s. The built-in worlds saw turns of up to 0.4 rad/s in training.
        max_acceleration: Greatest change of v, m/s^2; infinity is no limit.
        max_turn_acceleration: Greatest change of w, rad/s^2; likewise.
        mount: Pose `(4, 4)` of the camera in the base's axes, m (`camera_mount`); None is on the base's origin,
            looking ahead. With a pitched mount the plane is the base's: "up" is then not -y of frame 0, which the
            sensors `scan` and contact take it for.

    Raises:
        ValueError: Other actions beneath, a limit that is not positive, a mount that is no pose, or a motion that is
            more than the environment can do in one step; names the fix.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        max_speed: float = 0.5,
        max_turn: float = 0.3,
        max_acceleration: float = 1.0,
        max_turn_acceleration: float = 2.0,
        mount: ArrayLike | None = None,
    ) -> None:
        """See the class."""
        limits = max_speed, max_turn, max_acceleration, max_turn_acceleration
        self._base = Unicycle.of(env, env.action_space, "DifferentialDrive", limits, mount)
        RecordConstructorArgs.__init__(self, **self._base.arguments)
        gym.ActionWrapper.__init__(self, env)
        self.action_space = self._base.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment beneath."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | self._base.info(info["frame_c2w"])

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Drive for one step.

        Raises:
            ValueError: Another shape, NaN, or a velocity beyond the limits. Nothing has changed then.
        """
        observation, reward, terminated, truncated, info = self.env.step(self.action(action))
        return observation, reward, terminated, truncated, info | self._base.info(info["frame_c2w"])

    def action(self, action: Any) -> NDArray[np.float32]:
        """The pose delta of `(v, w)` or `(v, w, stop)` from where the camera is now.

        Raises:
            ValueError: See `step`.
        """
        base: Any = self.unwrapped
        return self._base.action(action, base.step_poses[0])


class VectorDifferentialDrive(VectorActionWrapper, RecordConstructorArgs):
    """`DifferentialDrive` of every slot: actions `(N, 2)` or `(N, 3)`."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        max_speed: float = 0.5,
        max_turn: float = 0.3,
        max_acceleration: float = 1.0,
        max_turn_acceleration: float = 2.0,
        mount: ArrayLike | None = None,
    ) -> None:
        """See `DifferentialDrive`."""
        limits = max_speed, max_turn, max_acceleration, max_turn_acceleration
        self._base = Unicycle.of(env, env.single_action_space, "VectorDifferentialDrive", limits, mount)
        RecordConstructorArgs.__init__(self, **self._base.arguments)
        VectorActionWrapper.__init__(self, env)
        self.single_action_space = self._base.space
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environments beneath."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations, self._told(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Drive for one step; see `actions`."""
        observations, rewards, terminated, truncated, infos = self.env.step(self.actions(actions))
        return observations, rewards, terminated, truncated, self._told(infos)

    def actions(self, actions: Any) -> NDArray[np.float32]:
        """The pose deltas `(N, 6)` or `(N, 7)`.

        Raises:
            ValueError: Another number of actions than of slots, or a bad one; no slot moves.
        """
        if (count := len(actions)) != self.num_envs:
            raise ValueError(f"actions must be {self.num_envs} velocities (v, w), one per slot; got {count}.")
        base: Any = self.unwrapped
        poses = base.step_poses
        return np.stack([self._base.action(each, poses[i], f"slot {i}: ") for i, each in enumerate(actions)])

    def _told(self, infos: dict[str, Any]) -> dict[str, Any]:
        """Infos in Gymnasium's format with those of the base, also of episodes that ended in a step which resets."""
        mask = infos["_frame_c2w"]
        each = [self._base.info(poses) if told else {} for poses, told in zip(infos["frame_c2w"], mask, strict=True)]
        more: dict[str, Any] = {}
        for key, size in (("base_pose", 3), ("base_velocity", 2)):
            more[key], more[f"_{key}"] = np.stack([one.get(key, np.zeros(size)) for one in each]), mask.copy()
        if "frame_c2w" in infos.get("final_info", {}):
            more["final_info"] = self._told(infos["final_info"])
        return infos | more
