"""Whether the parts that a world is put together from fit each other."""

from __future__ import annotations

from typing import Any

from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.anchor.views import check_anchor_vae
from sanawm_env.world.networks.refiner.refiner import StreamRefiner

__all__ = ["check_refiner_latents", "check_vae", "token_grid"]


def token_grid(config: WorldConfig, vae: Any) -> tuple[int, int]:
    """Rows and columns of tokens in a frame of the world.

    Raises:
        ValueError: Frames that cannot be cut into whole tokens.
    """
    rows, columns = (vae.spatial_stride * side for side in config.model.patch_size)
    if config.height % rows or config.width % columns:
        raise ValueError(
            f"frames of {config.height}x{config.width} px cannot be cut into tokens of "
            f"{rows}x{columns} px; change height and width to multiples of those."
        )
    return config.height // rows, config.width // columns


def check_vae(config: WorldConfig, vae: Any) -> None:
    """Refuse a video autoencoder whose latents are not those of the transformer.

    Raises:
        ValueError: Other channels, another temporal stride, or no place for the anchor that the model hands it.
    """
    model = config.model
    ours, theirs = (model.in_channels, model.temporal_stride), (vae.latent_channels, vae.temporal_stride)
    if ours != theirs:
        raise ValueError(f"the model has (latent channels, temporal stride) {ours}, the VAE {theirs}.")
    if model.anchor:
        check_anchor_vae(vae)


def check_refiner_latents(refiner: StreamRefiner, vae: Any) -> None:
    """Refuse a refiner that is made for the latents of another VAE.

    Raises:
        ValueError: Other channels or strides.
    """
    config = refiner.model.config
    ours = (vae.latent_channels, vae.temporal_stride, vae.spatial_stride)
    if (config.channels, *config.scales) != (*ours, vae.spatial_stride):
        raise ValueError(
            f"the refiner takes latents of {config.channels} channels, each for {config.scales} frames and "
            f"pixels; this world's are {ours[0]} channels for {(*ours[1:], ours[2])}. A SANA-WM release has "
            "one that fits."
        )
