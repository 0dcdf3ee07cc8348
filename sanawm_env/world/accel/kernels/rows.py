"""Element-wise work on one token after another as Triton kernels: norms, rotary turns, ray matrices and gates.

A program reads a token once and writes what is wanted of it; everything between is float32, rounded once at the end.
What is written for the delta rule lies head by head, `(B, T, heads, S, D)` in memory, as its products want it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sanawm_env.world.networks import layers
from sanawm_env.world.networks.layers import CameraFeatures, RMSNorm
from sanawm_env.world.networks.position import RayFrames, Rotation

__all__ = ["camera_features", "features", "gated", "gated_halves", "leave_world", "modulated"]

ELEMENTS = 1024
"""Values per program of the plainest kernels."""


@triton.jit
def _turn_pairs(
    x, norm, cosines, sines, plain, turned, frame_stride, token_stride, tokens, eps, scale,
    H: tl.constexpr, D: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Norm, ReLU and scale of one token's heads, as they are and turned."""
    row = tl.program_id(0).to(tl.int64)
    frame, token = row // tokens, row % tokens
    head, pair = tl.arange(0, BLOCK_H)[:, None], tl.arange(0, BLOCK_P)[None, :]
    inside = (head < H) & (pair < D // 2)
    channel = head * D + 2 * pair
    source = x + frame * frame_stride + token * token_stride + channel
    a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + 1, mask=inside, other=0.0).to(tl.float32)
    root = tl.rsqrt((tl.sum(a * a) + tl.sum(b * b)) / (H * D) + eps)
    a = tl.maximum(a * root * tl.load(norm + channel, mask=inside, other=0.0).to(tl.float32), 0.0) * scale
    b = tl.maximum(b * root * tl.load(norm + channel + 1, mask=inside, other=0.0).to(tl.float32), 0.0) * scale
    c = tl.load(cosines + row * (D // 2) + pair, mask=pair < D // 2, other=0.0)
    s = tl.load(sines + row * (D // 2) + pair, mask=pair < D // 2, other=0.0)
    to = ((frame * H + head) * tokens + token) * D + 2 * pair
    tl.store(plain + to, a, mask=inside)
    tl.store(plain + to + 1, b, mask=inside)
    tl.store(turned + to, a * c - b * s, mask=inside)
    tl.store(turned + to + 1, a * s + b * c, mask=inside)


@triton.jit
def _move(
    x, norm, matrices, cosines, sines, out, inflation,
    frame_stride, token_stride, head_stride, out_frame, out_token, out_head, tokens, eps, scale,
    H: tl.constexpr, D: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_P: tl.constexpr,
    NORM: tl.constexpr, TRANSPOSE: tl.constexpr, INVERSE: tl.constexpr, INFLATION: tl.constexpr,
):  # fmt: skip
    """One token's heads: the first half in groups of four times its matrix, the second half turned."""
    row = tl.program_id(0).to(tl.int64)
    frame, token = row // tokens, row % tokens
    head, group = tl.arange(0, BLOCK_H)[:, None], tl.arange(0, BLOCK_G)[None, :]
    pair = tl.arange(0, BLOCK_P)[None, :]
    groups, pairs = (head < H) & (group < D // 8), (head < H) & (pair < D // 4)
    source = x + frame * frame_stride + token * token_stride + head * head_stride
    first = source + 4 * group
    x0 = tl.load(first, mask=groups, other=0.0).to(tl.float32)
    x1 = tl.load(first + 1, mask=groups, other=0.0).to(tl.float32)
    x2 = tl.load(first + 2, mask=groups, other=0.0).to(tl.float32)
    x3 = tl.load(first + 3, mask=groups, other=0.0).to(tl.float32)
    second = source + D // 2 + 2 * pair
    a = tl.load(second, mask=pairs, other=0.0).to(tl.float32)
    b = tl.load(second + 1, mask=pairs, other=0.0).to(tl.float32)
    if NORM:
        power = tl.sum(x0 * x0 + x1 * x1 + x2 * x2 + x3 * x3) + tl.sum(a * a + b * b)
        root = tl.rsqrt(power / (H * D) + eps)
        weight = norm + head * D + 4 * group
        x0 = tl.maximum(x0 * root * tl.load(weight, mask=groups, other=0.0).to(tl.float32), 0.0) * scale
        x1 = tl.maximum(x1 * root * tl.load(weight + 1, mask=groups, other=0.0).to(tl.float32), 0.0) * scale
        x2 = tl.maximum(x2 * root * tl.load(weight + 2, mask=groups, other=0.0).to(tl.float32), 0.0) * scale
        x3 = tl.maximum(x3 * root * tl.load(weight + 3, mask=groups, other=0.0).to(tl.float32), 0.0) * scale
        weight = norm + head * D + D // 2 + 2 * pair
        a = tl.maximum(a * root * tl.load(weight, mask=pairs, other=0.0).to(tl.float32), 0.0) * scale
        b = tl.maximum(b * root * tl.load(weight + 1, mask=pairs, other=0.0).to(tl.float32), 0.0) * scale
    m = matrices + row * 16
    i: tl.constexpr = 1 if TRANSPOSE else 4  # from one row of the product to the next
    j: tl.constexpr = 4 if TRANSPOSE else 1
    y0 = tl.load(m) * x0 + tl.load(m + j) * x1 + tl.load(m + 2 * j) * x2 + tl.load(m + 3 * j) * x3
    m += i
    y1 = tl.load(m) * x0 + tl.load(m + j) * x1 + tl.load(m + 2 * j) * x2 + tl.load(m + 3 * j) * x3
    m += i
    y2 = tl.load(m) * x0 + tl.load(m + j) * x1 + tl.load(m + 2 * j) * x2 + tl.load(m + 3 * j) * x3
    m += i
    y3 = tl.load(m) * x0 + tl.load(m + j) * x1 + tl.load(m + 2 * j) * x2 + tl.load(m + 3 * j) * x3
    c = tl.load(cosines + row * (D // 4) + pair, mask=pair < D // 4, other=0.0)
    s = tl.load(sines + row * (D // 4) + pair, mask=pair < D // 4, other=0.0)
    if INVERSE:
        s = -s
    turned_a, turned_b = a * c - b * s, a * s + b * c
    to = out + frame * out_frame + token * out_token + head * out_head
    tl.store(to + 4 * group, y0, mask=groups)
    tl.store(to + 4 * group + 1, y1, mask=groups)
    tl.store(to + 4 * group + 2, y2, mask=groups)
    tl.store(to + 4 * group + 3, y3, mask=groups)
    tl.store(to + D // 2 + 2 * pair, turned_a, mask=pairs)
    tl.store(to + D // 2 + 2 * pair + 1, turned_b, mask=pairs)
    if INFLATION:
        rest = tl.sum(a * a + b * b, axis=1)
        before = tl.sum(x0 * x0 + x1 * x1 + x2 * x2 + x3 * x3, axis=1) + rest
        after = tl.sum(y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3, axis=1)
        after += tl.sum(turned_a * turned_a + turned_b * turned_b, axis=1)
        heads = tl.arange(0, BLOCK_H)
        tl.store(inflation + row * H + heads, tl.maximum(after, 1e-12) / tl.maximum(before, 1e-12), mask=heads < H)


@triton.jit
def _gate(x, gate, out, width, x_stride, gate_stride, total, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < total
    row, column = at // width, at % width
    value = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(gate + row * gate_stride + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (value * g * tl.sigmoid(g)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _modulate(x, shift, scale, out, tokens, shift_stride, scale_stride, C: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < C
    value = tl.load(x + row * C + column, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, value - tl.sum(value) / C, 0.0)
    root = tl.rsqrt(tl.sum(centred * centred) / C + 1e-6)
    by = tl.load(scale + row // tokens * scale_stride + column, mask=inside, other=0.0).to(tl.float32)
    add = tl.load(shift + row // tokens * shift_stride + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * C + column, (centred * root * (1 + by) + add).to(out.dtype.element_ty), mask=inside)


def features(x: Tensor, norm: RMSNorm, heads: int, scale: float, rotation: Rotation) -> tuple[Tensor, Tensor]:
    """See `networks.layers.features`."""
    x = _by_frames(x)
    slots, frames, tokens, width = x.shape
    d = width // heads
    plain, turned = (_by_heads(x, heads, d) for _ in range(2))
    _turn_pairs[(slots * frames * tokens,)](
        x, norm.weight, rotation.cos, rotation.sin, plain, turned, x.stride(1), x.stride(2), tokens, norm.eps, scale,
        H=heads, D=d, BLOCK_H=triton.next_power_of_2(heads), BLOCK_P=triton.next_power_of_2(d // 2),
    )  # fmt: skip
    return plain.transpose(2, 3), turned.transpose(2, 3)


def camera_features(
    q: Tensor, k: Tensor, v: Tensor, norms: tuple[RMSNorm, RMSNorm], heads: int, scale: float, rays: RayFrames,
    *, downscale: bool = False,
) -> CameraFeatures:  # fmt: skip
    """See `networks.layers.camera_features`; with `downscale` it is that one."""
    if downscale:
        return layers.camera_features(q, k, v, norms, heads, scale, rays, downscale=True)
    into, back = rays.world_from_ray, rays.ray_from_world
    inflation = k.new_empty(*k.shape[:3], heads, dtype=torch.float32)
    moved = [
        _moved(x.unflatten(-1, (heads, -1)), matrices, rays.rotation, norm, factor, transpose=first, inflation=into_)
        for x, matrices, norm, factor, first, into_ in (
            (q, back, norms[0], 1.0, True, None),
            (k, into, norms[1], scale, False, inflation),
            (v, into, None, 1.0, False, None),
        )
    ]
    return CameraFeatures(moved[0], moved[1], moved[2], inflation.mean(2, keepdim=True).clamp(min=1.0))


def leave_world(x: Tensor, rays: RayFrames, dtype: torch.dtype) -> Tensor:
    """See `networks.layers.leave_world`."""
    out = x.new_empty(x.shape, dtype=dtype)
    _moved(x, rays.ray_from_world, rays.rotation, None, 1.0, inverse=True, out=out)
    return out.flatten(-2)


def gated(x: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """See `networks.layers.gated`."""
    return _gated(x.contiguous(), _by_frames(gate), dtype)


def gated_halves(x: Tensor) -> Tensor:
    """See `networks.layers.gated_halves`."""
    value, gate = _by_frames(x).chunk(2, dim=-1)
    return _gated(value, gate, x.dtype)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """See `networks.layers.modulated`."""
    x = x.contiguous()
    slots, frames, tokens, width = x.shape
    shift, scale = (_by_frames(part) for part in (shift, scale))
    out = torch.empty_like(x)
    _modulate[(slots * frames * tokens,)](
        x, shift, scale, out, tokens, shift.stride(1), scale.stride(1), C=width, BLOCK=triton.next_power_of_2(width)
    )
    return out


def _moved(
    x: Tensor,
    matrices: Tensor,
    rotation: Rotation,
    norm: RMSNorm | None,
    scale: float,
    *,
    transpose: bool = False,
    inverse: bool = False,
    inflation: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Run `_move` on `(B, T, S, heads, D)`."""
    slots, frames, tokens, heads, d = x.shape
    if (slots > 1 and x.stride(0) != frames * x.stride(1)) or x.stride(4) != 1:
        x = x.contiguous()
    if out is None:
        out = _by_heads(x, heads, d).transpose(2, 3)
    _move[(slots * frames * tokens,)](
        x, x if norm is None else norm.weight, matrices.contiguous(), rotation.cos, rotation.sin, out,
        out if inflation is None else inflation,
        x.stride(1), x.stride(2), x.stride(3), out.stride(1), out.stride(2), out.stride(3), tokens,
        0.0 if norm is None else norm.eps, scale,
        H=heads, D=d, BLOCK_H=triton.next_power_of_2(heads), BLOCK_G=triton.next_power_of_2(d // 8),
        BLOCK_P=triton.next_power_of_2(d // 4), NORM=norm is not None, TRANSPOSE=transpose, INVERSE=inverse,
        INFLATION=inflation is not None,
    )  # fmt: skip
    return out


def _gated(value: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """Run `_gate` on tensors whose rows are spaced evenly."""
    out = value.new_empty(value.shape, dtype=dtype)
    total = value.numel()
    _gate[(triton.cdiv(total, ELEMENTS),)](
        value, gate, out, value.shape[-1], value.stride(2), gate.stride(2), total, BLOCK=ELEMENTS
    )
    return out


def _by_heads(x: Tensor, heads: int, d: int) -> Tensor:
    """Empty fp32 memory for every head of every token, `(B, T, heads, S, D)`."""
    slots, frames, tokens = x.shape[:3]
    return x.new_empty(slots, frames, heads, tokens, d, dtype=torch.float32)


def _by_frames(x: Tensor) -> Tensor:
    """`(B, T, S, C)` whose tokens are spaced evenly, without a copy where they are so already."""
    slots, frames, tokens, _ = x.shape
    even = x.stride(3) == 1 and (tokens == 1 or x.stride(1) == tokens * x.stride(2))
    even = even and (slots == 1 or x.stride(0) == frames * x.stride(1))
    return x if even else x.contiguous()
