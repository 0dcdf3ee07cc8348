"""Four clips from one: as it is, played backwards, mirrored, and both; and their codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.world.networks.vae.tiny import TinyVAE

__all__ = ["VARIANTS", "Coded", "code_variants", "mirror"]

VARIANTS = 4
"""Entries that each clip makes."""


@dataclass(frozen=True, eq=False)
class Coded:
    """Coded clips."""

    motion: Tensor
    """(B, C, n, h, w) float16 latents."""
    stills: Tensor
    """(B, C, n, h, w) float16: what each latent would be if nothing moved from where it begins."""
    c2w: Tensor
    """(B, 1 + stride*n, 4, 4)."""
    intrinsics: Tensor
    """(B, 4) px."""
    images: Tensor
    """(B, n, H, W, 3) uint8: what the stills show."""


def code_variants(vae: TinyVAE, rgb: Tensor, c2w: Tensor, intrinsics: Tensor) -> Iterator[Coded]:
    """Code clips in four variants, each one's reversed twin right after it.

    Args:
        vae: What codes them.
        rgb: (B, 1 + stride*n, H, W, 3) uint8.
        c2w: (B, 1 + stride*n, 4, 4).
        intrinsics: (B, 4) px.
    """
    # Pooling first makes the four variants a quarter of the work.
    frames = vae.shrink(rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1)
    images, width = rgb[:, :: vae.temporal_stride], rgb.shape[3]
    for clip, still in (
        ((frames, c2w, intrinsics), images),
        (mirror(frames, c2w, intrinsics, width), images.flip(3)),
    ):
        yield _code(vae, *clip, still[:, :-1])
        yield _code(vae, clip[0].flip(2), clip[1].flip(1), clip[2], still.flip(1)[:, :-1])


def _code(vae: TinyVAE, frames: Tensor, c2w: Tensor, intrinsics: Tensor, images: Tensor) -> Coded:
    """Code pooled clips `(B, 3, F, h, w)`."""
    stride = vae.temporal_stride
    motion = vae.encode_pooled(frames[:, :, 1:]).half()
    stills = vae.encode_pooled(frames[:, :, :-1:stride].repeat_interleave(stride, dim=2)).half()
    return Coded(motion, stills, c2w, intrinsics, images)


def mirror(frames: Tensor, c2w: Tensor, intrinsics: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The clip as a mirror shows it: columns reversed, x axes negated on both sides of the pose.

    Args:
        frames: `(B, 3, F, h, w)`.
        c2w: `(B, F, 4, 4)`.
        intrinsics: `(B, 4)` px of an image `width` wide.
        width: Image columns.
    """
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], device=c2w.device))
    turned = intrinsics.clone()
    turned[:, 2] = width - intrinsics[:, 2]
    return frames.flip(4), flip @ c2w @ flip, turned
