"""FP8 and NVFP4 without such a GPU: values are rounded as those formats round, the arithmetic stays float32.

An emulation says how far rounding alone moves the result. It says nothing of speed, of memory, or of how the kernels
of a GPU accumulate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.accel.precision import ALIGNMENT, scope
from sanawm_env.world.networks.layers import PointwiseLinear
from sanawm_env.world.networks.transformer import SanaWMTransformer

E4M3_MAX = 448.0
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""Magnitudes of a 4-bit float; every second one has an even mantissa, which ties go to."""
BLOCK = 16


def round_fp8(x: Tensor) -> Tensor:
    """Round the last axis to e4m3 with one float32 scale; `x` as float32."""
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / E4M3_MAX
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def round_nvfp4(x: Tensor) -> Tensor:
    """Round to e2m1 with an e4m3 scale for 16 values of the last axis and a float32 scale of the whole tensor."""
    blocks = x.float().unflatten(-1, (-1, BLOCK))
    largest = blocks.abs().amax(-1, keepdim=True)
    whole = (largest.amax() / (E4M3_MAX * 6)).clamp(min=1e-30)
    smallest = torch.finfo(torch.float8_e4m3fn).smallest_normal
    scale = (largest / 6 / whole).clamp(smallest, E4M3_MAX).to(torch.float8_e4m3fn).float() * whole
    return (_round_e2m1(blocks / scale) * scale).flatten(-2)


def _round_e2m1(x: Tensor) -> Tensor:
    """Nearest 4-bit float, ties to the even mantissa, beyond 6 to 6."""
    size = x.abs().clamp(max=6.0)
    upper = torch.bucketize(size, E2M1).clamp(max=len(E2M1) - 1)
    lower = (upper - 1).clamp(min=0)
    down, up = size - E2M1[lower], E2M1[upper] - size
    index = torch.where((down < up) | ((down == up) & (lower % 2 == 0)), lower, upper)
    return E2M1[index].copysign(x)


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {"fp8": round_fp8, "nvfp4": round_nvfp4}


class EmulatedLinear(nn.Module):
    """A linear layer whose weights and inputs are rounded to a format and multiplied in float32."""

    def __init__(self, linear: nn.Linear, rounding: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rounding = rounding
        self.weight = nn.Parameter(rounding(linear.weight.detach()), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)` in the type of `x`."""
        bias = None if self.bias is None else self.bias.float()
        return F.linear(self.rounding(x), self.weight, bias).to(x.dtype)


def emulate(transformer: SanaWMTransformer, precision: str) -> list[str]:
    """Round the layers that `quantise` would quantise, in place; returns their names."""
    for block in transformer.blocks:
        mlp = block.get_submodule("mlp")
        for name in ("inverted_conv", "point_conv"):
            setattr(mlp, name, PointwiseLinear(getattr(mlp, name)))
    done = []
    for name, layer in scope(transformer).items():
        assert isinstance(layer, nn.Linear)
        if all(side % ALIGNMENT == 0 for side in layer.weight.shape):
            owner, _, last = name.rpartition(".")
            setattr(transformer.get_submodule(owner), last, EmulatedLinear(layer, ROUNDINGS[precision]))
            done.append(name)
    return done
