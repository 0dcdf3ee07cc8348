"""What an environment shows of a moment: observation, info, and the space that holds the former."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.snapshot import EnvSnapshot

__all__ = ["ObsMode", "Observation", "describe", "frames_of", "observation_space", "observe", "pose_vector"]

ObsMode = Literal["frame", "dict"]
Observation: TypeAlias = "NDArray[np.uint8] | dict[str, NDArray[Any]]"


def observation_space(mode: ObsMode, frames: int, height: int, width: int) -> spaces.Space[Any]:
    """Space of the observations of steps of `frames` pixel frames."""
    if mode == "frame":
        return spaces.Box(0, 255, (height, width, 3), np.uint8)
    return spaces.Dict(
        {
            "frames": spaces.Box(0, 255, (frames, height, width, 3), np.uint8),
            "pose": spaces.Box(-np.inf, np.inf, (7,), np.float32),
            "intrinsics": spaces.Box(-np.inf, np.inf, (4,), np.float32),
        }
    )


def observe(now: EnvSnapshot, mode: ObsMode, frames: int) -> Observation:
    """The observation, in memory of its own. A moment of fewer than `frames` frames repeats its first."""
    seen = frames_of(now)
    if mode == "frame":
        return cast(NDArray[np.uint8], seen[-1].copy())
    missing = max(0, frames - len(seen))
    return {
        "frames": np.concatenate([np.repeat(seen[:1], missing, axis=0), seen])[-frames:].copy(),
        "pose": pose_vector(now.state.c2w[0].cpu().numpy()),
        "intrinsics": now.state.intrinsics[0].cpu().numpy().astype(np.float32, copy=True),
    }


def describe(now: EnvSnapshot, fps: float) -> dict[str, Any]:
    """The info dictionary, in memory of its own; its keys are listed in `SanaWMEnv`."""
    last = now.state.c2w[0].cpu().numpy().copy()
    index = int(now.state.frame_index[0])
    return {
        "c2w": last,
        "frames": frames_of(now).copy(),
        "frame_c2w": last[None].copy() if now.frame_c2w is None else now.frame_c2w.copy(),
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
