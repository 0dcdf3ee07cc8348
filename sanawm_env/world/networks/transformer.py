"""The SANA-WM diffusion transformer: one class, three modes (docs/model.md)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sanawm_env.camera.rays import invert_ray_matrices, ray_matrices
from sanawm_env.world.networks.anchor.inputs import AnchorInput
from sanawm_env.world.networks.blocks import Block, CaptionEmbed, FinalLayer, TimestepEmbed
from sanawm_env.world.networks.cache import ModelCache, remember, still_visible, window_order
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.layers import PLAIN, Layout, PatchEmbed, RMSNorm
from sanawm_env.world.networks.position import RayFrames, rotations

MASKED = -10000.0
"""Additive logit of a hidden text token, as upstream's."""


class SanaWMTransformer(nn.Module):
    """Predicts the flow velocity `v = noise - data` of latent video, given text and camera.

    `forward` covers the three modes of the model family:

    * `streaming`: one chunk after a `ModelCache`; with `commit=True` it also returns the next cache.
    * `chunk_causal`: several chunks in one call, the carried state crossing their borders (`chunks=`).
    * `bidirectional`: one call, one chunk, no cache.

    Upstream: `SanaMSVideoCamCtrlStreaming`; the paper: arXiv 2605.15178; both in short: docs/model.md, "Block".
    """

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        self.config = config
        c = config.hidden_size
        self.x_embedder = PatchEmbed(config.in_channels, c, config.patch_size)
        self.t_embedder = TimestepEmbed(c)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(c, 6 * c))
        if config.caption_channels:
            self.y_embedder = CaptionEmbed(config)
            self.attention_y_norm = RMSNorm(c, 1e-5)
        self.plucker_embedder = PatchEmbed(config.plucker_channels, c, (1, 1))
        if config.release_buffers:
            self.raymap_embedder = PatchEmbed(3, c, (1, 1))
        if config.pos_embed_tokens:
            self.register_buffer("pos_embed", torch.zeros(1, config.pos_embed_tokens, c))
        if config.anchor:
            self.anchor = AnchorInput(config)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.final_layer = FinalLayer(config)
        self.kernels = PLAIN
        """Set by `accel.kernels.use_kernels`; with gradients and under torch.compile the plain ones run."""
        self.recompute = False
        """With gradients: keep the input of each block alone, and compute the rest again on the way back."""

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        *,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        raymap: Tensor | None = None,
        plucker: Tensor | None = None,
        anchor: Tensor | None = None,
        cache: ModelCache | None = None,
        commit: bool = False,
        chunks: Sequence[int] | None = None,
        frames: Tensor | None = None,
        filled: int | None = None,
    ) -> tuple[Tensor, ModelCache | None]:
        """Predict velocities.

        Args:
            x: `(B, C, T, H, W)` noisy latents.
            timesteps: `(B, T)` per frame, 0 (clean) to 1000 (noise).
            text: `(B, L, caption_channels)` text embeddings; required when the model has text conditioning.
            text_mask: `(B, L)`, non-zero where a token counts; None counts all.
            raymap: `(B, T, 20)` poses relative to frame 0 and intrinsics on the token grid; None runs without
                the camera branch.
            plucker: `(B, 6*stride, T, h, w)` on the token grid, or None.
            anchor: `(B, C + 1, T, H, W)`, the given image warped to these frames (`networks.anchor.views`); exactly for
                models with `config.anchor`.
            cache: Past of the rollout (streaming mode).
            commit: Also return the cache after this chunk.
            chunks: Chunk index of every frame (chunk-causal mode); None makes the call one chunk.
            frames: `(B, T)` absolute latent-frame indices; None continues `cache`, or starts at 0.
            filled: Places of the cached window that hold a frame, the same number in every slot
                (`cache.common_fill`). Softmax attention then reads these alone and needs no mask, so that a GPU can
                run its flash kernel. None is unknown: all places are read and the empty ones masked, which gives
                the same up to rounding. Whether it is true of the cache is not looked up: that would wait for the
                device at every call.

        Returns:
            Velocities `(B, C, T, H, W)`, and the next cache if `commit`, else None.

        Raises:
            ValueError: Shapes or arguments that do not fit together.
        """
        config = self.config
        height, width = self._check(x, timesteps, text, text_mask, raymap, plucker, anchor)
        batch, _, time = x.shape[:3]
        if cache is not None and chunks is not None:
            raise ValueError("Pass either cache (streaming) or chunks (chunk-causal), not both.")
        if commit and cache is None:
            raise ValueError("commit=True needs a cache to continue; start from empty_cache().")
        if cache is not None and cache.blocks[0]["ffn_tail"].shape[::2] != (batch, height * width):
            raise ValueError("The cache was made for another number of slots or another latent size.")
        if filled is not None and (cache is None or not 0 <= filled <= cache.window_chunk.shape[1]):
            places = 0 if cache is None else cache.window_chunk.shape[1]
            raise ValueError(f"filled counts places of the cache's window, 0 to {places} here; got {filled}.")
        chunks = [0] * time if chunks is None else list(chunks)
        if len(chunks) != time or any(b < a for a, b in pairwise(chunks)):
            raise ValueError(f"chunks must give {time} non-decreasing chunk indices, one per frame; got {chunks}.")
        if frames is None:
            start = x.new_zeros(batch, dtype=torch.int64) if cache is None else cache.frames
            frames = start[:, None] + torch.arange(time, device=x.device)

        layout, labels = self._layout(batch, time, height, width, raymap, frames, chunks, cache, commit, filled)
        tokens = self.x_embedder(x)
        if anchor is not None:
            tokens = tokens + self.anchor.embedder(anchor.to(tokens.dtype))
        t_emb = self.t_embedder(timesteps.long() if config.truncate_timesteps else timesteps)
        modulation = self.t_block(t_emb)
        plucker_tokens = None if plucker is None else self.plucker_embedder(plucker.to(tokens.dtype))
        text_tokens = self._embed_text(text, text_mask)
        updates = []
        for index, block in enumerate(self.blocks):
            past = None if cache is None else cache.blocks[index]
            given = (tokens, modulation, plucker_tokens, text_tokens, layout, past)
            if self.recompute and torch.is_grad_enabled():
                tokens, update = checkpoint(block, *given, use_reentrant=False)
            else:
                tokens, update = block(*given)
            if commit:  # else a block's update would live on until the last block has run
                updates.append(update)
            del update
        velocity = self.final_layer(tokens, t_emb, height, width)
        if anchor is not None:
            velocity = velocity - self.anchor.data(tokens, anchor, height, width)
        if not commit or cache is None:
            return velocity, None
        kept = tuple(remember(new, old) for new, old in zip(updates, cache.blocks, strict=True))
        return velocity, ModelCache(kept, labels, cache.frames + time, cache.chunks + 1)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and of the activations that go with them."""
        return self.x_embedder.proj.weight.dtype

    def _check(
        self,
        x: Tensor,
        timesteps: Tensor,
        text: Tensor | None,
        text_mask: Tensor | None,
        raymap: Tensor | None,
        plucker: Tensor | None,
        anchor: Tensor | None,
    ) -> tuple[int, int]:
        """Refuse inputs whose shapes do not fit together; returns rows and columns of the token grid."""
        config = self.config
        rows, columns = config.patch_size
        if x.ndim != 5 or x.shape[1] != config.in_channels or x.shape[3] % rows or x.shape[4] % columns:
            raise ValueError(
                f"Expected latents (B, {config.in_channels}, T, H, W), H a multiple of {rows} and W of {columns}; "
                f"got {tuple(x.shape)}."
            )
        batch, time, height, width = x.shape[0], x.shape[2], x.shape[3] // rows, x.shape[4] // columns
        expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
            "timesteps (B, T)": (timesteps, (batch, time)),
            "raymap (B, T, 20)": (raymap, (batch, time, 20)),
            "plucker (B, 6*stride, T, h, w)": (plucker, (batch, config.plucker_channels, time, height, width)),
        }
        if config.anchor:
            expected["anchor (B, C + 1, T, H, W)"] = (anchor, (batch, config.in_channels + 1, *x.shape[2:]))
        if (anchor is None) == config.anchor:
            raise ValueError("anchor belongs to models with config.anchor, which need it, and to no other.")
        if text is not None and config.caption_channels:
            length = text.shape[1] if text.ndim == 3 else 0
            expected["text (B, L, channels)"] = (text, (batch, length, config.caption_channels))
            expected["text_mask (B, L)"] = (text_mask, (batch, length))
        for name, (value, shape) in expected.items():
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"Expected {name} to be {shape} for these latents; got {tuple(value.shape)}.")
        return height, width

    def _embed_text(self, text: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if not self.config.caption_channels:
            return None
        if text is None:
            raise ValueError("This model has text conditioning: pass text (B, L, caption_channels).")
        embedded = self.attention_y_norm(self.y_embedder(text))
        if mask is None:
            mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
        bias = torch.where(mask != 0, 0.0, MASKED).float()[:, None, None, :]
        return embedded, bias

    def _layout(
        self,
        batch: int,
        time: int,
        height: int,
        width: int,
        raymap: Tensor | None,
        frames: Tensor,
        chunks: list[int],
        cache: ModelCache | None,
        commit: bool,
        filled: int | None,
    ) -> tuple[Layout, Tensor]:
        """Geometry and visibility shared by all blocks, and the window labels after a commit."""
        config = self.config
        main, camera = rotations(frames, height, width, config.head_dim)
        rays = None
        if raymap is not None:
            matrices = ray_matrices(raymap.float(), height, width).reshape(batch, time, height * width, 4, 4)
            rays = RayFrames(matrices, invert_ray_matrices(matrices), camera)
        order, labels, bias = None, frames, None  # labels count only where the call commits
        if cache is not None:
            if commit:
                order, labels = window_order(config, cache, time)
            bias = self._window_bias(cache, time, height * width) if filled is None else None
        elif chunks[0] != chunks[-1] and config.chunk_causal_softmax == "window":
            bias = self._chunk_bias(frames, chunks, height * width)
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling()
        kernels = PLAIN if plain else self.kernels
        return Layout(chunks, height, width, main, rays, bias, order, filled, kernels), labels

    def _window_bias(self, cache: ModelCache, time: int, tokens: int) -> Tensor:
        """Hide the empty places of the window: `(B, 1, 1, (capacity + T) * S)`."""
        seen = cache.window_chunk >= 0
        seen = torch.cat((seen, seen.new_ones(seen.shape[0], time)), dim=1)
        seen = seen.repeat_interleave(tokens, dim=1)
        return torch.where(seen, 0.0, float("-inf")).float()[:, None, None, :]

    def _chunk_bias(self, frames: Tensor, chunks: list[int], tokens: int) -> Tensor:
        """Let every chunk of a long call see what streaming would show it: `(1, 1, N, N)`."""
        config = self.config
        index = torch.tensor(chunks, device=frames.device)
        own = index[:, None] == index[None, :]
        if config.window_frames:
            # Window labels are frame indices within the rollout, which starts with this call.
            label = torch.arange(len(chunks), device=frames.device)
            first = torch.tensor([chunks.index(c) for c in chunks], device=frames.device)
            newest = first[:, None] - 1
        else:
            label, newest = index, index[:, None] - 1
        rows = label[None, :].expand(len(chunks), -1)
        past = still_visible(config, rows, newest) & (index[None, :] < index[:, None])
        seen = (own | past).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        return torch.where(seen, 0.0, float("-inf")).float()[None, None]
