"""Robots by namespace, each in a world of its own, all of one model and at one simulated time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.messages import nanoseconds
from sanawm_env.bridges.ros2.robot import START, Frame, frames_of

from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.envs.vector_env import SanaWMVectorEnv
from sanawm_env.envs.wrappers.drive import VectorDifferentialDrive
from sanawm_env.envs.wrappers.twist import VectorTwistActions

__all__ = ["Session", "check_namespace", "namespaces_of"]

SNAPSHOTS = 64
"""Names that may be in use; a snapshot is some megabytes."""
_SHOWN = ("frames", "frame_c2w", "depth", "scan", "scan_angles", "scan_seen")
_FELT = ("collisions", "clearance")
_NAMESPACE = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


def check_namespace(name: str) -> str:
    """A namespace without slashes at its ends.

    Raises:
        ValueError: ROS would refuse it.
    """
    bare = name.strip("/")
    if not _NAMESPACE.fullmatch(bare) or "__" in bare or bare.endswith("_"):
        raise ValueError(
            f"{name!r} is no namespace: letters, digits and single underscores, not beginning with a digit nor ending "
            "with an underscore, such as world_1."
        )
    return bare


def namespaces_of(worlds: int, prefix: str = "") -> list[str]:
    """Namespaces of so many worlds: of a single one the prefix itself, otherwise world_0, world_1, ... below it.

    Raises:
        ValueError: Fewer than one, or a prefix that is no namespace.
    """
    if worlds < 1:
        raise ValueError(f"there must be at least one world; got {worlds}.")
    prefix = check_namespace(prefix) if prefix.strip("/") else ""
    if worlds == 1:
        return [prefix]
    return [f"{prefix}/world_{i}".strip("/") for i in range(worlds)]


class Session:
    """Steps the worlds together. Simulated time only ever increases: a reset or a restore is the next frame.

    Nothing here knows ROS. A call that fails changes nothing.
    """

    def __init__(
        self,
        envs: SanaWMVectorEnv,
        namespaces: Sequence[str],
        *,
        seed: int = 0,
        holonomic: bool = False,
        accelerations: tuple[float, float] = (np.inf, np.inf),
        scan_range: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        """Take over an environment.

        Args:
            envs: Without a task and without an end, `info_frames=True`, a slot for each namespace.
            namespaces: Of the robots.
            seed: World i begins with `seed + i`.
            holonomic: Whether robots can move to the side and up (`TwistActions`); otherwise they have two wheels
                (`DifferentialDrive`).
            accelerations: Greatest change of speed, m/s^2, and of turning, rad/s^2, of those with wheels.
            scan_range: Least and greatest range of the laser, metres.
        """
        if len(namespaces) != envs.num_envs:
            raise ValueError(f"{len(namespaces)} namespaces for {envs.num_envs} worlds; give one for each.")
        self._holonomic, self._accelerations = holonomic, accelerations
        self._use(envs)
        self._slots = {name: slot for slot, name in enumerate(namespaces)}
        self.seeds = {name: seed + slot for name, slot in self._slots.items()}
        """With which each world begins anew."""
        self.contacts: dict[str, dict[str, float]] = {}
        """Of each robot, if its environment reports contact: `collisions` since its reset, `clearance` in metres."""
        self._scan_range = scan_range
        self._snapshots: dict[str, EnvSnapshot] = {}
        self._poses: dict[str, NDArray[np.float64]] = {}
        self._index = -1

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Of the robots there are."""
        return tuple(self._slots)

    @property
    def fps(self) -> float:
        """Frames per simulated second."""
        return float(self._envs.model.config.fps)

    @property
    def frames_per_step(self) -> int:
        """Frames of a step."""
        return self._envs.frames_per_step

    @property
    def top_speeds(self) -> tuple[float, float]:
        """m/s along an axis and rad/s about one that a step can reach."""
        return self._top_speeds

    @property
    def now(self) -> int:
        """Simulated time of the last frame, nanoseconds; 0 before `begin`."""
        return nanoseconds(self._index, self.fps, START) if self._index >= 0 else 0

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Names of the moments that were kept."""
        return tuple(self._snapshots)

    def begin(self) -> dict[str, list[Frame]]:
        """Begin every world; frame 0 of each."""
        _, info = self._envs.reset(seed=[self.seeds[name] for name in self._slots])
        return self._show(info, self.namespaces, alone=True)

    def step(self, twists: Mapping[str, NDArray[np.float64]]) -> dict[str, list[Frame]]:
        """Move every robot for a step.

        Args:
            twists: `(6,)` of each robot, m/s and rad/s in its own axes, within `top_speeds`.

        Returns:
            The frames of each.
        """
        actions = np.stack([twists[name] for name in self._slots])
        if not self._holonomic:
            actions = actions[:, [0, 5]]
        high = self._moved.single_action_space.high
        info = self._moved.step(actions.clip(-high, high))[-1]
        return self._show(info, self.namespaces)

    def reset(self, namespace: str) -> Frame:
        """Begin one world anew, with its seed: the same seed is the same world again."""
        slot = self._slot(namespace)
        mask = np.arange(self._envs.num_envs) == slot
        seeds = [self.seeds[namespace] if chosen else None for chosen in mask]
        _, info = self._envs.reset(seed=seeds, options={"reset_mask": mask})
        return self._show(info, [namespace], alone=True)[namespace][0]

    def snapshot(self, namespace: str, name: str) -> None:
        """Keep this moment of a world under a name, in place of what had it before.

        Raises:
            ValueError: No name, or too many of them.
        """
        slot = self._slot(namespace)
        if not name:
            raise ValueError("a snapshot needs a name; set the parameter 'snapshot'.")
        if name not in self._snapshots and len(self._snapshots) >= SNAPSHOTS:
            raise ValueError(f"{SNAPSHOTS} snapshots are kept already; use one of their names again.")
        self._snapshots[name] = self._envs.snapshot(slot)

    def restore(self, namespace: str, name: str) -> Frame:
        """Put a world back to a moment, of its own or of another world.

        Raises:
            ValueError: No snapshot of that name.
        """
        slot = self._slot(namespace)
        if name not in self._snapshots:
            known = ", ".join(sorted(self._snapshots)) or "none yet"
            raise ValueError(f"there is no snapshot {name!r}; there are: {known}.")
        _, info = self._envs.restore([self._snapshots[name]], slots=[slot])
        return self._show(info, [namespace], alone=True)[namespace][0]

    def fork(self, namespace: str, new: str) -> Frame:
        """Let a second robot go on from where one is, in a world that shares its past.

        Raises:
            ValueError: The new namespace is in use, or none at all.
        """
        slot, new = self._slot(namespace), check_namespace(new)
        if new in self._slots:
            raise ValueError(f"there is a robot {new!r} already; choose another namespace for the fork.")
        count = self._envs.num_envs
        twice = self._envs.fork(2)  # world i is its slots 2 i and 2 i + 1
        self._use(twice.fork(1, slots=[*range(0, 2 * count, 2), 2 * slot + 1]))
        self._slots[new] = count
        self.seeds[new] = self.seeds[namespace]
        _, info = self._envs.restore([self._envs.snapshot(count)], slots=[count])
        return self._show(info, [new], alone=True)[new][0]

    # -- parts --------------------------------------------------------------------------------------------

    def _use(self, envs: SanaWMVectorEnv) -> None:
        self._envs = envs
        self._top_speeds = envs.max_translation / envs.step_seconds, envs.max_rotation / envs.step_seconds
        self._moved: Any = (
            VectorTwistActions(envs)
            if self._holonomic
            else VectorDifferentialDrive(envs, *self._top_speeds, *self._accelerations)
        )

    def _slot(self, namespace: str) -> int:
        if namespace not in self._slots:
            raise ValueError(f"there is no robot {namespace!r}; there are {', '.join(map(repr, self._slots))}.")
        return self._slots[namespace]

    def _show(self, info: Mapping[str, Any], namespaces: Sequence[str], alone: bool = False) -> dict[str, list[Frame]]:
        """Frames of some robots, at the next times; `alone`: where they are now, without a way there."""
        intrinsics = self._envs.state.intrinsics.cpu().numpy()
        shown: dict[str, list[Frame]] = {}
        for name in namespaces:
            slot = self._slots[name]
            shown[name] = frames_of(
                {key: info[key][slot] for key in _SHOWN if key in info},
                intrinsics[slot],
                self._index + 1,
                self.fps,
                before=None if alone else self._poses[name],
                scan_range=self._scan_range,
                last_only=alone,
            )
            self._poses[name] = shown[name][-1].c2w
            self.contacts[name] = {key: float(info[key][slot]) for key in _FELT if key in info}
        self._index += len(shown[namespaces[0]])
        return shown
