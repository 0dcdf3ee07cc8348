"""`y = x W^T + b` with the faster of torch's two CPU libraries.

Float32 products go to MKL, which on AMD processors keeps to its AVX2 kernels: measured on a Zen 5 core, 336x240
times 240x720 runs at 90 GFLOP/s there and at 190 in oneDNN, which torch ships, too, and uses for bfloat16. The
operator called here is the one that torch.compile emits for the same reason; where a torch release lacks it, or with
gradients, autocast, other types, devices or quantised weights, this is `F.linear`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear(x, weight, bias)`, rounded otherwise in the last bits; any leading axes."""
    if (
        _ONEDNN is None
        or torch.is_grad_enabled()
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or type(weight) not in (Tensor, nn.Parameter)
        or type(x) is not Tensor
        or torch.is_autocast_enabled("cpu")
    ):
        return F.linear(x, weight, bias)
    return _ONEDNN(x, weight, bias, "none", [], "")


class Linear(nn.Linear):
    """`nn.Linear` by way of `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """`(..., in_features)` to `(..., out_features)`."""
        return linear(input, self.weight, self.bias)
