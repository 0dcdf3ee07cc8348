"""A world along a path, or under a policy, as the frames of a robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.robot import Frame, frames_of

from sanawm_env.world.model import WorldModel
from sanawm_env.world.rollout import states_along
from sanawm_env.world.state import WorldState

if TYPE_CHECKING:
    from sanawm_env.envs.env import SanaWMEnv
    from sanawm_env.evaluation.policy.trials import Player

__all__ = ["Sense", "frames_along", "frames_under", "scan_range", "sense_with"]

SCAN_RANGE = (0.1, 10.0)
"""Metres, without a laser."""

Sense: TypeAlias = "Callable[[WorldState, NDArray[np.uint8]], dict[str, Any]]"
"""From a state of one slot and its picture `(H, W, 3)` to `depth`, `scan` and `scan_angles`, as info has them."""


def frames_along(
    world: WorldModel,
    state: WorldState,
    c2w: NDArray[np.float64],
    *,
    stamps: NDArray[np.int64] | None = None,
    rate: float | None = None,
    sense: Sense | None = None,
    scan_range: tuple[float, float] = SCAN_RANGE,
    **options: Any,
) -> Iterator[Frame]:
    """A world along a path, as a robot's frames: those of `world.rollout.rollout`, bit for bit.

    Args:
        world: The world.
        state: Of one slot, at frame 0.
        c2w: `(F, 4, 4)` poses relative to frame 0, metres, that of frame 0 first.
        stamps: `(F,)` nanoseconds; None counts from 1 s on.
        rate: Frames per second between these, from which velocities follow; None is the world's.
        sense: Sensors; they see frame 0 and the last frame of every chunk.
        scan_range: Least and greatest range of the laser, metres.
        **options: Of `states_along`.
    """
    before, done, fps = None, 0, rate or world.config.fps
    intrinsics = state.intrinsics[0].cpu().numpy()
    first = state.last_frame.cpu().numpy()[:, None]
    for reached, (pictures,) in chain([(state, first)], states_along(world, state, c2w[None, 1:], **options)):
        poses = c2w[done : done + len(pictures)]
        info = {"frames": pictures, "frame_c2w": poses} | ({} if sense is None else sense(reached, pictures[-1]))
        for frame in frames_of(info, intrinsics, done, fps, before=before, scan_range=scan_range):
            yield frame if stamps is None else replace(frame, stamp=int(stamps[frame.index]))
        before, done = poses[-1], done + len(pictures)


def frames_under(
    env: SanaWMEnv, policy: Player, seed: int, steps: int, scan_range: tuple[float, float] = SCAN_RANGE
) -> Iterator[Frame]:
    """One episode that a policy plays, until it ends or so many steps are made.

    Args:
        env: The environment.
        policy: Who acts.
        seed: Of the reset.
        steps: The most.
        scan_range: Least and greatest range of the laser, metres.
    """
    observation, info = env.reset(seed=seed)
    policy.begin(env, observation, info)
    intrinsics, fps = env.snapshot().state.intrinsics[0].cpu().numpy(), env.model.config.fps
    (first,) = frames_of(info, intrinsics, 0, fps, scan_range=scan_range, last_only=True)
    yield first
    before, done = first.c2w, 1
    for _ in range(steps):
        observation, _, terminated, truncated, info = env.step(policy.act(observation, info))
        frames = frames_of(info, intrinsics, done, fps, before=before, scan_range=scan_range)
        yield from frames
        before, done = frames[-1].c2w, done + len(frames)
        if terminated or truncated:
            return


def scan_range(sensors: Sequence[Any]) -> tuple[float, float]:
    """Least and greatest range of the laser among sensors, metres."""
    if not sensors:
        return SCAN_RANGE
    from sanawm_env.envs.sensors.arguments import read_sensors
    from sanawm_env.envs.sensors.scan import Scan

    laser = next((each for each in read_sensors(sensors) if isinstance(each, Scan)), Scan())
    return laser.range_min, laser.range_max


def sense_with(world: WorldModel, sensors: Sequence[Any]) -> Sense | None:
    """What `SanaWMEnv(world, sensors=sensors)` would add to info; None without sensors.

    Args:
        world: The world.
        sensors: Names or settings; none is no sense.

    Raises:
        ValueError, FileNotFoundError, ImportError: An unknown sensor, or no depth for this world.
    """
    if not sensors:
        return None
    from sanawm_env.envs.sensors.arguments import read_sensors
    from sanawm_env.envs.sensors.depth import Depth
    from sanawm_env.envs.sensors.scan import Scan, laser_scan
    from sanawm_env.envs.sensors.sources import depth_source

    given = read_sensors(sensors)
    shown = next((each for each in given if isinstance(each, Depth)), None)
    laser = next((each for each in given if isinstance(each, Scan)), None)
    source = depth_source(shown or Depth(), world)

    def sense(state: WorldState, picture: NDArray[np.uint8]) -> dict[str, Any]:
        (depth,) = source.depth(state, [picture])
        found: dict[str, Any] = {}
        if shown is not None:
            found["depth"] = np.where(depth > shown.max_depth, np.float32(np.inf), depth)
        if laser is not None:
            camera, c2w = state.intrinsics[0].cpu().numpy(), state.c2w[0].cpu().numpy()
            ranges, first, apart = laser_scan(depth, camera, c2w, laser)
            found |= {"scan": ranges, "scan_angles": first + apart * np.arange(len(ranges))}
        return found

    return sense
