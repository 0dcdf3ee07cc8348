"""A robot's base under the camera: a differential drive on top of pose deltas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import RigidTransform, Rotation

from sanawm_env.camera.pose import delta_to_action, validate_c2w
from sanawm_env.envs.wrappers.motion import Motion
from sanawm_env.envs.wrappers.twist import ROS_TO_CAMERA

__all__ = ["DifferentialDrive", "VectorDifferentialDrive", "camera_mount"]

Array = NDArray[np.float64]

ON_PLANE = 1e-3
"""Metres and radians; a base that is nearer than this to its plane is put back onto it by every step."""


def camera_mount(xyz: Sequence[float] = (0.0, 0.0, 0.0), rpy: Sequence[float] = (0.0, 0.0, 0.0)) -> Array:
    """Pose `(4, 4)` of the camera in the base's axes (x forward, y left, z up), as URDF's `<origin>` gives it.

    Args:
        xyz: Metres.
        rpy: Roll, pitch, yaw in radians of the camera's body, whose x axis looks ahead. Positive pitch looks down.
    """
    turn = Rotation.from_euler("xyz", rpy) * Rotation.from_matrix(ROS_TO_CAMERA.T)
    return RigidTransform.from_components(np.asarray(xyz, np.float64), turn).as_matrix()


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
        self._base = _Base.of(env, env.action_space, "DifferentialDrive", limits, mount)
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
        self._base = _Base.of(env, env.single_action_space, "VectorDifferentialDrive", limits, mount)
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


@dataclass(frozen=True, eq=False)
class _Base:
    """The arithmetic of both wrappers."""

    motion: Motion
    fps: float
    """Frames per second."""
    limits: Array
    """`(2,)` fastest v and w."""
    change: Array
    """`(2,)` greatest change of them in one step."""
    mount: RigidTransform
    """Camera to base."""
    arguments: dict[str, Any]
    """Of the constructor, as JSON can hold them."""

    @classmethod
    def of(
        cls, env: Any, space: Any, wrapper: str, limits: tuple[float, float, float, float], mount: ArrayLike | None
    ) -> _Base:
        motion = Motion.of(env, space, wrapper)
        names = ("max_speed", "max_turn", "max_acceleration", "max_turn_acceleration")
        units = ("m/s", "rad/s", "m/s^2", "rad/s^2")
        for name, value, unit in zip(names, limits, units, strict=True):
            finite = math.isfinite(value) or name.endswith("acceleration")
            if not (value > 0 and finite):
                raise ValueError(f"{name} must be a positive number of {unit}; got {value}.")
        try:
            pose = camera_mount() if mount is None else validate_c2w(mount)
            if pose.shape != (4, 4):
                raise ValueError(f"has shape {pose.shape}.")
        except ValueError as error:
            raise ValueError(f"mount must be one pose (4, 4), made by camera_mount for instance: {error}") from None
        frames = int(env.unwrapped.frames_per_step)
        if frames < 2:
            raise ValueError(
                f"{wrapper} reads velocities between frames; make steps of at least 2 frames, not {frames}."
            )
        _check_reach(motion, float(limits[0]), float(limits[1]), math.hypot(*pose[:2, 3]))
        arguments: dict[str, Any] = dict(zip(names, map(float, limits), strict=True))
        arguments["mount"] = None if mount is None else pose.tolist()
        change = np.array(limits[2:], np.float64) * motion.step_seconds
        turn = RigidTransform.from_matrix(pose)
        return cls(motion, frames / motion.step_seconds, np.array(limits[:2], np.float64), change, turn, arguments)

    @property
    def space(self) -> spaces.Box:
        high = np.append(self.limits, [1.0] * self.motion.stop).astype(np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def action(self, command: Any, poses: Array, where: str = "") -> NDArray[np.float32]:
        """The pose delta of a command, after a step whose frames had the poses `(F, 4, 4)`."""
        values = self._check(command, where)
        base, velocity = self._state(poses)
        v, w = values[:2].clip(velocity - self.change, velocity + self.change).clip(-self.limits, self.limits)
        arc = RigidTransform.from_exp_coords(np.array([0, 0, w, v, 0, 0]) * self.motion.step_seconds)
        target = self.mount.inv() * (_planar(base) * arc) * self.mount
        delta = RigidTransform.from_matrix(poses[-1]).inv() * target
        limits = self.motion.max_translation, self.motion.max_rotation
        return self.motion.action(delta_to_action(delta, *limits).clip(-1, 1), bool(self.motion.stop and values[2] > 0))

    def info(self, poses: Array) -> dict[str, Array]:
        """What the wrappers add to info, of frames at the poses `(F, 4, 4)`."""
        base, velocity = self._state(poses)
        x, y, yaw = _coordinates(base)
        return {"base_pose": np.array([x, y, yaw]), "base_velocity": velocity}

    def _state(self, poses: Array) -> tuple[RigidTransform, Array]:
        """Base relative to frame 0's, and its (v, w) between the last two frames."""
        last = self.mount * RigidTransform.from_matrix(poses[-2:]) * self.mount.inv()
        if len(last) < 2:
            return last[-1], np.zeros(2)
        twist = (last[0].inv() * last[1]).as_exp_coords()  # scipy puts the rotation first
        return last[1], twist[[3, 2]] * self.fps

    def _check(self, command: Any, where: str) -> Array:
        values, shape = np.asarray(command), (2 + self.motion.stop,)
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise ValueError(
                f"{where}a velocity is numbers of shape {shape}, v in m/s and w in rad/s; "
                f"got {values.dtype} of shape {values.shape}."
            )
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{where}the velocity has NaN or infinite entries; check the policy that produced it.")
        if (np.abs(values[:2]) > self.limits * (1 + 1e-6)).any():
            raise ValueError(
                f"{where}velocity {np.round(values[:2], 4).tolist()} is beyond the limits {self.limits.tolist()} (m/s, "
                "rad/s); clip it to action_space, or make the wrapper with another max_speed and max_turn."
            )
        return values


