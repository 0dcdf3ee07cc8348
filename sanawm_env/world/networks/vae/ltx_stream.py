"""Streaming run of the LTX-2 video decoder as a pure function of (latents, tails).

A causal convolution of temporal kernel k needs the last k-1 frames of its input from the piece before.
Upstream keeps them on the module (NVlabs/Sana `diffusion/model/ltx2/causal_vae.py`), so one decoder serves
one stream and a second call gives another answer. Here they are a value, the *tails*: a flat dict with one
tensor per causal convolution, keyed by its module path inside the decoder, plus `started`. Every tensor has
the slot axis first and its full shape from the start of the stream on, so that a batch of tails is indexed,
repeated and concatenated along axis 0 like every other part of the world state.

The layers and their weights are diffusers' (`LTX2VideoDecoder3d`, version 0.42); only the order of calls is
written here. Facts: docs/model.md, "Video autoencoder".
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

STARTED = "started"
"""Key of the per-slot flag (B,) bool: False until the first piece of the slot's stream has been decoded."""

Tails = dict[str, Tensor]
"""`started` (B,) bool; per causal convolution its last k_t-1 input frames (B, C_in, k_t-1, H_in, W_in)."""


def decoder_strides(decoder: Any) -> tuple[int, int]:
    """Return (pixel frames per latent frame, pixels per latent cell side) of a diffusers LTX-2 decoder."""
    temporal, spatial = decoder.patch_size_t, decoder.patch_size
    for block in decoder.up_blocks:
        for upsampler in block.upsamplers or ():
            temporal *= upsampler.stride[0]
            spatial *= upsampler.stride[1]
    return temporal, spatial


def tail_shapes(decoder: Any, height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
    """List every causal convolution's tail, without the slot axis, in the order in which they run.

    Args:
        decoder: diffusers' `LTX2VideoDecoder3d`.
        height: Rows of the latent grid.
        width: Columns of the latent grid.

    Returns:
        Module path inside the decoder -> (C_in, k_t - 1, rows, columns) at that layer's resolution.
    """
    from diffusers.models.autoencoders import autoencoder_kl_ltx2 as ltx2

    shapes: dict[str, tuple[int, int, int, int]] = {}
    rows, columns = height, width
    for name, module in decoder.named_modules():
        if isinstance(module, ltx2.LTX2VideoCausalConv3d):
            shapes[name] = (module.in_channels, module.kernel_size[0] - 1, rows, columns)
            owner = decoder.get_submodule(name.rpartition(".")[0])
            if isinstance(owner, ltx2.LTX2VideoUpsampler3d):  # everything registered after it runs enlarged
                rows, columns = rows * owner.stride[1], columns * owner.stride[2]
    return shapes


def empty_tails(
    decoder: Any, batch: int, height: int, width: int, device: torch.device | str, dtype: torch.dtype
) -> Tails:
    """Make the tails of `batch` streams that have not begun: zeros, and `started` False.

    The zeros are never read; they only hold the place, so that the state has the same bytes from frame 0 on.
    """
    tails = {
        name: torch.zeros(batch, *shape, device=device, dtype=dtype)
        for name, shape in tail_shapes(decoder, height, width).items()
    }
    tails[STARTED] = torch.zeros(batch, dtype=torch.bool, device=device)
    return tails


def check_tails(decoder: Any, latents: Tensor, tails: Mapping[str, Tensor]) -> bool:
    """Check that tails fit a piece of latents and return their common phase.

    Args:
        decoder: diffusers' `LTX2VideoDecoder3d`.
        latents: (B, C, T, H, W), any floating type.
        tails: What `empty_tails` or an earlier decode returned, possibly re-indexed along axis 0.

    Returns:
        True if every slot's stream has begun, False if none has.

    Raises:
        ValueError: Foreign keys, another shape, type or device, or slots in both phases.
    """
    batch, _, _, height, width = latents.shape
    weight = decoder.conv_in.conv.weight
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        name: ((batch, *shape), weight.dtype) for name, shape in tail_shapes(decoder, height, width).items()
    }
    expected[STARTED] = ((batch,), torch.bool)
    if tails.keys() != expected.keys():
        missing, foreign = sorted(expected.keys() - tails.keys()), sorted(tails.keys() - expected.keys())
        raise ValueError(
            f"VAE tails of another decoder: missing {missing[:3]}, unknown {foreign[:3]} (the first three). "
            "Pass the tails of init_tails or of this VAE's last decode."
        )
    for name, (shape, dtype) in expected.items():
        tail = tails[name]
        if tuple(tail.shape) != shape or tail.dtype != dtype or tail.device != weight.device:
            raise ValueError(
                f"VAE tail '{name}' is {tuple(tail.shape)} {tail.dtype} on {tail.device}; these latents "
                f"{tuple(latents.shape)} need {shape} {dtype} on {weight.device}. "
                "Pass tails made for the same slots, latent grid, type and device."
            )
    started = tails[STARTED].tolist()
    if any(started) != all(started):
        raise ValueError(
            f"slots at the start of their stream and slots within it share one decode (started = {started}): "
            "they yield different frame counts. Decode the new slots' first piece alone, then join the tails."
        )
    return all(started)


