"""How a rollout begins: what `start` is given, checked, and the state at frame 0 that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sanawm_env.world.conditioning import (
    Networks,
    check_images,
    check_intrinsics,
    check_text,
    chunk_conditions,
    chunk_views,
    first_frame_chunk,
)
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.anchor.views import to_pixels
from sanawm_env.world.noise import check_seeds
from sanawm_env.world.sampler import commit_chunk, decode_latents
from sanawm_env.world.state import WorldState

__all__ = ["FirstFrames", "begin", "read_first_frames"]


@dataclass(frozen=True, eq=False)
class FirstFrames:
    """What B rollouts begin with, on the host."""

    images: NDArray[np.uint8]
    """`(B, H, W, 3)` RGB, a copy."""
    intrinsics: Tensor
    """`(B, 4)` float32 fx, fy, cx, cy in pixels."""
    noise_seed: Tensor
    """`(B,)` int64."""
    text: Tensor
    """`(B, L, channels)`; L is 0 for a world without text."""
    text_mask: Tensor
    """`(B, L)` bool."""

    def __len__(self) -> int:
        return len(self.images)


def read_first_frames(
    config: WorldConfig,
    images: ArrayLike,
    intrinsics: ArrayLike,
    seeds: Sequence[int],
    text: Tensor | None,
    text_mask: Tensor | None,
) -> FirstFrames:
    """Check what `WorldModel.start` is given.

    Raises:
        ValueError: An input that the world cannot take; names the fix.
    """
    frames = check_images(images, config.height, config.width)
    slots = len(frames)
    cameras = check_intrinsics(intrinsics, slots, config.width, config.height)
    noise_seed = torch.tensor(check_seeds(seeds, slots), dtype=torch.int64, device="cpu")
    return FirstFrames(frames, cameras, noise_seed, *check_text(text, text_mask, slots, config.model.caption_channels))


def begin(nets: Networks, empty: WorldState, given: FirstFrames, slots: Sequence[int]) -> WorldState:
    """The state of some rollouts at frame 0, which with the `alone` rule is committed and seen by the decoder.

    Args:
        nets: The networks.
        empty: A state of nothing, of as many slots.
        given: What rollouts begin with.
        slots: Which of them.
    """
    part = list(slots)
    values = {
        "noise_seed": given.noise_seed[part],
        "intrinsics": given.intrinsics[part],
        "text": given.text[part].to(nets.dtype),
        "text_mask": given.text_mask[part],
        "last_frame": torch.from_numpy(given.images)[part],
    }
    if nets.config.model.anchor:
        values["first_frame"] = values["last_frame"].clone()
    return _encoded(nets, empty.changed(**{name: value.to(nets.device) for name, value in values.items()}))


def _encoded(nets: Networks, state: WorldState) -> WorldState:
    """Encode frame 0, and with the `alone` rule commit it and let the decoder see it."""
    pixels = to_pixels(state.last_frame, nets.dtype)
    latent = nets.vae.encode(pixels[:, :, None]).to(nets.dtype)
    state = state.changed(first_latent=latent)
    if nets.config.model.anchor:
        disparity = nets.transformer.anchor.depth.disparity(pixels, state.intrinsics)
        state = state.changed(first_disparity=disparity)
    if nets.config.model.first_chunk == "alone":
        chunk = first_frame_chunk(state.slots, nets.vae.temporal_stride, nets.device)
        views = chunk_views(nets, state, chunk)
        conditions = chunk_conditions(nets, state, chunk, views)
        cache = commit_chunk(nets.transformer, latent, state.cache, **conditions, filled=0)
        _, tails = decode_latents(nets, latent, state.vae_tails, views)
        state = state.changed(cache=cache, vae_tails=tails)
    return state.contiguous()
