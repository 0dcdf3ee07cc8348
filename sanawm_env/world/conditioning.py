"""What a caller gives a world: checks of images, poses, intrinsics and text, and camera inputs made of them.

Camera inputs (docs/model.md, "Camera inputs") are made one chunk at a time and equal those of the whole trajectory.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sanawm_env.camera.intrinsics import check_fov
from sanawm_env.camera.pose import validate_c2w
from sanawm_env.camera.rays import camera_rows, plucker_windows
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.anchor.depth import aligned
from sanawm_env.world.networks.anchor.keyframes import explained_disparity, keyframe_views, remember
from sanawm_env.world.networks.anchor.reflections import reflected_disparity, reflected_views
from sanawm_env.world.networks.anchor.views import anchor_views, code_views, to_pixels
from sanawm_env.world.networks.anchor.warp import anchor_disparity
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.state import WorldState

__all__ = [
    "CameraChunk",
    "FirstFrame",
    "Networks",
    "camera_chunk",
    "camera_conditions",
    "check_images",
    "check_intrinsics",
    "check_poses",
    "check_text",
    "chunk_conditions",
    "chunk_views",
    "first_frame_chunk",
    "keep_frame",
    "known_disparity",
    "look_around",
]

FirstFrame = Literal["absent", "future"]
"""Whether latent frame 0 is part of the chunk; `future` gives it the window of the release."""

CameraChunk = tuple[Tensor, Tensor]
"""Poses `(B, T, 4, 4)` of the latent frames' last pixel frames, and the windows `(B, T, stride, 4, 4)` of all
their pixel frames; metres, relative to frame 0."""


class Networks(NamedTuple):
    """What a step computes with."""

    transformer: SanaWMTransformer
    """Denoises."""
    vae: Any
    """A `networks.vae.tiny.VideoVAE`; decodes."""
    config: WorldConfig
    """The world."""
    device: torch.device
    """Of the weights."""
    dtype: torch.dtype
    """Of the weights."""
    latent_size: tuple[int, int]
    """Rows and columns of the latent grid."""
    token_grid: tuple[int, int]
    """Rows and columns of tokens."""


def camera_chunk(c2w: Tensor, stride: int, first: FirstFrame = "absent") -> CameraChunk:
    """Group the poses of a chunk's pixel frames by latent frame.

    Args:
        c2w: `(B, n*stride, 4, 4)` poses of the chunk's pixel frames, relative to frame 0 of the rollout.
        stride: Pixel frames per latent frame.
        first: `future` puts latent frame 0 in front, its window being pixel frames `0 .. stride-1`.

    Returns:
        See `CameraChunk`; T is n, or n + 1 with frame 0.
    """
    windows = c2w.unflatten(1, (-1, stride))
    poses = windows[:, :, -1]
    if first == "future":
        origin = _identity(c2w)
        opening = torch.cat((origin, c2w[:, : stride - 1]), dim=1)
        poses, windows = torch.cat((origin, poses), dim=1), torch.cat((opening[:, None], windows), dim=1)
    return poses, windows


def first_frame_chunk(slots: int, stride: int, device: torch.device) -> CameraChunk:
    """Latent frame 0 by itself: nothing of the future is known, so frame 0 is held (`CameraChunk`, T = 1)."""
    origin = _identity(torch.empty(slots, 1, 4, 4, dtype=torch.float64, device=device))
    return origin, origin[:, :, None].expand(-1, -1, stride, -1, -1)


def camera_conditions(
    chunk: CameraChunk, intrinsics: Tensor, frame_size: tuple[int, int], grid: tuple[int, int]
) -> dict[str, Tensor]:
    """Keyword arguments `raymap` and `plucker` of `SanaWMTransformer.forward`.

    Args:
        chunk: Poses and windows.
        intrinsics: `(B, 4)` fx, fy, cx, cy in pixels of the frame.
        frame_size: Frame height and width, pixels.
        grid: Rows and columns of tokens.

    Returns:
        `raymap` `(B, T, 20)` and `plucker` `(B, 6*stride, T, rows, columns)`, float32. Computed in float64:
        far from frame 0 the moments lose their small differences otherwise.
    """
    poses, windows = chunk
    down, across = grid[0] / frame_size[0], grid[1] / frame_size[1]
    scale = torch.tensor([across, down, across, down], dtype=torch.float64, device=poses.device)
    tokens = (intrinsics.double() * scale)[:, None]
    per_pose = tokens.expand(-1, poses.shape[1], -1)
    per_window = tokens[:, None].expand(-1, *windows.shape[1:3], -1)
    return {
        "raymap": camera_rows(poses, per_pose).float(),
        "plucker": plucker_windows(windows, per_window, *grid).float(),
    }


def chunk_views(nets: Networks, state: WorldState, chunk: CameraChunk) -> Tensor | None:
    """The anchor from the chunk's poses, as `networks.anchor.views.anchor_views`; None where the world has none.

    Where it has reflections there is a fifth channel, see `reflections.reflected_views`.
    """
    model = nets.config.model
    if not model.anchor:
        return None
    image, disparity, camera, poses = state.first_frame, state.first_disparity, state.intrinsics, chunk[1].flatten(1, 2)
    if model.reflections:
        return reflected_views(image, disparity, poses, camera, model.reflections)
    if model.keyframes:
        return keyframe_views(image, disparity, state.keyframes, poses, camera)
    return anchor_views(image, disparity, chunk[1], camera)


def known_disparity(nets: Networks, state: WorldState) -> Tensor:
    """What the anchor knows of what each camera looks at now.

    Returns:
        `(B, H/2, W/2)` inverse z-depth, 1/m, float32; 0 is the sky, -1 where neither frame 0 nor a keyframe or
        reflection shows anything.
    """
    here, camera, model = state.c2w[:, None], state.intrinsics.contiguous(), nets.config.model
    if model.reflections:
        return reflected_disparity(state.first_disparity, here, camera, model.reflections)[:, 0]
    if model.keyframes:
        return explained_disparity(state.first_disparity, state.keyframes, here, camera)[:, 0]
    return anchor_disparity(state.first_disparity, here, camera)[:, 0]


def look_around(nets: Networks, state: WorldState, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of what each camera shows now, and which of it the anchor knew; beyond that the depth network guesses.

    Args:
        nets: Of an anchored world.
        state: Of B slots.
        frames: `(B, H, W, 3)` uint8 that they show.

    Returns:
        `(B, H/2, W/2)` inverse z-depth, 1/m, float32, and `known_disparity`.
    """
    known = known_disparity(nets, state)
    guess = nets.transformer.anchor.depth.disparity(to_pixels(frames, nets.dtype).contiguous(), state.intrinsics)
    return torch.where(known >= 0, known, aligned(guess, known)), known