def stream_decode(decoder: Any, latents: Tensor, tails: Mapping[str, Tensor], started: bool) -> tuple[Tensor, Tails]:
    """Decode the next piece of a stream.

    Args:
        decoder: diffusers' `LTX2VideoDecoder3d`, causal, without timestep conditioning and noise injection.
        latents: (B, C, T, H, W), denormalised, in the decoder's type and on its device.
        tails: Accepted by `check_tails`; read, never written.
        started: The slots' common phase, as `check_tails` returns it.

    Returns:
        Frames (B, 3, F, H*s, W*s), F = 1 + r*(T-1) for the first piece and r*T afterwards, with (r, s) of
        `decoder_strides`; and the tails after the piece, in storage of their own.
    """
    piece = _Piece(decoder, tails, started)
    return run_decoder(decoder, piece, latents), piece.tails_after


class Piece(Protocol):
    """How the layers that look back in time get their context."""

    def convolve(self, layer: Any, x: Tensor) -> Tensor:
        """A causal convolution."""
        ...

    def resnet(self, block: Any, x: Tensor) -> Tensor:
        """A residual block of two."""
        ...

    def upsample(self, layer: Any, x: Tensor) -> Tensor:
        """One that makes more frames and pixels."""
        ...


def run_decoder(decoder: Any, piece: Piece, latents: Tensor) -> Tensor:
    """Denormalised latents `(B, C, T, H, W)` through all layers in their order, to frames `(B, 3, F, H*s, W*s)`."""
    x = piece.convolve(decoder.conv_in, latents)
    for block in decoder.mid_block.resnets:
        x = piece.resnet(block, x)
    for stage in decoder.up_blocks:
        if stage.conv_in is not None:
            x = piece.resnet(stage.conv_in, x)
        for upsampler in stage.upsamplers or ():
            x = piece.upsample(upsampler, x)
        for block in stage.resnets:
            x = piece.resnet(block, x)
    x = piece.convolve(decoder.conv_out, decoder.conv_act(decoder.norm_out(x)))
    # Width before height: LTX packs the pixels of a patch column-major.
    p = decoder.patch_size
    return rearrange(x, "b (c pw ph) t h w -> b c t (h ph) (w pw)", ph=p, pw=p)


class _Piece:
    """The layers of one decode call: reads the tails before, collects the tails after."""

    def __init__(self, decoder: Any, tails: Mapping[str, Tensor], started: bool) -> None:
        self._tails_before = tails
        self._names = {module: name for name, module in decoder.named_modules()}
        self._started = started
        self.tails_after: Tails = {STARTED: torch.ones_like(tails[STARTED])}

    def convolve(self, layer: Any, x: Tensor) -> Tensor:
        """Causal convolution whose left context is the tail, or the first frame repeated at stream start."""
        name, context = self._names[layer], layer.kernel_size[0] - 1
        before = self._tails_before[name] if self._started else x[:, :, :1].expand(-1, -1, context, -1, -1)
        x = torch.cat([before, x], dim=2)
        # A clone, not a view: a view would keep the whole activation alive and the state would grow with T.
        self.tails_after[name] = x[:, :, x.shape[2] - context :].clone(memory_format=torch.contiguous_format)
        return layer.conv(x)

    def resnet(self, block: Any, x: Tensor) -> Tensor:
        """Pre-activation residual block; everything but its two convolutions works within a frame."""
        y = self.convolve(block.conv1, block.nonlinearity(block.norm1(x)))
        y = self.convolve(block.conv2, block.nonlinearity(block.norm2(y)))
        return shortcut(block, x) + y

    def upsample(self, layer: Any, x: Tensor) -> Tensor:
        """Convolve to stride^3 times the channels and unfold them into time and space."""
        y = unfold(layer, self.convolve(layer.conv, x), x)
        # The first latent stands for one pixel frame: each upsampler drops its lead once per stream.
        return y if self._started else y[:, :, layer.stride[0] - 1 :]


def shortcut(block: Any, x: Tensor) -> Tensor:
    """What a residual block adds its convolutions to."""
    if block.norm3 is not None:
        x = block.norm3(x.movedim(1, -1)).movedim(-1, 1)
    return x if block.conv_shortcut is None else block.conv_shortcut(x)


def unfold(layer: Any, y: Tensor, x: Tensor) -> Tensor:
    """An upsampler's convolved frames `y`, enlarged, plus its input `x` of the same frames where it is residual."""
    st, sh, sw = layer.stride
    pattern = "b (c st sh sw) t h w -> b c (t st) (h sh) (w sw)"
    y = rearrange(y, pattern, st=st, sh=sh, sw=sw)
    if layer.residual:
        skip = rearrange(x, pattern, st=st, sh=sh, sw=sw)
        y = y + skip.repeat(1, st * sh * sw // layer.upscale_factor, 1, 1, 1)
    return y
