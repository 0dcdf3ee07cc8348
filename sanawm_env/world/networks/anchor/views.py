"""The anchor: the given image, drawn from where the camera is now, as a hint for each chunk.

A world that keeps nothing but a recurrent state forgets the one thing it was certain of, the image that it
started from. An anchored world (`SanaWMConfig.anchor`) keeps that image and the depth that a small network
read from it (`anchor.depth`), warps both along the chunk's own poses (`anchor.warp`), and shows the result to
the transformer and to the decoder, which decide what to make of it and invent what the image does not show.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sanawm_env.world.networks.anchor.warp import warp_anchor
from sanawm_env.world.networks.vae.tiny import TinyVAE

__all__ = ["anchor_views", "check_anchor_vae", "code_views", "show_made_up", "to_pixels"]


def check_anchor_vae(vae: Any) -> None:
    """Refuse a VAE that anchored worlds cannot use.

    Raises:
        ValueError: Not a `TinyVAE`, whose linear code the hint is written in.
    """
    if not isinstance(vae, TinyVAE):
        raise ValueError("an anchored world (model.anchor) needs a VAE of kind 'tiny'; unset model.anchor.")


def to_pixels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """`(B, H, W, 3)` uint8 to `(B, 3, H, W)` in [-1, 1]."""
    return images.to(dtype).div(127.5).sub(1).permute(0, 3, 1, 2)


def anchor_views(image: Tensor, disparity: Tensor, windows: Tensor, intrinsics: Tensor) -> Tensor:
    """The anchor from every pixel frame's pose.

    Args:
        image: `(B, H, W, 3)` uint8 frame 0.
        disparity: `(B, H/2, W/2)` of frame 0, 1/m.
        windows: `(B, T, stride, 4, 4)` poses relative to frame 0, metres (`conditions.CameraChunk`).
        intrinsics: `(B, 4)` pixels.

    Returns:
        `(B, 4, T*stride, H, W)` float32: colours in [-1, 1], and 1 where frame 0 shows the place, else 0.
    """
    return torch.cat(warp_anchor(image, disparity, windows.flatten(1, 2), intrinsics), 1)


def code_views(vae: TinyVAE, views: Tensor) -> Tensor:
    """Views as latents.

    Args:
        vae: Of the world.
        views: `(B, 4, T*stride, H, W)` of `anchor_views`; further channels are not coded.

    Returns:
        `(B, C + 1, T, h, w)` float32: the code of each latent's block, its unseen pixels painted in the mean of
        the seen ones and zero where there are none; and the share of it that is seen.
    """
    views = vae.shrink(views[:, :4])
    colour, seen = views[:, :3], views[:, 3:]
    block = (vae.config.frames, vae.config.block, vae.config.block)
    share = F.avg_pool3d(seen, block)
    mean = F.avg_pool3d(colour, block) / share.clamp_min(1e-6)
    for axis, size in enumerate(block, start=2):
        mean = mean.repeat_interleave(size, axis)
    # Any type of weights: the code is a hint, but it has to be the same hint in all of them.
    code = (vae.patches(colour + (1 - seen) * mean) - vae.mean.float()) @ vae.analysis.float().T
    return torch.cat((code.permute(0, 4, 1, 2, 3) * (share > 0), share), 1)


def show_made_up(pixels: Tensor, views: Tensor) -> Tensor:
    """Show what is made up as it stands, and the rest as the decoder has it.

    Args:
        pixels: `(B, 3, F, H, W)` of the decoder.
        views: `(B, 4, G, H, W)` of `anchor_views`, by which nothing changes, or `(B, 5, G, H, W)` of
            `reflections.reflected_views`; of the same frames, and G - F before them.

    Returns:
        Like `pixels`.
    """
    if views.shape[1] == 4:
        return pixels
    views = views[:, :, -pixels.shape[2] :].to(pixels.dtype)
    return pixels + views[:, 4:] * (views[:, :3] - pixels)