def keep_frame(nets: Networks, state: WorldState) -> WorldState:
    """The state with its last frame among the keyframes, where that shows much that is new."""
    disparity, known = look_around(nets, state, state.last_frame)
    keys = remember(
        state.first_disparity, state.keyframes, state.last_frame, disparity, known, state.c2w, state.intrinsics
    )
    return state.with_keyframes(keys)


def chunk_conditions(nets: Networks, state: WorldState, chunk: CameraChunk, views: Tensor | None) -> dict[str, Tensor]:
    """Keyword arguments of the transformer for one chunk: camera, anchor (of `chunk_views`) and text."""
    config = nets.config
    conditions = camera_conditions(chunk, state.intrinsics, (config.height, config.width), nets.token_grid)
    if views is not None:
        conditions["anchor"] = code_views(nets.vae, views).to(nets.dtype)
    if config.model.caption_channels:
        conditions |= {"text": state.text, "text_mask": state.text_mask}
    return conditions


def check_images(images: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """A copy of `images`, known to be `(B, height, width, 3)` uint8.

    Raises:
        ValueError: Another shape or type.
    """
    given = np.asarray(images)
    if given.dtype != np.uint8 or given.ndim != 4 or given.shape[1:] != (height, width, 3) or not len(given):
        raise ValueError(
            f"images must be (B, {height}, {width}, 3) uint8 RGB; got {given.shape} {given.dtype}. "
            "Resize and crop with sanawm_env.camera.fit_image, and drop an alpha channel."
        )
    return np.array(given)


def check_intrinsics(intrinsics: ArrayLike, slots: int, width: int, height: int) -> Tensor:
    """Pixel intrinsics of frames of that size, as `(slots, 4)` float32.

    Raises:
        ValueError: Another shape, entries that are not finite, a focal length that is not positive, or one that is no
            pixels of the frames.
    """
    values = np.array(intrinsics, dtype=np.float64)
    if values.shape != (slots, 4):
        raise ValueError(
            f"intrinsics must be ({slots}, 4): fx, fy, cx, cy in pixels for each slot; got {values.shape}. "
            "Use sanawm_env.camera.Intrinsics for other layouts."
        )
    if not np.isfinite(values).all() or (values[:, :2] <= 0).any():
        raise ValueError(f"intrinsics must be finite with positive focal lengths; got {values.tolist()}.")
    check_fov(values, width, height)
    return torch.tensor(values, dtype=torch.float32, device="cpu")


def check_poses(c2w: ArrayLike, slots: int, stride: int, most: int) -> NDArray[np.float64]:
    """A copy of the poses of one step, `(slots, F, 4, 4)` float64.

    Args:
        c2w: Poses as given.
        slots: Number of slots they must be for.
        stride: Pixel frames per latent frame.
        most: Largest number of latent frames in a step.

    Raises:
        ValueError: Another shape, a frame count no step has, or a pose that is no rigid transform.
    """
    poses = np.array(c2w, dtype=np.float64)
    if poses.ndim != 4 or poses.shape[0] != slots or poses.shape[2:] != (4, 4):
        raise ValueError(f"c2w must be ({slots}, F, 4, 4): a pose per slot and frame; got {poses.shape}.")
    count = poses.shape[1]
    if count % stride or not 1 <= count // stride <= most:
        raise ValueError(f"a step takes {stride} to {stride * most} poses, in multiples of {stride}; got {count}.")
    if not _all_rigid(poses):
        for slot in poses:
            validate_c2w(slot)  # slower; names the frame and the fix
    return poses


def check_text(text: Tensor | None, mask: Tensor | None, slots: int, channels: int) -> tuple[Tensor, Tensor]:
    """Text embeddings `(slots, L, channels)` and bool mask `(slots, L)`; L is 0 for models without text.

    Raises:
        ValueError: Text for a model without it, no text for a model with it, another shape, or NaN.
    """
    if not channels:
        if text is not None or mask is not None:
            raise ValueError("this checkpoint has no text conditioning; leave text and text_mask out.")
        nothing = torch.zeros(slots, 0, 0, dtype=torch.float32, device="cpu")
        return nothing, torch.zeros(slots, 0, dtype=torch.bool, device="cpu")
    shape = None if text is None else tuple(text.shape)
    if text is None or text.ndim != 3 or shape != (slots, text.shape[1], channels) or not text.shape[1]:
        raise ValueError(
            f"this checkpoint needs text embeddings ({slots}, L, {channels}), one per slot, of which "
            f"sanawm_env.world.checkpoints.prompts.Prompts(world).read(prompt) makes each; got {shape}."
        )
    if mask is None:
        mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
    if mask.shape != text.shape[:2]:
        raise ValueError(f"text_mask must be {tuple(text.shape[:2])} like text; got {tuple(mask.shape)}.")
    if not bool(torch.isfinite(text).all()):
        raise ValueError("text embeddings have NaN or infinite entries; encode the prompt again.")
    return text, mask != 0


def _all_rigid(poses: NDArray[np.float64]) -> bool:
    """Whether all poses are rigid transforms beyond doubt."""
    if not np.isfinite(poses).all() or (poses[..., 3, :] != [0, 0, 0, 1]).any():
        return False
    rotations = poses[..., :3, :3]
    gap = np.abs(rotations.swapaxes(-1, -2) @ rotations - np.eye(3)).max()
    return bool(gap < 5e-4 and (np.linalg.det(rotations) > 0).all())


def _identity(like: Tensor) -> Tensor:
    """`(B, 1, 4, 4)` identity poses."""
    return torch.eye(4, dtype=like.dtype, device=like.device).expand(like.shape[0], 1, 4, 4)
