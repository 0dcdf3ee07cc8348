"""The unicycle: how a base with two driven wheels carries its camera, and what limits it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import RigidTransform, Rotation

from sanawm_env.camera.pose import delta_to_action, validate_c2w
from sanawm_env.envs.wrappers.motion import Motion
from sanawm_env.envs.wrappers.twist import ROS_TO_CAMERA

__all__ = ["Unicycle", "camera_mount"]

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


@dataclass(frozen=True, eq=False)
class Unicycle:
    """From commands (v, w) and the poses of the last step to pose deltas; it remembers nothing."""

    motion: Motion
    """What one step of the environment beneath can do."""
    fps: float
    """Frames per second."""
    limits: Array
    """`(2,)` fastest v and w, m/s and rad/s."""
    change: Array
    """`(2,)` greatest change of them from one step to the next."""
    mount: RigidTransform
    """Pose of the camera in the base's axes."""
    arguments: dict[str, Any]
    """Of the constructor, as JSON can hold them."""

    @classmethod
    def of(
        cls, env: Any, space: Any, wrapper: str, limits: tuple[float, float, float, float], mount: ArrayLike | None
    ) -> Unicycle:
        """Read the arguments of a wrapper.

        Args:
            env: The environment beneath.
            space: The action space (of one slot) that the wrapper writes to.
            wrapper: Its name, for messages.
            limits: Fastest v and w, m/s and rad/s, and their greatest change per second.
            mount: Of the camera.

        Raises:
            ValueError: See `DifferentialDrive`.
        """
        motion = Motion.of(env, space, wrapper)
        names = ("max_speed", "max_turn", "max_acceleration", "max_turn_acceleration")
        units = ("m/s", "rad/s", "m/s^2", "rad/s^2")
        for name, value, unit in zip(names, limits, units, strict=True):
            number = isinstance(value, int | float | np.number) and value > 0
            if not number or (math.isinf(value) and not name.endswith("acceleration")):
                raise ValueError(f"{name} must be a positive number of {unit}; got {value!r}.")
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
        """Of commands: (v, w), and STOP where the environment beneath has it."""
        high = np.append(self.limits, [1.0] * self.motion.stop).astype(np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def action(self, command: Any, poses: Array, where: str = "") -> NDArray[np.float32]:
        """The pose delta of a command, after a step whose frames had the poses `(F, 4, 4)`.

        Raises:
            ValueError: Another shape, NaN, or a velocity beyond the limits.
        """
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
