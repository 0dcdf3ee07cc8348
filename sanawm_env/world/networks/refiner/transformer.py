"""The video part of LTX-2's transformer, with a memory of earlier frames as an argument (docs/model.md, "Refiner").

Names are diffusers' (`LTX2VideoTransformer3DModel`), so that its files load as they are, sound left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.layers import Linear
from sanawm_env.world.networks.refiner.config import RefinerConfig
from sanawm_env.world.networks.refiner.layers import Attention, FeedForward, KeysValues, attend, rms
from sanawm_env.world.networks.refiner.rope import Rotation, rotate

__all__ = ["Keep", "Past", "RefinerTransformer", "TextMemory"]

_MASKED = -10000.0
_TIME_CHANNELS = 256

Past = Callable[[int], "list[KeysValues]"]
"""Keys, rotated, and values that a layer sees before those of the call."""
Keep = Callable[[int, Tensor, KeysValues], None]
"""Takes a layer's keys before rotation, and its rotated keys and values."""


class TextMemory(NamedTuple):
    """Text as the cross-attentions see it: the same for all calls of a prompt."""

    layers: list[KeysValues]
    """One per block."""
    bias: Tensor | None
    """`(B, 1, 1, L)`; None where all tokens count."""


class _TimestepMLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(_TIME_CHANNELS, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class _TimeEmbed(nn.Module):
    """Noise levels to six modulations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emb = nn.ModuleDict({"timestep_embedder": _TimestepMLP(width)})
        self.linear = Linear(width, 6 * width)

    def forward(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, n)` to `(B, n, 6, width)` and the embedding `(B, n, width)`."""
        half = _TIME_CHANNELS // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        phases = timestep.float()[..., None] * torch.exp(-math.log(10000.0) * steps / half)
        waves = torch.cat((phases.cos(), phases.sin()), dim=-1).to(self.linear.weight.dtype)
        embedded = self.emb["timestep_embedder"](waves)
        return self.linear(F.silu(embedded)).unflatten(-1, (6, -1)), embedded


class _CaptionProjection(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(channels, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(x), approximate="tanh"))


class _Block(nn.Module):
    """Self-attention, attention to the text, feed-forward."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        width, heads, self.eps = config.width, config.heads, config.norm_eps
        self.attn1, self.attn2 = (Attention(width, width, heads, config.norm_eps) for _ in range(2))
        self.ff = FeedForward(width)
        self.scale_shift_table = nn.Parameter(torch.zeros(6, width))

    def forward(
        self,
        h: Tensor,
        modulation: Tensor,
        text: KeysValues,
        bias: Tensor | None,
        by: Rotation,
        past: list[KeysValues],
        keep: Callable[[Tensor, KeysValues], None] | None,
        sink_tokens: int,
        keys_only: bool,
    ) -> Tensor:
        shift, scale, gate, shift_ff, scale_ff, gate_ff = (self.scale_shift_table + modulation).unbind(-2)
        x = rms(h, self.eps) * (1 + scale) + shift
        raw = self.attn1.keys_values(x)
        own = KeysValues(rotate(raw.k, by), raw.v)
        if keep is not None:
            keep(raw.k, own)
            if keys_only:
                return h
        q = rotate(self.attn1.queries(x), by)
        h = h + gate * self.attn1.out(_self_attention(q, own, past, self.attn1.heads, sink_tokens))
        q = self.attn2.queries(rms(h, self.eps))
        h = h + self.attn2.out(attend(q, text, self.attn2.heads, bias))
        return h + gate_ff * self.ff(rms(h, self.eps) * (1 + scale_ff) + shift_ff)


class RefinerTransformer(nn.Module):
    """Predicts velocities of video tokens; keeps nothing between calls."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.proj_in = Linear(config.channels, width)
        self.caption_projection = _CaptionProjection(config.caption_channels, width)
        self.time_embed = _TimeEmbed(width)
        self.transformer_blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.scale_shift_table = nn.Parameter(torch.zeros(2, width))
        self.proj_out = Linear(width, config.channels)
        self._guest: torch.device | None = None

    def stream_layers(self, device: torch.device | str) -> None:
        """Let blocks stay where they are, and visit a device one at a time; all other weights move there for good."""
        for name, module in self.named_children():
            if name != "transformer_blocks":
                module.to(device)
        self.scale_shift_table.data = self.scale_shift_table.data.to(device)
        self._guest = torch.device(device)

    def _visits(self) -> Iterator[tuple[int, _Block]]:
        """The blocks, each where it is to compute."""
        for i, block in enumerate(self.transformer_blocks):
            home = next(block.parameters()).device
            yield i, block if self._guest is None else block.to(self._guest)  # type: ignore[misc]
            if self._guest is not None:
                block.to(home)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.scale_shift_table.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.scale_shift_table.device

    def text_memory(self, text: Tensor, mask: Tensor) -> TextMemory:
        """Keys and values of text `(B, L, caption_channels)` in every block; `mask` `(B, L)`, true where it counts."""
        y = self.caption_projection(text.to(self.dtype))
        layers = [block.attn2.keys_values(y) for _, block in self._visits()]
        if bool(mask.all()):
            return TextMemory(layers, None)
        return TextMemory(layers, ((~mask.bool()).to(self.dtype) * _MASKED)[:, None, None])

    def forward(
        self,
        tokens: Tensor,
        sigma: Tensor,
        text: TextMemory,
        by: Rotation,
        *,
        past: Past | None = None,
        keep: Keep | None = None,
        sink_tokens: int = 0,
        keys_only: bool = False,
    ) -> Tensor:
        """Velocity (noise - data) of tokens.

        Args:
            tokens: `(B, N, channels)`.
            sigma: `(B or 1, N or 1)` noise levels in [0, 1].
            text: Of `text_memory`.
            by: Rotation of the tokens.
            past: What every layer sees besides.
            keep: Is given every layer's keys and values.
            sink_tokens: The first tokens, which see one another only.
            keys_only: Stop as soon as the last layer's keys are there; what is returned has no meaning then.

        Returns:
            `(B, N, channels)`.
        """
        h = self.proj_in(tokens)
        modulation, embedded = self.time_embed(sigma * self.config.timestep_scale)
        last = len(self.transformer_blocks) - 1
        for i, block in self._visits():
            kept = None if keep is None else (lambda raw, own, i=i: keep(i, raw, own))
            seen = [] if past is None else past(i)
            h = block(
                h, modulation, text.layers[i], text.bias, by, seen, kept, sink_tokens, keys_only and i == last
            )  # fmt: skip
        shift, scale = (self.scale_shift_table + embedded[..., None, :]).unbind(-2)
        h = F.layer_norm(h, h.shape[-1:], eps=self.config.norm_eps) * (1 + scale) + shift
        return self.proj_out(h)


def _self_attention(q: Tensor, own: KeysValues, past: list[KeysValues], heads: int, sink_tokens: int) -> Tensor:
    seen = KeysValues(*(torch.cat(parts, dim=1) for parts in zip(*past, own, strict=True))) if past else own
    if not sink_tokens:
        return attend(q, seen, heads)
    sink = KeysValues(own.k[:, :sink_tokens], own.v[:, :sink_tokens])
    alone = attend(q[:, :sink_tokens], sink, heads)
    return torch.cat((alone, attend(q[:, sink_tokens:], seen, heads)), dim=1)
