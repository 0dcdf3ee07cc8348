"""Smooth random camera motion through the free space of a scene, or of anything else that knows where it is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.scenes.scene import Scene

Array = NDArray[np.float64]

MAX_TRANSLATION = 0.06
"""Fastest camera, metres per frame at 16 frames/s."""
MAX_ROTATION = np.deg2rad(1.5)
"""Fastest turn, radians per frame at 16 frames/s."""
TYPICAL_TRANSLATION = 0.025
"""Usual speed, metres per frame."""
TYPICAL_ROTATION = np.deg2rad(0.6)
"""Usual turn, radians per frame."""
MAX_PITCH = np.deg2rad(25.0)
"""Steepest view."""
CLEARANCE = 0.35
"""The camera keeps this far (m) from everything."""

# Share of each kind of motion; the first four move along one axis only.
KINDS: dict[str, float] = {
    "yaw": 0.14, "pitch": 0.07, "forward": 0.13, "strafe": 0.08,
    "combined": 0.36, "walk": 0.10, "return": 0.09, "idle": 0.03,
}  # fmt: skip
CANDIDATES = 16
"""Paths proposed for each clip."""

# Columns of a control: forward, right, up (m/frame), yaw, pitch, roll (rad/frame).
_AXES = {"yaw": (3,), "pitch": (4,), "forward": (0,), "strafe": (1,), "idle": (3,)}


class Space(Protocol):
    """Where a camera may go: +y points down, the floor is near y = 0, lengths are metres."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest x, smallest and largest z of its floor."""

    def clearance(self, points: Array) -> Array:
        """Metres from points `(..., 3)` to the nearest surface, `(...)`; negative inside of something."""


