"""The layers that several parts of the network are made of, and what all blocks of one call share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.gdn import Chunks, frame_scan
from sanawm_env.world.networks.position import (
    RayFrames,
    Rotation,
    beta_discount,
    downscale_to_rms,
    from_world,
    rotate,
    to_world,
    to_world_query,
)

__all__ = [
    "PLAIN",
    "CameraFeatures",
    "ConvLayer",
    "JointProjection",
    "Kernels",
    "Layout",
    "Linear",
    "PatchEmbed",
    "PointwiseLinear",
    "Projections",
    "RMSNorm",
    "camera_features",
    "features",
    "gated",
    "gated_halves",
    "layer_norm",
    "leave_world",
    "linear",
    "modulated",
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


class CameraFeatures(NamedTuple):
    """What the delta rule's camera branch makes of its projections, fp32, queries and so on in the world's frame."""

    q: Tensor
    k: Tensor
    v: Tensor
    """Each `(B, T, S, heads, D)`."""
    discount: Tensor
    """`(B, T, 1, heads)`, the divisor of beta; see `position.beta_discount`."""


def features(x: Tensor, norm: RMSNorm, heads: int, scale: float, rotation: Rotation) -> tuple[Tensor, Tensor]:
    """The delta rule's non-negative features of queries or keys.

    Args:
        x: `(B, T, S, C)` projections.
        norm: Over all heads together.
        heads: Number of heads.
        scale: Factor on the features.
        rotation: Rotary turns of the tokens.

    Returns:
        The features and the turned features, `(B, T, S, heads, D)` fp32.
    """
    wide = F.relu(norm(x)).unflatten(-1, (heads, -1)).float()
    wide = wide if scale == 1 else wide * scale
    return wide, rotate(wide, rotation)


def camera_features(
    q: Tensor, k: Tensor, v: Tensor, norms: tuple[RMSNorm, RMSNorm], heads: int, scale: float, rays: RayFrames,
    *, downscale: bool = False,
) -> CameraFeatures:  # fmt: skip
    """Features of the delta rule's camera branch, moved into the world's frame.

    Args:
        q: Queries, like `k` and `v` `(B, T, S, C)` projections.
        k: Keys after their convolution.
        v: Values.
        norms: Of queries and of keys.
        heads: Number of heads.
        scale: Factor on the keys.
        rays: Ray matrices of the tokens.
        downscale: Scale vectors back to their RMS before the move.
    """
    q, k = (F.relu(norm(x)).unflatten(-1, (heads, -1)).float() for norm, x in zip(norms, (q, k), strict=True))
    k, v = k * scale, v.unflatten(-1, (heads, -1)).float()
    moved = [to_world_query(q, rays), to_world(k, rays), to_world(v, rays)]
    if downscale:
        moved = [downscale_to_rms(before, after) for before, after in zip((q, k, v), moved, strict=True)]
    return CameraFeatures(moved[0], moved[1], moved[2], beta_discount(k, moved[1]))


def leave_world(x: Tensor, rays: RayFrames, dtype: torch.dtype) -> Tensor:
    """Camera output `(B, T, S, heads, D)` fp32, back in its rays' frames: `(B, T, S, C)` in `dtype`."""
    return from_world(x, rays).flatten(-2).to(dtype)


def gated(x: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """`x * silu(gate)` in fp32, cast to `dtype`."""
    return (x.float() * F.silu(gate.float())).to(dtype)


def gated_halves(x: Tensor) -> Tensor:
    """The first half of the last axis times SiLU of the second."""
    value, gate = x.chunk(2, dim=-1)
    return value * F.silu(gate)


def layer_norm(x: Tensor) -> Tensor:
    """Layer norm over the last axis, without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of `(B, T, S, C)`, scaled and shifted per frame by `(B, T, 1, C)`."""
    return layer_norm(x) * (1 + scale) + shift


@dataclass(frozen=True)
class Kernels:
    """Pieces of a block that a GPU can run as one kernel each: here plain torch, others in `accel.kernels`.

    Others answer as these do up to rounding, keep no gradients, and may round to the activations' type less often.
    """

    scan: Callable[[Tensor, Tensor, Tensor, Tensor, Chunks], tuple[Tensor, Tensor]] = frame_scan
    features: Callable[[Tensor, RMSNorm, int, float, Rotation], tuple[Tensor, Tensor]] = features
    camera_features: Callable[..., CameraFeatures] = camera_features
    leave_world: Callable[[Tensor, RayFrames, torch.dtype], Tensor] = leave_world
    gated: Callable[[Tensor, Tensor, torch.dtype], Tensor] = gated
    gated_halves: Callable[[Tensor], Tensor] = gated_halves
    modulated: Callable[[Tensor, Tensor, Tensor], Tensor] = modulated


PLAIN = Kernels()


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
    kernels: Kernels = PLAIN
    """What computes the pieces of the blocks."""
