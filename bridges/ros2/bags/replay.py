"""A robot's recording inside a world: its first picture, its path, and what the world shows along it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sanawm_env.bridges.ros2.bags.recording import Recording
from sanawm_env.bridges.ros2.bags.walk import frames_along
from sanawm_env.bridges.ros2.bags.writer import BagWriter
from sanawm_env.bridges.ros2.topics import CLOCK, TYPES
from scipy.spatial.transform import Rotation

from sanawm_env.camera import fit_image
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.files import write_json
from sanawm_env.scenes.start_image import StartImage, prepare
from sanawm_env.video import VideoWriter
from sanawm_env.world.checkpoints.prompts import Text
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.recipe import relative
from sanawm_env.world.rollout import begin

__all__ = ["FORMAT", "Plan", "plan_replay", "replay"]

FORMAT = "sanawm_env.ros2_replay"
NAMESPACE = "world"
_EARLY = 50_000_000
"""Nanoseconds by which the first picture may precede the first pose."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a replay will do."""

    start: StartImage
    """The robot's picture and its camera at the world's size."""
    stamps: NDArray[np.int64]
    """`(F,)` moments of the world's frames by the robot's clock, nanoseconds."""
    c2w: NDArray[np.float64]
    """`(F, 4, 4)` poses at these moments, relative to the first."""
    nearest: NDArray[np.int64]
    """`(F,)` index of the robot's image that lies nearest to each."""
    rate: float
    """Frames per second of the robot's time."""
    notes: tuple[str, ...]


def plan_replay(
    recording: Recording,
    world: WorldModel,
    *,
    seconds: float | None = None,
    slow: float = 1.0,
    fov_deg: float | None = None,
) -> Plan:
    """Moments, poses and the first picture.

    Args:
        recording: The robot's.
        world: Where to walk.
        seconds: At most so much of the robot's time.
        slow: How many times slower the world walks than the robot did.
        fov_deg: Horizontal field of view in degrees; None is that of `CameraInfo`, or the checkpoint's default.

    Raises:
        ValueError: No picture while the path is known, or less than two frames of it.
    """
    config, path = world.config, recording.path
    usable = np.flatnonzero((recording.stamps >= path.start - _EARLY) & (recording.stamps < path.end))
    if not len(usable):
        first, last = recording.stamps[[0, -1]] / 1e9
        raise ValueError(
            f"no image was taken while the path was known: images are from {first:.2f} to {last:.2f} s, {path.source} "
            f"from {path.start / 1e9:.2f} to {path.end / 1e9:.2f} s. Their clocks may differ."
        )
    notes = list(recording.notes)
    begin = int(recording.stamps[usable[0]])
    end = path.end if seconds is None else min(path.end, begin + round(seconds * 1e9))
    rate = config.fps * slow
    count = int((end - begin) / 1e9 * rate) + 1
    if count < 2:
        raise ValueError(f"the path is known for {(end - begin) / 1e9:.3f} s after the first image: not a frame long.")
    stamps = begin + np.round(np.arange(count) * 1e9 / rate).astype(np.int64)
    c2w = relative(path.poses(stamps))
    notes += _too_fast(c2w, world, slow)
    picture = next(recording.images([int(usable[0])]))
    camera = recording.lens.intrinsics if recording.lens is not None and fov_deg is None else None
    start = prepare(
        picture, config.width, config.height,
        intrinsics=camera, fov_deg=fov_deg, default_fov_deg=config.default_fov_deg,
    )  # fmt: skip
    if start.fov_assumed:
        notes.append(
            f"no CameraInfo describes the images; assuming a horizontal field of view of "
            f"{config.default_fov_deg:g} degrees (--fov sets another)."
        )
    after = np.searchsorted(recording.stamps, stamps).clip(1, max(1, len(recording.stamps) - 1))
    after = np.minimum(after, len(recording.stamps) - 1)
    before = np.maximum(after - 1, 0)
    earlier = stamps - recording.stamps[before] <= np.abs(recording.stamps[after] - stamps)
    return Plan(start, stamps, c2w, np.where(earlier, before, after), rate, tuple(notes))