class _SceneSpace:
    """One procedural scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        x0, x1, z0, z1 = scene.bounds[0].double().tolist()
        self.bounds = (x0, x1, z0, z1)

    def clearance(self, points: Array) -> Array:
        flat = torch.from_numpy(points.reshape(1, -1, 3)).float()
        found: Array = self._scene.clearance(flat).numpy().astype(np.float64).reshape(points.shape[:-1])
        return found


def smooth_motion(seeds: Sequence[int], scene: Scene, frames: int, fps: float = 16.0) -> Tensor:
    """Draws one camera path for each scene; path i depends only on seeds[i] and scene i.

    Speed targets are held for one to two seconds and followed with inertia. Paths are proposed until one
    keeps `CLEARANCE` and a view that is not full of wall; a path that gets stuck everywhere eases to a stop.

    Args:
        seeds: `B` integers.
        scene: `B` scenes.
        frames: Length of the paths.
        fps: Frame rate; speeds per frame scale with 16 / fps.

    Returns:
        (B, F, 4, 4) float32 camera-to-world poses in the scene's world, on its device.
    """
    if len(seeds) != scene.batch:
        raise ValueError(f"{scene.batch} scenes need as many seeds, got {len(seeds)}")
    if frames < 1 or not fps > 0:
        raise ValueError(f"a path needs frames >= 1 and fps > 0, got {frames} and {fps}")
    host = scene.to("cpu")
    paths = [free_path(int(seed), _SceneSpace(host.select(i)), frames, fps) for i, seed in enumerate(seeds)]
    return torch.from_numpy(np.stack(paths)).to(scene.device, torch.float32)


def free_path(seed: int, space: Space, frames: int, fps: float = 16.0, *, level: bool = False) -> Array:
    """One path of `smooth_motion` through any space.

    Args:
        seed: Of everything drawn.
        space: Where the camera may go.
        frames: Length of the path.
        fps: Frame rate.
        level: Only turn about the vertical, and stay at one height.

    Returns:
        (F, 4, 4) camera-to-world poses in the space's world, m.
    """
    rng, rate = np.random.default_rng([seed, 2]), 16.0 / fps
    steps = np.cumsum(list(KINDS.values()))[:-1]
    kind = list(KINDS)[int(np.searchsorted(steps, rng.random(), side="right"))]
    state = _propose(rng, space, kind, frames, rate)  # (C, F, 6): x, y, z, yaw, pitch, roll
    if level:
        state[..., 1], state[..., 4:] = state[:, :1, 1], 0.0
    clear = space.clearance(state[..., :3])
    view = _open_view(space, state)
    free = (clear >= CLEARANCE).all(1)
    good = free & (view > 0.9)
    if good.any():
        best = int(good.argmax())
    elif free.any():
        best = int((free * (1 + view)).argmax())
    else:
        return _poses(_ease(state, clear))
    return _poses(state[best])


def _open_view(space: Space, state: Array) -> Array:
    """Share of points up to 2 m in front of the first, middle and last camera that are free: (C,)."""
    frames = state.shape[1]
    some = state[:, [0, frames // 2, frames - 1]]
    angle = some[:, :, 3, None, None] + np.array([-0.4, 0.0, 0.4])[:, None]
    reach = np.array([0.7, 1.3, 2.0])
    away = np.stack([np.sin(angle) * reach, np.zeros_like(angle) * reach, np.cos(angle) * reach], -1)
    share: Array = (space.clearance(some[:, :, None, None, :3] + away) > 0).mean((1, 2, 3))
    return share


def _ease(state: Array, clear: Array) -> Array:
    """Takes the path that stays free longest and lets its translation come to rest before the obstacle."""
    blocked = clear < CLEARANCE
    prefix = np.where(blocked.any(1), blocked.argmax(1), clear.shape[1])
    best = int(prefix.argmax())
    path, last = state[best].copy(), max(int(prefix[best]) - 1, 0)
    frame = np.arange(len(path))
    at = last * (1 - np.exp(-frame / last)) if last else np.zeros(len(path))
    for i in range(3):
        path[:, i] = np.interp(at, frame, state[best][:, i])
    return path


def _propose(rng: np.random.Generator, space: Space, kind: str, frames: int, rate: float) -> Array:
    """`CANDIDATES` paths of one kind from roomy starts: (C, F, 6)."""
    start = _starts(rng, space)
    control = _controls(rng, kind, frames, rate)
    turn = np.cumsum(control[..., 3:], 1) - control[:, :1, 3:]
    yaw = start[:, None, 3] + turn[..., 0]
    # The soft limit on pitch only ever slows the camera down.
    pitch = MAX_PITCH * np.tanh((start[:, None, 4] + turn[..., 1]) / MAX_PITCH)
    sin, cos = np.sin(yaw), np.cos(yaw)
    step_x = control[..., 0] * sin + control[..., 1] * cos
    step_z = control[..., 0] * cos - control[..., 1] * sin
    steps = np.stack([step_x, -control[..., 2], step_z], -1)
    moved = np.cumsum(steps, 1) - steps[:, :1]
    moved[..., 1] = 0.25 * np.tanh(moved[..., 1] / 0.25)
    state = np.concatenate([start[:, None, :3] + moved, np.stack([yaw, pitch, turn[..., 2]], -1)], -1)
    if kind == "return" and frames > 2:
        # There and back along the same path, smoothly: the path index follows one raised cosine, whose
        # amplitude keeps it from ever running faster than one frame per frame.
        at = (frames - 1) / np.pi * (1 - np.cos(2 * np.pi * np.arange(frames) / (frames - 1))) / 2
        low = np.floor(at).astype(int)
        part = (at - low)[:, None]
        state = state[:, low] * (1 - part) + state[:, np.minimum(low + 1, frames - 1)] * part
    return state


def _starts(rng: np.random.Generator, space: Space) -> Array:
    """Free standing places (x, y, z, yaw, pitch) in random order, with random headings: (C, 5)."""
    draw = rng.random((4 * CANDIDATES, 5))
    x0, x1, z0, z1 = space.bounds
    x, z = x0 + (x1 - x0) * draw[:, 0], z0 + (z1 - z0) * draw[:, 1]
    pitch = np.deg2rad(8) * (2 * draw[:, 4] - 1)
    place = np.stack([x, -(1.3 + 0.35 * draw[:, 2]), z, 2 * np.pi * draw[:, 3], pitch], -1)
    room = space.clearance(place[:, :3])
    # Free places in their random order come first, so that rooms are not only seen from their middle.
    rank = np.where(room >= CLEARANCE + 0.2, np.arange(len(room)), len(room) + 1 - room)
    return np.asarray(place[np.argsort(rank, kind="stable")[:CANDIDATES]])


def _controls(rng: np.random.Generator, kind: str, frames: int, rate: float) -> Array:
    """Velocities (C, F, 6) per frame: random targets followed by a critically damped filter."""
    warm = 24  # frames simulated before the first one, so that many clips start in full motion
    total = frames + warm
    target = np.zeros((CANDIDATES, total, 6))
    at = 0
    while at < total:
        hold = int((16 + 16 * rng.random()) / rate)
        target[:, at : at + hold] = _target(rng, kind)[:, None]
        at += max(hold, 1)
    if rng.random() < 0.35:
        target[:, :warm] = 0  # start from rest
    control, pull = np.zeros_like(target), 1 - np.exp(-rate / 2.5)
    first, second = target[:, 0].copy(), target[:, 0].copy()
    for f in range(total):
        first += pull * (target[:, f] - first)
        second += pull * (first - second)
        control[:, f] = second
    return control[:, warm:] * rate


def _target(rng: np.random.Generator, kind: str) -> Array:
    """One speed target per candidate, (C, 6), within the limits."""
    speed = np.exp(rng.normal(0, 0.5, (CANDIDATES, 6)))
    sign = np.where(rng.random((CANDIDATES, 6)) < 0.5, -1.0, 1.0)
    unit = np.array([TYPICAL_TRANSLATION] * 3 + [TYPICAL_ROTATION] * 3)
    target = speed * sign * unit * np.array([1.2, 0.9, 0.35, 1.1, 0.6, 0.0])
    on = rng.random((CANDIDATES, 6))
    if kind in _AXES:
        keep = np.isin(np.arange(6), _AXES[kind])[None] & (on < 0.9)
        if kind == "idle":
            keep = keep & (on < 0.3)
        else:
            target = target * 1.15
    elif kind == "walk":  # forwards with steering
        target[:, 0] = np.abs(target[:, 0])
        keep = np.array([True, False, False, True, False, False])[None] & (on < 0.95)
    else:
        keep = on < np.array([0.75, 0.45, 0.2, 0.75, 0.35, 0.0])
        keep = keep & (rng.random((CANDIDATES, 1)) < 0.92)  # now and then everything stops
    target = np.where(keep, target, 0.0)
    for part, limit in ((slice(0, 3), MAX_TRANSLATION), (slice(3, 6), MAX_ROTATION)):
        size = np.linalg.norm(target[:, part], axis=1, keepdims=True)
        target[:, part] *= np.minimum(1.0, limit / np.maximum(size, 1e-12))
    return target


def _poses(state: Array) -> Array:
    """(F, 6) x, y, z, yaw, pitch (up is positive), roll to (F, 4, 4) camera-to-world."""
    yaw, pitch, roll = state[:, 3], state[:, 4], state[:, 5]
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(*entries: Array) -> Array:
        return np.stack(entries, -1).reshape(-1, 3, 3)

    c, s = np.cos(yaw), np.sin(yaw)
    about_y = matrix(c, zero, s, zero, one, zero, -s, zero, c)
    c, s = np.cos(pitch), np.sin(pitch)
    about_x = matrix(one, zero, zero, zero, c, -s, zero, s, c)
    c, s = np.cos(roll), np.sin(roll)
    about_z = matrix(c, -s, zero, s, c, zero, zero, zero, one)
    pose = np.tile(np.eye(4), (len(state), 1, 1))
    pose[:, :3, :3] = about_y @ about_x @ about_z
    pose[:, :3, 3] = state[:, :3]
    return pose
