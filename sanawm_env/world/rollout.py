"""Videos of a world along given camera paths, for scoring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sanawm_env.camera import relative_to_first
from sanawm_env.world.model import WorldModel

__all__ = ["rollout"]


def rollout(
    world: WorldModel,
    images: NDArray[np.uint8],
    intrinsics: ArrayLike,
    c2w: ArrayLike,
    seeds: Sequence[int],
    *,
    chunk_frames: int | None = None,
    sigmas: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Roll a world along camera paths, chunk by chunk, all paths side by side.

    A path that ends inside a chunk gets a shorter last chunk. Where it ends inside a latent frame, its last
    pose is held to fill that frame, and the frames beyond the path are dropped.

    Args:
        world: The world.
        images: `(B, H, W, 3)` uint8 first frames at the world's resolution.
        intrinsics: `(B, 4)` fx, fy, cx, cy in pixels.
        c2w: `(B, F, 4, 4)` camera-to-world poses in any world frame, metres; that of the image first.
        seeds: B noise seeds.
        chunk_frames: Latent frames per step; None is the checkpoint's default.
        sigmas: Noise levels of the sampler; None is the checkpoint's.

    Returns:
        `(B, F, H, W, 3)` uint8, the given images first.

    Raises:
        ValueError: A chunk length that the world does not have, or paths of another shape. Other inputs are
            checked by `WorldModel`.
    """
    config = world.config
    chunk = config.chunk_frames if chunk_frames is None else chunk_frames
    if not 1 <= chunk <= config.max_chunk_frames:
        raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
    given = torch.as_tensor(np.asarray(c2w, dtype=np.float64))
    if given.ndim != 4 or given.shape[0] != len(images) or given.shape[1] < 1 or given.shape[2:] != (4, 4):
        raise ValueError(f"c2w must be ({len(images)}, F, 4, 4), a path per image; got {tuple(given.shape)}.")
    poses = relative_to_first(given).numpy()[:, 1:]
    count, stride = poses.shape[1], world.vae.temporal_stride
    if count:
        poses = np.concatenate([poses, np.repeat(poses[:, -1:], -count % stride, axis=1)], axis=1)
    state, frames = world.start(images, intrinsics, seeds)
    made = [frames]
    for begin in range(0, poses.shape[1], chunk * stride):
        state, frames = world.step(state, poses[:, begin : begin + chunk * stride], sigmas=sigmas)
        made.append(frames)
    return np.concatenate(made, axis=1)[:, : count + 1]
