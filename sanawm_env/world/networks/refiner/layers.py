"""Attention and feed-forward of LTX-2, under diffusers' names, for the transformer and the text connectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.layers import Linear
from sanawm_env.world.networks.refiner.rope import Rotation, rotate

__all__ = ["Attention", "FeedForward", "KeysValues", "attend", "rms"]


class KeysValues(NamedTuple):
    """What is attended to, before it is cut into heads."""

    k: Tensor
    """`(B, N, width)`."""
    v: Tensor
    """The same."""


def rms(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    """Root-mean-square norm over the last axis."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def attend(q: Tensor, seen: KeysValues, heads: int, bias: Tensor | None = None) -> Tensor:
    """Attention of queries `(B, N, width)`; `bias` is `(B, 1, 1, keys)`."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, seen.k, seen.v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


class _Weight(nn.Module):
    """A norm's weight under its own name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Attention(nn.Module):
    """Projections of one attention; queries and keys are normed over all heads at once."""

    def __init__(self, width: int, source: int, heads: int, eps: float) -> None:
        """`source` is the width of what is attended to."""
        super().__init__()
        self.heads, self.eps = heads, eps
        self.norm_q, self.norm_k = _Weight(width), _Weight(width)
        self.to_q, self.to_k, self.to_v = Linear(width, width), Linear(source, width), Linear(source, width)
        self.to_out = nn.ModuleList([Linear(width, width)])

    def queries(self, x: Tensor) -> Tensor:
        """Queries `(B, N, width)`, not rotated."""
        return rms(self.to_q(x), self.eps, self.norm_q.weight)

    def keys_values(self, x: Tensor) -> KeysValues:
        """Keys, not rotated, and values."""
        return KeysValues(rms(self.to_k(x), self.eps, self.norm_k.weight), self.to_v(x))

    def out(self, x: Tensor) -> Tensor:
        """Project what was attended to."""
        return self.to_out[0](x)

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        """Plain self-attention with rotary positions."""
        seen = self.keys_values(x)
        rotated = KeysValues(rotate(seen.k, by), seen.v)
        return self.out(attend(rotate(self.queries(x), by), rotated, self.heads))


class _Gelu(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(_Gelu(width, 4 * width), nn.Identity(), Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to the same."""
        return self.net(x)
