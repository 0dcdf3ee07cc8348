"""What an environment shows of N slots: observations, info, and the space that holds the former."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.envs.sensors.batches import filled, first, join, masked
from sanawm_env.scenes.start_image import resized

if TYPE_CHECKING:
    from sanawm_env.envs.slots import Slots

__all__ = ["ObsMode", "Observation", "Sensors", "first", "join", "masked", "pose_vectors"]

ObsMode = Literal["frame", "dict", "pose"]
Observation: TypeAlias = "NDArray[Any] | dict[str, NDArray[Any]]"


@dataclass(frozen=True)
class Sensors:
    """Shows slots. Everything that it returns is in memory of its own, with the slots' axis first."""

    mode: ObsMode
    """What observations show of the world."""
    frames: int
    """Pixel frames F of a step. A moment of fewer frames repeats its first, so that all shapes are equal."""
    size: tuple[int, int]
    """Rows and columns of observed images."""
    fps: float
    """Frames per second."""
    info_frames: bool = True
    """Whether the step's frames are part of info."""

    def space(self, entries: dict[str, spaces.Space[Any]] | None = None, goal: spaces.Box | None = None) -> Any:
        """Space of one slot's observations.

        Args:
            entries: What a task adds; None is no task.
            goal: Space of the goals, in the goal form.
        """
        image = spaces.Box(0, 255, (*self.size, 3), np.uint8)
        pose = spaces.Box(-np.inf, np.inf, (7,), np.float32)
        if goal is not None:
            seen = image if self.mode == "frame" else pose
            return spaces.Dict({"observation": seen, "achieved_goal": goal, "desired_goal": goal})
        if self.mode == "dict":
            several = spaces.Box(0, 255, (self.frames, *self.size, 3), np.uint8)
            intrinsics = spaces.Box(-np.inf, np.inf, (4,), np.float32)
            return spaces.Dict({"frames": several, "pose": pose, "intrinsics": intrinsics, **(entries or {})})
        if entries is None:
            return image if self.mode == "frame" else pose
        shown: dict[str, spaces.Space[Any]] = {"image": image} if self.mode == "frame" else {}
        return spaces.Dict({**shown, "pose": pose, **entries})

    def images(self, slots: Slots) -> NDArray[np.uint8]:
        """`(N, h, w, 3)` last frames."""
        return self._sized(slots.last_frames)

    def world(self, slots: Slots) -> NDArray[Any]:
        """The images, or in the other modes the poses, alone."""
        return self.images(slots) if self.mode == "frame" else pose_vectors(slots.c2w)

    def observe(self, slots: Slots, entries: dict[str, NDArray[Any]] | None) -> Observation:
        """Observations.

        Args:
            slots: Of whom.
            entries: What a task adds, each `(N, ...)`; None is no task.
        """
        seen: dict[str, NDArray[Any]] = {}
        if self.mode == "dict":
            seen = {
                "frames": self._videos(slots),
                "pose": pose_vectors(slots.c2w),
                "intrinsics": self._intrinsics(slots),
            }
            return {**seen, **(entries or {})}
        if entries is None:
            return self.world(slots)
        if self.mode == "frame":
            seen["image"] = self.images(slots)
        return {**seen, "pose": pose_vectors(slots.c2w), **entries}

    def info(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """The info that needs no task; its keys are listed in `SanaWMEnv`."""
        count, state = len(slots), slots.state
        index = state.frame_index.cpu().numpy().astype(np.int64)
        info: dict[str, NDArray[Any]] = {"c2w": slots.c2w.copy()}
        if self.info_frames:
            info["frames"] = np.stack([filled(slots.step_frames(slot), self.frames) for slot in range(count)])
        info["frame_c2w"] = np.stack([filled(slots.step_poses(slot), self.frames) for slot in range(count)])
        info["frame_index"], info["time"] = index, index / self.fps
        info["state_bytes"] = np.full(count, state.nbytes // count)
        return info

    def _sized(self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frames at the size of observed images: one copy, and no other where that is their own size."""
        if frames[0].shape[:2] != self.size:
            frames = [resized(frame, self.size) for frame in frames]
        return np.stack(list(frames))

    def _videos(self, slots: Slots) -> NDArray[np.uint8]:
        """`(N, F, h, w, 3)` frames of each slot's last step."""
        videos = [filled(slots.step_frames(slot), self.frames) for slot in range(len(slots))]
        if videos[0].shape[1:3] != self.size:
            videos = [self._sized(video) for video in videos]
        return np.stack(videos)

    def _intrinsics(self, slots: Slots) -> NDArray[np.float32]:
        """`(N, 4)` fx, fy, cx, cy in pixels of the observed images."""
        rows, columns = slots.last_frames[0].shape[:2]
        scale = np.array([self.size[1] / columns, self.size[0] / rows] * 2)
        return (slots.state.intrinsics.cpu().numpy() * scale).astype(np.float32)


def pose_vectors(c2w: NDArray[np.float64]) -> NDArray[np.float32]:
    """`(..., 7)` x, y, z and the quaternion w, x, y, z with w >= 0 of poses `(..., 4, 4)`."""
    turn = Rotation.from_matrix(c2w[..., :3, :3]).as_quat(canonical=True, scalar_first=True)
    return np.concatenate([c2w[..., :3, 3], turn], axis=-1).astype(np.float32)
