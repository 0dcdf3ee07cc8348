"""What an environment shows of a moment: observation, info, and the space that holds the former."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.scenes.start_image import resized

__all__ = [
    "ObsMode",
    "Observation",
    "describe",
    "frames_of",
    "observation_space",
    "observe",
    "pose_vector",
]

ObsMode = Literal["frame", "dict", "pose"]
Observation: TypeAlias = "NDArray[Any] | dict[str, NDArray[Any]]"


def observation_space(
    mode: ObsMode,
    frames: int,
    height: int,
    width: int,
    entries: dict[str, spaces.Space[Any]] | None = None,
    goal: spaces.Box | None = None,
) -> spaces.Space[Any]:
    """Space of the observations of steps of `frames` pixel frames.

    Args:
        mode: What is shown of the world.
        frames: Pixel frames per step.
        height: Rows of observed images.
        width: Columns of observed images.
        entries: What a task adds; None is no task.
        goal: Space of the goals, in the goal form.
    """
    image = spaces.Box(0, 255, (height, width, 3), np.uint8)
    pose = spaces.Box(-np.inf, np.inf, (7,), np.float32)
    if goal is not None:
        seen = image if mode == "frame" else pose
        return spaces.Dict({"observation": seen, "achieved_goal": goal, "desired_goal": goal})
    if mode == "dict":
        several = spaces.Box(0, 255, (frames, height, width, 3), np.uint8)
        intrinsics = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        return spaces.Dict({"frames": several, "pose": pose, "intrinsics": intrinsics, **(entries or {})})
    if entries is None:
        return image if mode == "frame" else pose
    return spaces.Dict({"image": image, "pose": pose, **entries} if mode == "frame" else {"pose": pose, **entries})


def observe(
    now: EnvSnapshot, mode: ObsMode, frames: int, size: tuple[int, int], entries: dict[str, Any] | None = None
) -> Observation:
    """The observation, in memory of its own. A moment of fewer than `frames` frames repeats its first.

    Args:
        now: The moment.
        mode: What is shown of the world.
        frames: Pixel frames per step.
        size: Rows and columns of observed images.
        entries: What a task adds; None is no task.
    """
    if mode == "dict":
        pictures = np.stack([resized(frame, size) for frame in _filled(frames_of(now), frames)])
        return {
            "frames": pictures,
            "pose": _pose(now),
            "intrinsics": _intrinsics(now, size),
            **(entries or {}),
        }
    if entries is None:
        return resized(frames_of(now)[-1], size) if mode == "frame" else _pose(now)
    seen = {"image": resized(frames_of(now)[-1], size)} if mode == "frame" else {}
    return {**seen, "pose": _pose(now), **entries}


def describe(now: EnvSnapshot, fps: float, frames: int) -> dict[str, Any]:
    """The info dictionary, in memory of its own; its keys are listed in `SanaWMEnv`."""
    last = now.state.c2w[0].cpu().numpy().copy()
    index = int(now.state.frame_index[0])
    return {
        "c2w": last,
        "frames": _filled(frames_of(now), frames).copy(),
        "frame_c2w": _filled(last[None] if now.frame_c2w is None else now.frame_c2w, frames).copy(),
        "frame_index": index,
        "time": index / fps,
        "state_bytes": now.nbytes,
    }


def frames_of(now: EnvSnapshot) -> NDArray[np.uint8]:
    """Frames of the last step `(N, H, W, 3)`, or the last one alone where the rest is unknown."""
    if now.frames is not None:
        return now.frames
    return cast(NDArray[np.uint8], now.state.last_frame.cpu().numpy())


def pose_vector(c2w: NDArray[np.float64]) -> NDArray[np.float32]:
    """`(7,)` x, y, z and the quaternion w, x, y, z with w >= 0 of a pose `(4, 4)`."""
    turn = Rotation.from_matrix(c2w[:3, :3]).as_quat(canonical=True, scalar_first=True)
    return np.concatenate([c2w[:3, 3], turn]).astype(np.float32)


def _pose(now: EnvSnapshot) -> NDArray[np.float32]:
    return pose_vector(now.state.c2w[0].cpu().numpy())


def _intrinsics(now: EnvSnapshot, size: tuple[int, int]) -> NDArray[np.float32]:
    """`(4,)` fx, fy, cx, cy in pixels of the observed images."""
    rows, columns = frames_of(now).shape[1:3]
    scale = np.array([size[1] / columns, size[0] / rows] * 2)
    return (now.state.intrinsics[0].cpu().numpy() * scale).astype(np.float32)


def _filled(values: NDArray[Any], count: int) -> NDArray[Any]:
    """The last `count` rows; if there are fewer, the first is repeated: all infos and observations have one shape."""
    missing = max(0, count - len(values))
    return np.concatenate([np.repeat(values[:1], missing, axis=0), values])[-count:]