def replay(
    recording: Recording,
    plan: Plan,
    world: WorldModel,
    out: Path,
    *,
    seed: int = 0,
    texts: Sequence[Text] | None = None,
    storage: str = "mcap",
    progress: Callable[[int], Any] = lambda frames: None,
    **options: Any,
) -> dict[str, Any]:
    """Walk, and write a folder: `world.mcap`, `side_by_side.mp4` (robot, world) and `replay.json`.

    Args:
        recording: The robot's.
        plan: Of `plan_replay`.
        world: Where to walk.
        out: The folder; must not be there. It takes its name when it is whole.
        seed: Of the noise.
        texts: Of the one path, as `world.rollout` takes them.
        storage: `mcap` or `sqlite3`.
        progress: Called with 1 for each frame.
        **options: Of `states_along`.

    Returns:
        What `replay.json` holds.

    Raises:
        FileExistsError: Something is at `out`.
        ValueError: Images that cannot be read, or text for a world without, or the reverse.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; choose another --out, or remove it.")
    config, (state, _) = world.config, begin(world, [plan.start], [seed], texts)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    bag_name = "world.mcap" if storage == "mcap" else "world.db3"
    topics = [topic for topic in TYPES if topic != CLOCK]  # the robot's bag brings the clock
    scores, frozen = [], []
    try:
        with (
            BagWriter(temporary / bag_name, storage, single=True, namespace=NAMESPACE, topics=topics) as bag,
            VideoWriter(temporary / "side_by_side.mp4", config.fps) as video,
        ):
            frames = frames_along(world, state, plan.c2w, stamps=plan.stamps, rate=plan.rate, **options)
            shown = recording.images(plan.nearest.tolist())
            for frame, picture in zip(frames, shown, strict=False):
                theirs, _ = fit_image(picture, None, config.width, config.height)
                bag.publish(frame)
                video.write(np.concatenate([theirs, frame.rgb], axis=1))
                scores.append(float(psnr(frame.rgb, theirs)))
                frozen.append(float(psnr(plan.start.image, theirs)))
                progress(1)
        found = _report(recording, plan, world, seed, bag.counts, np.array(scores), np.array(frozen))
        write_json(temporary / "replay.json", found)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _report(
    recording: Recording,
    plan: Plan,
    world: WorldModel,
    seed: int,
    counts: dict[str, int],
    scores: NDArray[np.float64],
    frozen: NDArray[np.float64],
) -> dict[str, Any]:
    """What `replay.json` holds; `standing_still` is the score of a world that goes on showing the first picture."""
    apart = np.abs(recording.stamps[plan.nearest[: len(scores)]] - plan.stamps[: len(scores)])
    second = max(1, round(world.config.fps))
    length = np.linalg.norm(np.diff(plan.c2w[:, :3, 3], axis=0), axis=-1).sum()
    return {
        "format": FORMAT,
        "version": 1,
        "bag": str(recording.bag.path),
        "image_topic": recording.image_topic,
        "camera_info_topic": None if recording.lens is None else recording.lens.topic,
        "path": recording.path.source,
        "checkpoint": world.config.name,
        "checkpoint_hash": world.checkpoint,
        "seed": seed,
        "intrinsics": plan.start.intrinsics.tolist(),
        "robot_images": len(recording.stamps),
        "robot_images_shown": len(set(plan.nearest[: len(scores)].tolist())),
        "frames": len(scores),
        "first_stamp": int(plan.stamps[0]),
        "last_stamp": int(plan.stamps[len(scores) - 1]),
        "path_metres": round(float(length), 4),
        "largest_distance_in_time_ms": round(float(apart.max()) / 1e6, 3),
        "messages": counts,
        "psnr_db": {
            "mean": round(float(scores.mean()), 2),
            "of_each_second": _means(scores, second),
            "standing_still": _means(frozen, second),
        },
        "damage": list(recording.bag.damage.values()),
        "notes": list(plan.notes),
    }


def _means(scores: NDArray[np.float64], each: int) -> list[float]:
    """Of so many values at a time."""
    return [round(float(scores[i : i + each].mean()), 2) for i in range(0, len(scores), each)]


def _too_fast(c2w: NDArray[np.float64], world: WorldModel, slow: float) -> list[str]:
    """A note where the robot moves further in a frame than the world has learned."""
    config = world.config
    moved = np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=-1)
    turns = Rotation.from_matrix(c2w[:, :3, :3])
    turned = (turns[:-1].inv() * turns[1:]).magnitude()
    fast = (moved > 1.001 * config.max_translation) | (turned > 1.001 * config.max_rotation)
    if not fast.any():
        return []
    needed = max(moved.max() / config.max_translation, turned.max() / config.max_rotation)
    return [
        f"the robot is too fast for this world in {fast.sum()} of {len(fast)} frames: up to {moved.max():.3f} m and "
        f"{np.rad2deg(turned.max()):.1f} degrees a frame, and it has learned {config.max_translation:g} m and "
        f"{np.rad2deg(config.max_rotation):.1f} degrees. --slow {np.ceil(10 * slow * needed) / 10:g} keeps within that."
    ]