def _check_reach(motion: Motion, speed: float, turn: float, arm: float) -> None:
    """Refuse what one step of the environment cannot do, wherever the camera (`arm` m off the axis) sits."""
    seconds = motion.step_seconds
    # The way along the camera's arc; no component of its displacement is longer.
    for name, value, way, limit, unit, other in (
        ("max_speed", speed, (speed + turn * arm) * seconds, motion.max_translation, "m", turn * arm),
        ("max_turn", turn, turn * seconds, motion.max_rotation, "rad", 0.0),
    ):
        if way > limit * (1 + 1e-9):
            base = "max_translation" if unit == "m" else "max_rotation"
            lower = math.floor(1000 * (limit / seconds - other)) / 1000
            less = f", or lower {name} to {lower:g}" if lower > 0 else ", or lower max_turn"
            raise ValueError(
                f"{name} of {value:g} {unit}/s makes up to {way:.4g} {unit} in one step of {seconds:g} s, more than "
                f"the environment's {base} of {limit:.4g}; make it with {base}={way * (1 + 5e-6):.6g}{less}."
            )


def _coordinates(base: RigidTransform) -> tuple[float, float, float]:
    pose = base.as_matrix()
    return float(pose[0, 3]), float(pose[1, 3]), math.atan2(pose[1, 0], pose[0, 0])


def _planar(base: RigidTransform) -> RigidTransform:
    """The base put back onto its plane, unless it is off by more than rounding."""
    pose = base.as_matrix()
    if max(abs(pose[2, 3]), math.hypot(pose[0, 2], pose[1, 2])) > ON_PLANE:
        return base
    x, y, yaw = _coordinates(base)
    return RigidTransform.from_components([x, y, 0.0], Rotation.from_rotvec([0.0, 0.0, yaw]))
