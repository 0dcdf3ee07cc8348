"""The LTX-2 decoder with the last latents as its only memory: what its layers would remember is computed again.

A frame depends on no more than the `context` of latents before its own, 44 in the release. Each layer computes the
frames that the layers after it still need and no others, so the frames are those of `ltx_stream` up to rounding: 10 MB
a slot in place of 595 at 704x1280 in bfloat16, for three times the decoder's arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.networks.vae.ltx_stream import Tails, run_decoder, shortcut, unfold

__all__ = ["LATENTS", "SEEN", "check_window", "context", "decode_windows", "empty_window", "window_decode"]

LATENTS = "latents"
"""Key of the last latents, normalised, the newest last: `(B, C, context, h, w)`."""
SEEN = "seen"
"""Key of the number of latents that the stream has had, `(B,)` int64."""


def context(decoder: Any) -> int:
    """How many latents before its own a frame depends on.

    Args:
        decoder: diffusers' `LTX2VideoDecoder3d`.
    """
    return _needs(decoder)[0]


def empty_window(
    decoder: Any, batch: int, height: int, width: int, device: torch.device | str, dtype: torch.dtype
) -> Tails:
    """The memory of `batch` streams that have not begun."""
    channels = decoder.conv_in.conv.in_channels
    return {
        LATENTS: torch.zeros(batch, channels, context(decoder), height, width, device=device, dtype=dtype),
        SEEN: torch.zeros(batch, dtype=torch.int64, device=device),
    }


def check_window(decoder: Any, latents: Tensor, tails: Mapping[str, Tensor]) -> list[int]:
    """Check that a memory fits a piece of latents, and return how many latents each slot has had.

    Raises:
        ValueError: Foreign keys, another shape, type or device, or slots that begin beside slots that go on.
    """
    weight = decoder.conv_in.conv.weight
    shape = (latents.shape[0], latents.shape[1], context(decoder), *latents.shape[3:])
    kept, seen = tails.get(LATENTS), tails.get(SEEN)
    if len(tails) != 2 or kept is None or seen is None:
        raise ValueError(
            f"VAE memory of another kind: {sorted(tails)[:3]}; pass that of init_tails or the last decode."
        )
    if (
        tuple(kept.shape) != shape
        or kept.dtype != weight.dtype
        or kept.device != weight.device
        or len(seen) != shape[0]
    ):
        raise ValueError(
            f"the VAE's last latents are {tuple(kept.shape)} {kept.dtype} on {kept.device} for {len(seen)} slots, "
            f"these latents need {shape} {weight.dtype} on {weight.device}. Pass tails of the same slots and grid."
        )
    counts: list[int] = seen.tolist()
    if 0 in counts and any(counts):
        raise ValueError(
            f"slots at the start of their stream and slots within it share one decode (seen = {counts}): they yield "
            "different frame counts. Decode the new slots' first piece alone, then join the tails."
        )
    return counts


def decode_windows(vae: Any, latents: Tensor, tails: Tails) -> tuple[Tensor, Tails]:
    """`LTXVideoVAE.decode` for tails of `empty_window`, slot by slot: they may differ in age, and memory counts.

    Args:
        vae: The VAE.
        latents: `(B, C, T, h, w)` normalised, in the decoder's type and on its device.
        tails: Read, never written.

    Returns:
        Frames, and the memory after the piece in storage of its own.

    Raises:
        ValueError: See `check_window`.
    """
    ages, kept = check_window(vae.decoder, latents, tails), tails[LATENTS]
    before, new = vae.denormalize(kept), vae.denormalize(latents)
    frames = [window_decode(vae.decoder, new[i : i + 1], before[i : i + 1], age) for i, age in enumerate(ages)]
    both = torch.cat((kept, latents), dim=2)[:, :, latents.shape[2] :]
    after = {LATENTS: both.clone(memory_format=torch.contiguous_format), SEEN: tails[SEEN] + latents.shape[2]}
    return torch.cat(frames) if len(frames) > 1 else frames[0], after


def window_decode(decoder: Any, latents: Tensor, kept: Tensor, seen: int) -> Tensor:
    """Decode the next piece of streams that are equally old.

    Args:
        decoder: diffusers' `LTX2VideoDecoder3d`, causal, without timestep conditioning and noise injection.
        latents: `(B, C, T, h, w)`, denormalised, in the decoder's type and on its device.
        kept: `(B, C, context, h, w)` the latents before, denormalised likewise; only the last `seen` are read.
        seen: How many latents these streams have had.

    Returns:
        Frames as `ltx_stream.stream_decode` gives them.
    """
    most, needs = _needs(decoder)
    before = min(seen, most)
    piece = _Window(needs, before, whole=seen <= most)
    return run_decoder(decoder, piece, torch.cat((kept[:, :, most - before :], latents), dim=2))


def _needs(decoder: Any) -> tuple[int, list[int]]:
    """Frames before the new ones that must go into the decoder, and that must come out of each convolution."""
    from diffusers.models.autoencoders import autoencoder_kl_ltx2 as ltx2

    found, need = [], 0
    for name, module in reversed(list(decoder.named_modules())):
        if isinstance(module, ltx2.LTX2VideoCausalConv3d):
            owner = decoder.get_submodule(name.rpartition(".")[0])
            if isinstance(owner, ltx2.LTX2VideoUpsampler3d):
                need = -(-need // owner.stride[0])
            found.append(need)
            need += module.kernel_size[0] - 1
    return need, found[::-1]


class _Window:
    """The layers of one call, each of which trims what no later layer needs."""

    def __init__(self, needs: list[int], before: int, *, whole: bool) -> None:
        self._needs = iter(needs)
        self._before = before
        """Frames before the new ones in what goes through the layers now."""
        self._whole = whole
        """Whether the first of those is the first of the stream."""

    def convolve(self, layer: Any, x: Tensor) -> Tensor:
        """Causal convolution of what is needed; before the stream's first frame lies that frame, repeated."""
        after = min(next(self._needs), self._before)
        missing = after + layer.kernel_size[0] - 1 - self._before
        if missing > 0:
            x = torch.cat([x[:, :, :1].expand(-1, -1, missing, -1, -1), x], dim=2)
        else:
            x = x[:, :, -missing:]
        self._whole &= after == self._before
        self._before = after
        return layer.conv(x)

    def resnet(self, block: Any, x: Tensor) -> Tensor:
        """Pre-activation residual block; everything but its two convolutions works within a frame."""
        y = self.convolve(block.conv1, block.nonlinearity(block.norm1(x)))
        y = self.convolve(block.conv2, block.nonlinearity(block.norm2(y)))
        return shortcut(block, x[:, :, -y.shape[2] :]) + y

    def upsample(self, layer: Any, x: Tensor) -> Tensor:
        """Convolve to stride^3 times the channels and unfold them into time and space."""
        y = self.convolve(layer.conv, x)
        y = unfold(layer, y, x[:, :, -y.shape[2] :])
        lead = layer.stride[0] - 1 if self._whole else 0  # see ltx_stream
        self._before = max(0, self._before * layer.stride[0] - lead)
        return y[:, :, lead:]
