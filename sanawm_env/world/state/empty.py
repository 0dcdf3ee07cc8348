"""The state before anything has happened: the shapes and types that every state of a world has."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.cache import StatePrecision, empty_cache
from sanawm_env.world.state.value import WorldState

__all__ = ["EIGHT_BITS", "check_state_precision", "empty_state"]

EIGHT_BITS = ("fp8", "int8")
"""Precisions in which the decoder keeps the last latents in place of its layers' inputs."""


def check_state_precision(name: str | None, dtype: torch.dtype) -> StatePrecision | None:
    """The precision of a world's states; None, and `bf16` where activations are bfloat16, is that of the activations.

    Args:
        name: The one asked for.
        dtype: Of weights and activations.

    Raises:
        ValueError: Unknown.
    """
    known: tuple[StatePrecision, ...] = get_args(StatePrecision)
    if name is not None and name not in known:
        raise ValueError(f"unknown state_precision {name!r}; use one of {', '.join(known)}, or leave it out.")
    if name is None or (name == "bf16" and dtype == torch.bfloat16):
        return None
    return known[known.index(name)]


def empty_state(
    config: WorldConfig,
    vae: Any,
    checkpoint: str,
    slots: int,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    text_length: int = 0,
    state_precision: StatePrecision | None = None,
) -> WorldState:
    """A state of zeros, at the origin.

    Args:
        config: The world.
        vae: Its VAE, which knows the latent grid and what its decoder remembers.
        checkpoint: Hash of the weights.
        slots: Number of rollouts.
        device: Where; `meta` for shapes alone.
        dtype: Of weights and activations.
        text_length: Tokens of text.
        state_precision: How softmax window and tails are kept; with 8 bits the decoder keeps latents alone.
    """
    rows, columns = config.height // vae.spatial_stride, config.width // vae.spatial_stride
    tokens = (rows // config.model.patch_size[0]) * (columns // config.model.patch_size[1])
    anchored = (config.height, config.width) if config.model.anchor else (0, 0)
    keys = config.model.keyframes

    def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.zeros(slots, *shape, device=device, dtype=dtype)

    return WorldState(
        cache=empty_cache(config.model, slots, tokens, device=device, dtype=dtype, precision=state_precision),
        vae_tails=vae.init_tails(
            slots, rows, columns, device=device, dtype=dtype, compact=state_precision in EIGHT_BITS
        ),
        # Made on the CPU: torch.eye on the meta device imports torch._dynamo, seconds at every first load.
        c2w=torch.eye(4, dtype=torch.float64, device="cpu").to(device).repeat(slots, 1, 1),
        frame_index=zeros(dtype=torch.int64),
        noise_seed=zeros(dtype=torch.int64),
        intrinsics=zeros(4, dtype=torch.float32),
        first_latent=zeros(config.model.in_channels, 1, rows, columns),
        text=zeros(text_length, config.model.caption_channels),
        text_mask=zeros(text_length, dtype=torch.bool),
        first_frame=zeros(*anchored, 3, dtype=torch.uint8),
        first_disparity=zeros(*(side // 2 for side in anchored), dtype=torch.float32),
        key_frame=zeros(keys, *anchored, 3, dtype=torch.uint8),
        key_disparity=zeros(keys, *(side // 2 for side in anchored), dtype=torch.float32),
        key_c2w=zeros(keys, 4, 4, dtype=torch.float64),
        key_used=zeros(keys, dtype=torch.bool),
        last_frame=zeros(config.height, config.width, 3, dtype=torch.uint8),
        checkpoint=checkpoint,
        checkpoint_name=config.name,
        state_precision=state_precision or "",
    )
