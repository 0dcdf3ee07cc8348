"""`SensorSuite`: what an environment with sensors or contact computes beside its world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.camera.trajectory import KeyboardState
from sanawm_env.envs.sensors.arguments import read_body, read_sensors
from sanawm_env.envs.sensors.contact import Body, Contact, free_path, stop_short
from sanawm_env.envs.sensors.depth import Depth, DepthSource
from sanawm_env.envs.sensors.points import seen_points
from sanawm_env.envs.sensors.scan import Scan, laser_scan
from sanawm_env.envs.sensors.sources import depth_source
from sanawm_env.world.model import WorldModel

if TYPE_CHECKING:
    from sanawm_env.envs.settings import Settings
    from sanawm_env.envs.slots import Slots

__all__ = ["SensorSuite"]

Poses = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SensorSuite:
    """Depth, and what is read from it: a laser scan and contact. Nothing in it changes."""

    source: DepthSource
    """Where depth comes from. Pickles leave it out (None then): it holds a network; `with_model` finds it again."""
    camera: Depth
    """Settings of the depth that all else is read from."""
    depth: Depth | None
    """Those of the sensor; None is not shown."""
    scan: Scan | None
    """Settings of the laser scan; None is none."""
    contact: str
    """`none`, `report` or `block`."""
    body: Body
    """Who touches."""
    size: tuple[int, int]
    """Rows and columns of observed depth."""

    @classmethod
    def of(cls, settings: Settings, size: tuple[int, int], model: WorldModel) -> SensorSuite | None:
        """The suite that settings ask for; None where they ask for nothing.

        Raises:
            ValueError, FileNotFoundError, ImportError: There is no depth for this world; names the fix.
        """
        sensors = read_sensors(settings.sensors)
        if not sensors and settings.contact == "none":
            return None
        depth = next((sensor for sensor in sensors if isinstance(sensor, Depth)), None)
        scan = next((sensor for sensor in sensors if isinstance(sensor, Scan)), None)
        camera = depth or Depth()
        source, body = depth_source(camera, model), read_body(settings.body)
        return cls(source, camera, depth, scan, settings.contact, body, size)

    def with_model(self, model: WorldModel) -> SensorSuite:
        """The same for a world of this model."""
        source = depth_source(self.camera, model) if self.source is None else self.source.with_model(model)
        return replace(self, source=source)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"source": None}

    # -- from moment to moment ----------------------------------------------------------------------------

    def sense(self, slots: Slots) -> Slots:
        """The same slots with the depth of what they show; those without a `Contact` get their first.

        Raises:
            ValueError: A depth source of the user's gave no depth.
        """
        depth = self.source.depth(slots.state, slots.last_frames)
        for image in depth:
            image.flags.writeable = False
        seen = replace(slots, depth=tuple(depth))
        if self.contact == "none":
            return replace(seen, contacts=(None,) * len(slots))
        return replace(seen, contacts=tuple(contact or self._first(seen, i) for i, contact in enumerate(seen.contacts)))

    def step_depth(self, slots: Slots, slot: int) -> NDArray[np.float32]:
        """Depth `(F, H, W)` of all frames of a slot's last step; environments themselves look at the last alone."""
        state, frames = slots.state.narrow(slot), slots.step_frames(slot)
        poses = torch.from_numpy(slots.step_poses(slot).copy()).to(state.device)
        before = [
            self.source.depth(state.changed(c2w=poses[i : i + 1]), [frames[i]])[0] for i in range(len(frames) - 1)
        ]
        return np.stack([*before, self._depth_of(slots, slot)])

    def move(
        self, now: Slots, poses: Poses, keyboards: list[KeyboardState | None]
    ) -> tuple[Poses, list[KeyboardState | None], tuple[Contact | None, ...]]:
        """Let bodies go where controls want them, as far as what is seen now allows.

        Args:
            now: The present, of N slots with depth.
            poses: `(N, F, 4, 4)` that the controls ask for.
            keyboards: N keyboards after it.

        Returns:
            Poses and keyboards, changed only where contact blocks, and the contacts of the step.
        """
        if self.contact == "none":
            return poses, keyboards, now.contacts
        contacts, keyboards, poses = [], list(keyboards), poses.copy()
        for i, before in enumerate(now.contacts):
            share, clearance = free_path(self._points(now, i), now.c2w[i], poses[i], self.body)
            collided = share < 1
            contacts.append(Contact((before or Contact()).collisions + collided, collided, clearance))
            if collided and self.contact == "block":
                poses[i] = stop_short(now.c2w[i], poses[i], share)
                if (keyboard := keyboards[i]) is not None:
                    # What has run into something has no speed left; it goes on turning.
                    still = (0.0, 0.0, *keyboard.velocity[2:])
                    keyboards[i] = replace(keyboard, c2w=poses[i, -1], velocity=still)
        return poses, keyboards, tuple(contacts)

    @staticmethod
    def _depth_of(slots: Slots, slot: int) -> NDArray[np.float32]:
        if (depth := slots.depth[slot]) is None:
            raise ValueError("this moment has no depth; begin with Simulator.begin, or take it over with adopt.")
        return depth

    def _points(self, slots: Slots, slot: int) -> NDArray[np.float64]:
        """What a slot knows of its world's surfaces: `(M, 3)` points."""
        state = slots.state
        camera, first = state.intrinsics[slot].cpu().numpy(), state.first_disparity[slot].cpu().numpy()
        return seen_points(self._depth_of(slots, slot), camera, slots.c2w[slot], first)

    def _first(self, slots: Slots, slot: int) -> Contact:
        """Before anything moved."""
        here = slots.c2w[slot]
        return Contact(clearance=free_path(self._points(slots, slot), here, here[None], self.body)[1])

    # -- showing ------------------------------------------------------------------------------------------

    @property
    def entries(self) -> dict[str, spaces.Space[Any]]:
        """Spaces that sensors add to one slot's observations."""
        shown: dict[str, spaces.Space[Any]] = {}
        if self.depth is not None:
            shown["depth"] = spaces.Box(0.0, float(self.depth.max_depth), self.size, np.float32)
        if self.scan is not None:
            shown["scan"] = spaces.Box(0.0, float(self.scan.range_max), (self.scan.rays,), np.float32)
        return shown

    def show(self, slots: Slots) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """What sensors add to observations and to info, each entry with the slots' axis first, in memory of its own."""
        seen: dict[str, NDArray[Any]] = {}
        info: dict[str, NDArray[Any]] = {}
        images = [self._depth_of(slots, i) for i in range(len(slots))]
        if self.depth is not None:
            limit = np.float32(self.depth.max_depth)
            seen["depth"] = np.stack([_sized(image, self.size) for image in images]).clip(0, limit)
            whole = np.stack(images)
            whole[whole > limit] = np.inf
            info["depth"] = whole
        if self.scan is not None:
            cameras = slots.state.intrinsics.cpu().numpy()
            scans = [
                laser_scan(image, camera, c2w, self.scan)
                for image, camera, c2w in zip(images, cameras, slots.c2w, strict=True)
            ]
            ranges = np.stack([one for one, _, _ in scans])
            # No NaN in info: environment checkers compare it with itself.
            info["scan_seen"] = ~np.isnan(ranges)
            info["scan"] = np.where(info["scan_seen"], ranges, np.float32(np.inf))
            info["scan_angles"] = np.stack(
                [start + step * np.arange(self.scan.rays) for _, start, step in scans]
            ).astype(np.float32)
            seen["scan"] = info["scan"].clip(0, np.float32(self.scan.range_max))
        if self.contact != "none":
            contacts = [contact or Contact() for contact in slots.contacts]
            info["collisions"] = np.array([contact.collisions for contact in contacts])
            info["collided"] = np.array([contact.collided for contact in contacts])
            info["clearance"] = np.array([contact.clearance for contact in contacts])
        return seen, info


def _sized(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Depth at another size, each pixel that of the nearest one: between two surfaces there is no third."""
    if depth.shape == size:
        return depth
    rows, columns = (((np.arange(n) + 0.5) * of / n).astype(int) for n, of in zip(size, depth.shape, strict=True))
    return depth[rows[:, None], columns]
