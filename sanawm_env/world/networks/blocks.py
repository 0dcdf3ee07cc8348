"""Feed-forward layer, transformer block, embedders and final layer; parameter names are upstream's."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.attention import CameraAttention, CrossAttention
from sanawm_env.world.networks.cache import BlockCache, recall
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.layers import ConvLayer, Layout, Linear, layer_norm, linear


class GatedConvFFN(nn.Module):
    """GLUMBConvTemp: gated 3x3 convolutional feed-forward and a temporal convolution (docs/model.md, "Block")."""

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        c, width = config.hidden_size, config.mlp_width
        self.inverted_conv = ConvLayer(c, 2 * width, 1)
        self.depth_conv = ConvLayer(2 * width, 2 * width, 3, groups=2 * width)
        self.point_conv = ConvLayer(width, c, 1, bias=False)
        self.t_conv = nn.Conv2d(c, c, (3, 1), padding=(1, 0), bias=False)

    def forward(self, x: Tensor, layout: Layout, cache: BlockCache | None) -> tuple[Tensor, BlockCache]:
        """Feed forward `(B, T, S, C)`; also returns the last frame before the temporal convolution."""
        batch, frames = x.shape[:2]
        y = F.silu(self.inverted_conv.pointwise(x))
        # (B*T, C, H, W) seen through channels-last strides: no copy.
        image = y.flatten(0, 1).unflatten(1, (layout.height, layout.width)).permute(0, 3, 1, 2)
        image = self.depth_conv.conv(image)
        halves = image.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (batch, frames))
        y = self.point_conv.pointwise(layout.kernels.gated_halves(halves))
        before = torch.zeros_like(y[:, :1]) if cache is None else recall(cache, "ffn_tail", y.dtype)
        return y + self._temporal(y, before, layout), {"ffn_tail": y[:, -1:]}

    def _temporal(self, y: Tensor, before: Tensor, layout: Layout) -> Tensor:
        """Three taps over time; the left one crosses chunk borders, the right one does not."""
        past = torch.cat((before, y[:, :-1]), dim=1)
        future = torch.cat((y[:, 1:], torch.zeros_like(y[:, :1])), dim=1)
        chunks = layout.chunks
        if chunks[0] != chunks[-1]:
            same = [*(a == b for a, b in pairwise(chunks)), False]
            future = future * torch.tensor(same, dtype=y.dtype, device=y.device)[None, :, None, None]
        weight = self.t_conv.weight[..., 0].permute(0, 2, 1).flatten(1)  # (C, 3*C), tap-major
        return linear(torch.cat((past, y, future), dim=-1), weight)


class Block(nn.Module):
    """Attention, Plücker injection, text and feed-forward, modulated per frame (docs/model.md, "Block")."""

    def __init__(self, config: SanaWMConfig, index: int) -> None:
        super().__init__()
        c = config.hidden_size
        self.scale_shift_table = nn.Parameter(torch.zeros(6, c))
        self.attn = CameraAttention(config, softmax=config.is_softmax(index))
        self.plucker_proj = Linear(c, c)
        if config.caption_channels:
            self.cross_attn = CrossAttention(config)
        self.mlp = GatedConvFFN(config)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        plucker: Tensor | None,
        text: tuple[Tensor, Tensor] | None,
        layout: Layout,
        cache: BlockCache | None,
    ) -> tuple[Tensor, BlockCache]:
        """Run the block.

        Args:
            x: `(B, T, S, C)` tokens.
            modulation: `(B, T, 6*C)` from the timestep of each frame.
            plucker: `(B, T, S, C)` embedded Plücker tokens, or None.
            text: Embedded text `(B, L, C)` and its bias `(B, 1, 1, L)`, or None.
            layout: Shared geometry of the call.
            cache: The block's cache, or None.

        Returns:
            Tokens and the cache that a commit would store.
        """
        table = (self.scale_shift_table + modulation.unflatten(-1, (6, -1))).to(x.dtype).unsqueeze(3)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = table.unbind(2)
        attended, new = self.attn(layout.kernels.modulated(x, shift_a, scale_a), layout, cache)
        x = x + gate_a * attended
        if plucker is not None:
            x = x + self.plucker_proj(plucker)
        if text is not None:
            x = x + self.cross_attn(x, *text)
        fed, tail = self.mlp(layout.kernels.modulated(x, shift_m, scale_m), layout, cache)
        return x + gate_m * fed, new | tail


class TimestepEmbed(nn.Module):
    """Sinusoid (cosines first, 256 wide) and a two-layer perceptron."""

    FREQUENCIES = 256

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(self.FREQUENCIES, width), nn.SiLU(), Linear(width, width))

    def forward(self, timesteps: Tensor) -> Tensor:
        """Embed timesteps of any shape (0 clean, 1000 noise); adds a last axis of `width`."""
        half = self.FREQUENCIES // 2
        exponent = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
        angles = timesteps.float()[..., None] * torch.exp(-math.log(10000.0) * exponent)
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1)
        return self.mlp(wave.to(next(self.mlp.parameters()).dtype))


class CaptionMLP(nn.Module):
    """Two layers under upstream's keys `fc1` and `fc2`."""

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.caption_channels, config.hidden_size)
        self.fc2 = Linear(config.hidden_size, config.hidden_size)

    def forward(self, text: Tensor) -> Tensor:
        """`(..., caption_channels)` to `(..., C)`."""
        return self.fc2(F.gelu(self.fc1(text), approximate="tanh"))


class CaptionEmbed(nn.Module):
    """Projects text embeddings to the model width; holds upstream's unused null-caption buffer."""

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        self.y_proj = CaptionMLP(config)
        if config.release_buffers:
            self.register_buffer("y_embedding", torch.zeros(config.text_length, config.caption_channels))

    def forward(self, text: Tensor) -> Tensor:
        """`(..., caption_channels)` to `(..., C)`."""
        return self.y_proj(text)


class FinalLayer(nn.Module):
    """Modulated norm and projection to latent patches."""

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        c = config.hidden_size
        self.patch = config.patch_size
        self.channels = config.in_channels
        self.linear = Linear(c, math.prod(config.patch_size) * config.in_channels)
        self.scale_shift_table = nn.Parameter(torch.zeros(2, c))

    def forward(self, x: Tensor, t_emb: Tensor, height: int, width: int) -> Tensor:
        """Tokens `(B, T, S, C)` and time embedding `(B, T, C)` to latents `(B, channels, T, H, W)`."""
        shift, scale = (self.scale_shift_table + t_emb.unsqueeze(2)).to(x.dtype).unbind(2)
        x = self.linear(layer_norm(x) * (1 + scale.unsqueeze(2)) + shift.unsqueeze(2))
        rows, columns = self.patch
        x = x.unflatten(2, (height, width)).unflatten(-1, (rows, columns, self.channels))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
