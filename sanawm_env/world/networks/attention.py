"""The two attentions of SANA-WM, each with a camera branch beside its main branch, and text cross-attention.

Tokens are held as `(B, T, S, C)`: slot, latent frame, token in the frame, channel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.cache import BlockCache, recall, slide
from sanawm_env.world.networks.config import SanaWMConfig, SoftmaxScale, softmax_scale
from sanawm_env.world.networks.gdn import last_frames, short_conv
from sanawm_env.world.networks.layers import JointProjection, Layout, Linear, Projections, RMSNorm
from sanawm_env.world.networks.position import RayFrames, downscale_to_rms, rotate, to_world, to_world_query

DENOMINATOR_EPS = 1e-8


class ShortConvWeight(nn.Module):
    """Holds the depthwise kernel under upstream's key `conv_k.weight`."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 1, taps))


class CameraAttention(nn.Module):
    """Self-attention of one block: main branch plus camera branch, gated (docs/model.md, sections 4 to 6)."""

    def __init__(self, config: SanaWMConfig, *, softmax: bool) -> None:
        super().__init__()
        self.config = config
        self.softmax = softmax
        c, h = config.hidden_size, config.heads
        self.qkv = Linear(c, 3 * c, bias=False)
        self.proj = Linear(c, c)
        self.q_norm, self.k_norm = RMSNorm(c, 1e-5), RMSNorm(c, 1e-5)
        self.output_gate = Linear(c, c)
        self.q_proj_cam, self.k_proj_cam, self.v_proj_cam = (Linear(c, c) for _ in range(3))
        self.out_proj_cam = Linear(c, c)
        self.q_norm_cam, self.k_norm_cam = RMSNorm(c, 1e-5), RMSNorm(c, 1e-5)
        if not softmax or config.release_buffers:
            self.beta_proj = Linear(c, h)
            self.gate_proj = Linear(c, h)
            self.A_log = nn.Parameter(torch.zeros(h))
            self.dt_bias = nn.Parameter(torch.zeros(h))
        if config.release_buffers:
            self.register_buffer("recall_gate", torch.zeros(1))
        if not softmax:
            self.conv_k = ShortConvWeight(c, config.conv_kernel_size)
            self.conv_k_cam = ShortConvWeight(c, config.conv_kernel_size)
        self.fused: JointProjection | None = None
        """Set by `accel.fused.fuse_projections`."""

    def forward(self, x: Tensor, layout: Layout, cache: BlockCache | None) -> tuple[Tensor, BlockCache]:
        """Mix tokens over space, time and camera.

        Args:
            x: `(B, T, S, C)` modulated block input.
            layout: Shared geometry of the call.
            cache: The block's cache, or None for an empty past.

        Returns:
            `(B, T, S, C)`, and the cache entries that a commit would store.
        """
        mix = self._softmax_mix if self.softmax else self._gdn_mix
        # One product in place of five or six, where the weights lie for it (`accel.fused`).
        fused = self.fused(x) if self.fused is not None and layout.rays is not None and self.fused.usable else None
        mixed, update = mix(x, fused, layout, cache)
        gate = self.output_gate(x) if fused is None else fused.gate
        return self.proj(layout.kernels.gated(mixed, gate, x.dtype)), update

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CameraAttention:
        super()._apply(fn, recurse)
        if self.fused is not None and not self.fused.holds:
            self.fused = None  # the module was moved: let go of the old memory
        return self

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.config.heads, self.config.head_dim))

    def _camera_qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw camera projections, keys before convolution and norm."""
        return self.q_proj_cam(x), self.k_proj_cam(x), self.v_proj_cam(x)

    # -- gated delta rule ---------------------------------------------------------------------------------

    def _gdn_mix(
        self, x: Tensor, fused: Projections | None, layout: Layout, cache: BlockCache | None
    ) -> tuple[Tensor, BlockCache]:
        config, kernels = self.config, layout.kernels
        taps = config.conv_kernel_size - 1
        tokens = x.shape[2]
        past = cache if cache is not None else _empty_gdn_cache(config, x)
        key_scale = config.head_dim**-0.5 * tokens**-0.5

        conv_tail = recall(past, "conv_tail", x.dtype)

        beta = self.beta_proj(x) if fused is None or fused.beta is None else fused.beta
        beta = torch.sigmoid(beta.float())  # (B, T, S, heads): per token
        rate = F.softplus(self.gate_proj(x.mean(2)).float() + self.dt_bias.float())
        decay = torch.exp(-torch.exp(self.A_log.float()) * rate)  # (B, T, heads): per frame

        q, k_raw, v = (self.qkv(x) if fused is None else fused.qkv).chunk(3, dim=-1)
        k = short_conv(k_raw, self.conv_k.weight, conv_tail, layout.chunks, carry=True)
        q, q_turned = kernels.features(q, self.q_norm, config.heads, 1.0, layout.rotation)
        k, k_turned = kernels.features(k, self.k_norm, config.heads, key_scale, layout.rotation)
        v = self._heads(v).float()
        erase, write = _outer(k_turned, k_turned, beta), _outer(k_turned, v, beta)
        reads, state = kernels.scan(decay, erase, write, past["state"], layout.chunks)
        # The denominator runs on the un-rotated keys and queries, which are non-negative.
        mass = torch.einsum("btshd,btsh->bthd", k, beta).unsqueeze(-1)
        z_reads, normalizer = kernels.scan(decay, _outer(k, k, beta), mass, past["normalizer"], layout.chunks)
        mixed = _read(q_turned, reads) / (_read(q, z_reads) + DENOMINATOR_EPS)
        out = mixed.flatten(-2)
        update = {
            "state": state,
            "normalizer": normalizer,
            "conv_tail": last_frames(k_raw, conv_tail, taps),
        }

        update["cam_state"] = past["cam_state"]
        if config.camera_conv_tail:
            update["cam_conv_tail"] = past["cam_conv_tail"]
        if layout.rays is not None:
            q, k_raw, v = self._camera_qkv(x) if fused is None else fused.camera
            tail = recall(past, "cam_conv_tail", x.dtype) if config.camera_conv_tail else None
            k = short_conv(k_raw, self.conv_k_cam.weight, tail, layout.chunks, carry=config.camera_conv_tail)
            norms, downscale = (self.q_norm_cam, self.k_norm_cam), config.camera_downscale
            moved = kernels.camera_features(q, k, v, norms, config.heads, key_scale, layout.rays, downscale=downscale)
            beta = beta / moved.discount
            erase, write = _outer(moved.k, moved.k, beta), _outer(moved.k, moved.v, beta)
            reads, update["cam_state"] = kernels.scan(decay, erase, write, past["cam_state"], layout.chunks)
            camera = kernels.leave_world(_read(moved.q, reads), layout.rays, x.dtype)
            out = out + self.out_proj_cam(camera).float()
            if tail is not None:
                update["cam_conv_tail"] = last_frames(k_raw, tail, taps)
        return out, update

    def _to_world(self, q: Tensor, k: Tensor, v: Tensor, rays: RayFrames) -> tuple[Tensor, Tensor, Tensor]:
        moved = to_world_query(q, rays), to_world(k, rays), to_world(v, rays)
        if self.config.camera_downscale:
            return tuple(downscale_to_rms(a, b) for a, b in zip((q, k, v), moved, strict=True))  # type: ignore[return-value]
        return moved

    # -- softmax ------------------------------------------------------------------------------------------

    def _softmax_mix(
        self, x: Tensor, fused: Projections | None, layout: Layout, cache: BlockCache | None
    ) -> tuple[Tensor, BlockCache]:
        config = self.config
        q, k, v = (self.qkv(x) if fused is None else fused.qkv).chunk(3, dim=-1)
        q, k, v = self._heads(self.q_norm(q)), self._heads(self.k_norm(k)), self._heads(v)
        q, k = (rotate(a.float(), layout.rotation).to(x.dtype) for a in (q, k))
        out = self._attend(q, k, v, "k", "v", layout, cache, config.softmax_scale).flatten(-2)
        new = {"k": k, "v": v}
        if layout.rays is not None:
            q, k, v = self._camera_qkv(x) if fused is None else fused.camera
            q, k, v = self._heads(self.q_norm_cam(q)), self._heads(self.k_norm_cam(k)), self._heads(v)
            q, k, v = (a.to(x.dtype) for a in self._to_world(q.float(), k.float(), v.float(), layout.rays))
            camera = self._attend(q, k, v, "cam_k", "cam_v", layout, cache, config.camera_softmax_scale)
            camera = layout.kernels.leave_world(camera.float(), layout.rays, x.dtype)
            out = out + self.out_proj_cam(camera)
            new |= {"cam_k": k, "cam_v": v}
        if cache is None or layout.window_order is None:
            return out, {}
        update = {name: cache[name] for name in ("cam_k", "cam_v")}  # as they are, where there is no camera
        for name, value in new.items():
            update |= slide(cache, name, value, layout.window_order)
        return out, update

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        k_name: str,
        v_name: str,
        layout: Layout,
        cache: BlockCache | None,
        rule: SoftmaxScale,
    ) -> Tensor:
        """Softmax attention of this call's queries over window and call; `(B, T, S, heads, D)`."""
        frames, tokens = q.shape[1:3]
        if cache is not None:
            # Empty places come first in the window, so what is filled is its end.
            begin = 0 if layout.window_filled is None else cache[k_name].shape[1] - layout.window_filled
            k = torch.cat((recall(cache, k_name, k.dtype, begin), k), dim=1)
            v = torch.cat((recall(cache, v_name, v.dtype, begin), v), dim=1)
        # Attention wants (B, heads, tokens, D).
        q, k, v = (a.flatten(1, 2).transpose(1, 2) for a in (q, k, v))
        dtype = q.dtype
        if self.config.attention_dtype == "bfloat16":
            q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        bias = None if layout.key_bias is None else layout.key_bias.to(q.dtype)
        out = _sdpa(q, k, v, bias, softmax_scale(rule, self.config.head_dim)).to(dtype)
        return out.transpose(1, 2).unflatten(1, (frames, tokens))


