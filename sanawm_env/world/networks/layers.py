"""The layers that several parts of the network are made of, and what all blocks of one call share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.gdn import Chunks
from sanawm_env.world.networks.position import RayFrames, Rotation

__all__ = [
    "ConvLayer",
    "JointProjection",
    "Layout",
    "Linear",
    "PatchEmbed",
    "PointwiseLinear",
    "Projections",
    "RMSNorm",
    "linear",
]

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear(x, weight, bias)`, rounded otherwise in the last bits, with the faster of torch's two CPU libraries.

    Float32 products go to MKL, which on AMD processors keeps to its AVX2 kernels: measured on a Zen 5 core, 336x240
    times 240x720 runs at 90 GFLOP/s there and at 190 in oneDNN, which torch ships, too, and uses for bfloat16. The
    operator called here is the one that torch.compile emits for the same reason. Where a torch release lacks it, or
    with gradients, autocast, other types, devices or quantised weights, this is `F.linear`.

    Args:
        x: `(..., inputs)`.
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`.
    """
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


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, computed in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`; any leading axes."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps) * self.weight.float()
        return wide.to(x.dtype)


class ConvLayer(nn.Module):
    """A convolution under upstream's key `<name>.conv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)

    def pointwise(self, x: Tensor) -> Tensor:
        """Apply a 1x1 convolution to the last axis."""
        return linear(x, self.conv.weight[:, :, 0, 0], self.conv.bias)


class PointwiseLinear(nn.Module):
    """Takes the place of a `ConvLayer` with a 1x1 kernel; the parameters keep their names."""

    def __init__(self, layer: ConvLayer) -> None:
        super().__init__()
        weight = layer.conv.weight.detach()
        with torch.device("meta"):
            self.conv = Linear(weight.shape[1], weight.shape[0], bias=layer.conv.bias is not None)
        self.conv.weight = nn.Parameter(weight[:, :, 0, 0], requires_grad=layer.conv.weight.requires_grad)
        self.conv.bias = layer.conv.bias  # type: ignore[assignment]

    def pointwise(self, x: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`."""
        return self.conv(x)


class PatchEmbed(nn.Module):
    """Linear embedding of one patch under upstream's key `proj`."""

    def __init__(self, channels: int, width: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, (1, *patch), stride=(1, *patch))

    def forward(self, x: Tensor) -> Tensor:
        """Embed `(B, C, T, H, W)` as `(B, T, S, width)`."""
        weight = self.proj.weight
        height, width = weight.shape[-2:]
        if (height, width) == (1, 1):
            return linear(x.permute(0, 2, 3, 4, 1).flatten(2, 3), weight.flatten(1), self.proj.bias)
        # Folding patches by hand turns the strided convolution into one GEMM.
        x = x.unflatten(4, (-1, width)).unflatten(3, (-1, height)).permute(0, 2, 3, 5, 1, 4, 6)
        return linear(x.flatten(4).flatten(2, 3), weight.flatten(1), self.proj.bias)


class Projections(NamedTuple):
    """Everything an attention projects its input to, each `(B, T, S, width)`."""

    qkv: Tensor
    camera: tuple[Tensor, Tensor, Tensor]
    """Queries, keys before convolution and norm, and values."""
    gate: Tensor
    beta: Tensor | None
    """Write strengths before the sigmoid; None in softmax blocks."""


class JointProjection(Protocol):
    """One product in place of an attention's many, see `accel.fused`; an attention has one or none."""

    @property
    def holds(self) -> bool:
        """Whether it still is made of the attention's own parameters."""
        ...

    @property
    def usable(self) -> bool:
        """Whether it may be called here and now."""
        ...

    def __call__(self, x: Tensor) -> Projections:
        """Project `(B, T, S, C)`."""
        ...


@dataclass(frozen=True)
class Layout:
    """What all blocks of one call share: geometry, positions, visibility."""

    chunks: Chunks
    """Chunk index of every frame."""
    height: int
    width: int
    """Token grid."""
    rotation: Rotation
    rays: RayFrames | None
    """None runs without the camera branch."""
    key_bias: Tensor | None
    """`(B or 1, 1, N or 1, keys)` additive softmax mask over window and call, or None when all is visible."""
    window_order: Tensor | None = None
    """Gather index of the next softmax window; present only when the call commits."""
    window_filled: int | None = None
    """How many frames of the softmax window hold something, the last ones, in every slot; None reads them all
    and leaves it to `key_bias` to hide the empty ones."""
