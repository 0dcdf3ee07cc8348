"""Pieces of a block through flash-linear-attention (package `fla-core`): its norms, gate and rotary turn.

What it has beside them does not compute this model. Its delta rules (`fla.ops.gated_delta_rule` and others) write one
token after another, and here all tokens of a frame are written at once. Its `ShortConvolution` runs causally along the
tokens of a sequence; ours runs along frames, both ways, at every place, with a memory, so that it would take two passes
and three copies. Its `FusedRMSNormGated` norms before the gate, where this model has no norm.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fla.modules.activations import swiglu
from fla.modules.norm.layernorm import layer_norm, rms_norm
from fla.modules.rotary import rotary_embedding
from torch import Tensor

from sanawm_env.world.networks.layers import RMSNorm
from sanawm_env.world.networks.position import Rotation

__all__ = ["features", "gated", "gated_halves", "modulated"]


def features(x: Tensor, norm: RMSNorm, heads: int, scale: float, rotation: Rotation) -> tuple[Tensor, Tensor]:
    """See `networks.layers.features`."""
    wide = F.relu(rms_norm(x.contiguous(), norm.weight, None, eps=norm.eps)).unflatten(-1, (heads, -1)).float()
    wide = wide if scale == 1 else wide * scale
    # Every token has angles of its own, so that all of them are one sequence.
    cos, sin = (angle.flatten(0, 3) for angle in rotation)
    return wide, rotary_embedding(wide.flatten(0, 2)[None], cos, sin, interleaved=True).view_as(wide)


def gated(x: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """See `networks.layers.gated`."""
    return swiglu(gate, x).to(dtype)  # in fp32, whatever the two are; rounded to the gate's type


def gated_halves(x: Tensor) -> Tensor:
    """See `networks.layers.gated_halves`."""
    value, gate = x.chunk(2, dim=-1)
    return swiglu(gate, value)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """See `networks.layers.modulated`."""
    return layer_norm(x.contiguous(), None, None, eps=1e-6) * (1 + scale) + shift