class CrossAttention(nn.Module):
    """Attention from video tokens to text tokens (docs/model.md, "Block")."""

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        c = config.hidden_size
        self.heads = config.heads
        self.q_linear = Linear(c, c)
        self.kv_linear = Linear(c, 2 * c)
        self.proj = Linear(c, c)
        self.q_norm, self.k_norm = RMSNorm(c, 1e-6), RMSNorm(c, 1e-6)

    def forward(self, x: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """Attend from `x` `(B, T, S, C)` to `text` `(B, L, C)` under additive `bias` `(B, 1, 1, L)`."""
        q = self.q_norm(self.q_linear(x)).flatten(1, 2)
        k, v = self.kv_linear(text).chunk(2, dim=-1)
        q, k, v = (a.unflatten(-1, (self.heads, -1)).transpose(1, 2) for a in (q, self.k_norm(k), v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(out.transpose(1, 2).flatten(-2).unflatten(1, x.shape[1:3]))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Softmax attention over `(B, heads, tokens, D)`.

    On a CPU written-out products beat torch's fused kernel two to three times with a few hundred keys, and with some
    thousand in bfloat16 (forward and backward, 1120 keys: 60 ms against 150); everything larger goes to that kernel.
    """
    half = torch.is_autocast_enabled("cpu") or q.dtype == torch.bfloat16
    if q.device.type == "cpu" and k.shape[2] <= (2048 if half else 512):
        logits = q @ (k * scale).transpose(-1, -2)
        return (logits if bias is None else logits + bias).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _outer(left: Tensor, right: Tensor, beta: Tensor) -> Tensor:
    """`left^T diag(beta) right` per frame and head: `(B, T, heads, D, E)`."""
    left = (left * beta.unsqueeze(-1)).permute(0, 1, 3, 4, 2)
    return left @ right.permute(0, 1, 3, 2, 4)


def _read(q: Tensor, states: Tensor) -> Tensor:
    """Queries `(B, T, S, heads, D)` times states `(B, T, heads, D, E)`: `(B, T, S, heads, E)`."""
    return (q.permute(0, 1, 3, 2, 4) @ states).permute(0, 1, 3, 2, 4)


def _empty_gdn_cache(config: SanaWMConfig, x: Tensor) -> BlockCache:
    batch, _, tokens, c = x.shape
    square = x.new_zeros(batch, config.heads, config.head_dim, config.head_dim, dtype=torch.float32)
    tail = x.new_zeros(batch, config.conv_kernel_size - 1, tokens, c)
    return {
        "state": square,
        "normalizer": square[..., :1],
        "cam_state": square,
        "conv_tail": tail,
        "cam_conv_tail": tail,
    }
