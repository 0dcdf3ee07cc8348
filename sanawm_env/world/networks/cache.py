"""What one rollout remembers between chunks, as plain tensors with a leading slot axis.

Which block remembers what, and why: docs/model.md, "Memory between chunks".

A block's cache is a flat `dict[str, Tensor]`: easy to index, repeat, save and count. All shapes are fixed from
the first frame on, so memory does not grow with time.

GDN block: `state`, `normalizer`, `cam_state` (key x value matrices, fp32), `conv_tail`, `ffn_tail` and, if the
config carries it, `cam_conv_tail`. Softmax block: `k`, `v`, `cam_k`, `cam_v` over the window, and `ffn_tail`.
Shared by all softmax blocks: `window_chunk`, the chunk index of every frame in the window, -1 where empty.

Window and tails may be kept in 8 bits (`StatePrecision`), each with its `..._scale` beside it. They are rounded
once, when they are written; a frame that stays in the window keeps its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sanawm_env.world.networks.config import SanaWMConfig

BlockCache = dict[str, Tensor]

StatePrecision = Literal["bf16", "fp8", "int8"]
"""How window and tails are kept; None is in the type of the activations. 8 bits are e4m3 or integers with one scale
for each frame and head."""

_STORED = {"bf16": torch.bfloat16, "fp8": torch.uint8, "int8": torch.int8}
"""Types of the tensors. Not every operation of torch knows e4m3, so its bits are kept as bytes."""
_LARGEST = {torch.uint8: 448.0, torch.int8: 127.0}
_SCALE = "_scale"
_ALIGNMENT = 64
"""Bytes; what torch's CPU allocator gives, and the widest vector register."""


@dataclass(frozen=True)
class ModelCache:
    """The recurrent state of the transformer."""

    blocks: tuple[BlockCache, ...]
    """One flat dictionary per block."""
    window_chunk: Tensor
    """`(B, capacity)` int64, chunk index of each cached frame, -1 if the place is empty. Frame-granular
    windows (`window_frames`) store the latent-frame index here instead."""
    frames: Tensor
    """`(B,)` int64, latent frames committed so far: the absolute index of the next frame."""
    chunks: Tensor
    """`(B,)` int64, chunks committed so far."""

    def map(self, fn: Callable[[Tensor], Tensor]) -> ModelCache:
        """Apply `fn` to every tensor."""
        return self.rebuilt(map(fn, self.leaves(self)))

    def leaves(self, like: ModelCache) -> list[Tensor]:
        """Every tensor, in the order that those of `like` have: `flat` without the work of naming.

        Raises:
            KeyError: The two hold tensors of other names.
        """
        out: list[Tensor] = []
        if len(self.blocks) != len(like.blocks):
            raise KeyError("blocks")
        for block, order in zip(self.blocks, like.blocks, strict=True):
            if len(block) != len(order):
                raise KeyError("blocks")
            out += map(block.__getitem__, order)
        out += (self.window_chunk, self.frames, self.chunks)
        return out

    def rebuilt(self, leaves: Iterable[Tensor]) -> ModelCache:
        """A cache of the same names out of other tensors: inverse of `leaves`; takes no more than it needs."""
        take = iter(leaves)
        # `zip` asks the names first, so that no tensor is lost where a block ends.
        blocks = [dict(zip(block, take, strict=False)) for block in self.blocks]
        return ModelCache(tuple(blocks), next(take), next(take), next(take))

    def flat(self) -> dict[str, Tensor]:
        """Every tensor under a dotted name."""
        out = {f"blocks.{i}.{name}": value for i, block in enumerate(self.blocks) for name, value in block.items()}
        return out | {"window_chunk": self.window_chunk, "frames": self.frames, "chunks": self.chunks}

    @classmethod
    def from_flat(cls, values: dict[str, Tensor]) -> ModelCache:
        """Inverse of `flat`."""
        blocks: dict[int, BlockCache] = {}
        for name, value in values.items():
            if name.startswith("blocks."):
                _, index, key = name.split(".")
                blocks.setdefault(int(index), {})[key] = value
        ordered = tuple(blocks[i] for i in range(len(blocks)))
        return cls(ordered, values["window_chunk"], values["frames"], values["chunks"])


def own(values: list[Tensor]) -> list[Tensor]:
    """Tensors that fill their storage in order and are aligned: those given, copies of the others.

    The list itself where nothing had to be copied.
    """
    out = values
    for i, value in enumerate(values):
        if (
            not value.is_contiguous()
            or value.data_ptr() % _ALIGNMENT
            or value.untyped_storage().nbytes() != value.nbytes
        ):
            if out is values:
                out = values.copy()
            out[i] = value.clone(memory_format=torch.contiguous_format)
    return out


def empty_cache(
    config: SanaWMConfig,
    batch: int,
    tokens_per_frame: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: StatePrecision | None = None,
) -> ModelCache:
    """The state before the first frame: all zeros, nothing visible.

    Args:
        config: The model's config.
        batch: Number of slots B.
        tokens_per_frame: S, rows times columns of the token grid.
        device: Where.
        dtype: Of keys, values and tails; the delta-rule matrices stay fp32.
        precision: How keys, values and tails are kept, if not in `dtype`.
    """
    c, heads, dim = config.hidden_size, config.heads, config.head_dim
    taps = config.conv_kernel_size - 1

    def zeros(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.zeros(batch, *shape, device=device, dtype=dtype)

    def frames(name: str, count: int, *width: int) -> BlockCache:
        stored = dtype if precision is None else _STORED[precision]
        kept = {name: zeros(count, tokens_per_frame, *width, dtype=stored)}
        return kept | ({name + _SCALE: zeros(count, heads)} if stored in _LARGEST else {})

    blocks: list[BlockCache] = []
    for i in range(config.depth):
        block = frames("ffn_tail", 1, c)
        if config.is_softmax(i):
            for name in ("k", "v", "cam_k", "cam_v"):
                block |= frames(name, config.window_capacity, heads, dim)
        else:
            block["state"] = zeros(heads, dim, dim, dtype=torch.float32)
            block["normalizer"] = zeros(heads, dim, 1, dtype=torch.float32)
            block["cam_state"] = zeros(heads, dim, dim, dtype=torch.float32)
            block |= frames("conv_tail", taps, c)
            if config.camera_conv_tail:
                block |= frames("cam_conv_tail", taps, c)
        blocks.append(block)
    count = torch.zeros(batch, dtype=torch.int64, device=device)
    window = torch.full((batch, config.window_capacity), -1, dtype=torch.int64, device=device)
    return ModelCache(tuple(blocks), window, count, count.clone())


def still_visible(config: SanaWMConfig, labels: Tensor, newest: Tensor) -> Tensor:
    """Which labelled frames later chunks may attend to (docs/model.md, "Softmax blocks").

    Args:
        config: Decides between chunk- and frame-granular windows.
        labels: `(B, n)` chunk index (or frame index with `window_frames`) per frame, -1 for empty places.
        newest: `(B, 1)` label of the newest committed chunk (or frame).

    Returns:
        `(B, n)` bool.
    """
    if config.window_frames:
        recent = labels > newest - config.window_frames
        return (labels >= 0) & (recent | (labels == 0))
    if config.cached_chunks == -1:
        return labels >= 0
    recent = labels > newest - (config.cached_chunks - int(config.sink))
    if config.sink:
        recent = recent | (labels == 0)
    return (labels >= 0) & recent


def window_order(config: SanaWMConfig, cache: ModelCache, new_frames: int) -> tuple[Tensor, Tensor]:
    """Which frames of `window + new chunk` the next window holds.

    Returns:
        `(B, capacity)` gather index into the concatenation, and the `(B, capacity)` labels afterwards.

    Raises:
        ValueError: Nothing is ever evicted (`cached_chunks=-1`) and the window is full.
    """
    batch = cache.frames.shape[0]
    capacity = config.window_capacity
    if config.cached_chunks == -1 and not config.window_frames:
        longest = int(cache.frames.max()) + new_frames
        if longest > capacity:
            raise ValueError(
                f"cached_chunks=-1 keeps every frame, but the window holds {capacity} and this chunk makes "
                f"{longest}; raise max_cached_frames."
            )
    steps = torch.arange(new_frames, device=cache.frames.device)
    if config.window_frames:
        new = cache.frames[:, None] + steps
        newest = new[:, -1:]
    else:
        new = cache.chunks[:, None].expand(batch, new_frames)
        newest = cache.chunks[:, None]
    labels = torch.cat((cache.window_chunk, new), dim=1)
    keep = still_visible(config, labels, newest)
    labels = torch.where(keep, labels, -1)
    # A stable sort by "kept" moves evicted and empty places to the front, and keeps time order behind them.
    order = torch.argsort(keep.to(torch.int8), dim=1, stable=True)[:, -capacity:]
    return order, labels.gather(1, order)


def common_fill(cache: ModelCache) -> int | None:
    """How many places of the softmax window are filled, if all slots agree; None if they do not.

    One small copy to the host, and so a wait for the device: ask once per chunk, outside of a captured graph.
    """
    counts = set((cache.window_chunk >= 0).sum(1).tolist())
    return counts.pop() if len(counts) == 1 else None


def fills(config: SanaWMConfig, chunk_frames: int) -> list[int]:
    """Filled places of the window before each step of a rollout, until steps repeat.

    Every step makes `chunk_frames` latent frames, the first one frame 0 besides with `first_chunk="plus_one"`.

    Returns:
        One number per kind of step, in the order in which they come. A window that keeps every chunk
        (`cached_chunks=-1`) ends where it is full.
    """
    window = torch.full((1, config.window_capacity), -1, dtype=torch.int64, device="cpu")
    count = torch.zeros(1, dtype=torch.int64, device="cpu")
    cache = ModelCache((), window, count, count)
    found: list[int] = []
    length = 1 if config.first_chunk == "alone" else 0
    while True:
        if length:
            _, labels = window_order(config, cache, length)
            cache = ModelCache((), labels, cache.frames + length, cache.chunks + 1)
        filled = common_fill(cache)
        assert filled is not None  # there is one slot
        opening = not int(cache.frames)
        length = chunk_frames + int(opening)
        endless = config.cached_chunks == -1 and not config.window_frames
        if filled in found or (endless and int(cache.frames) + length > config.window_capacity):
            return found
        found.append(filled)


def recall(block: BlockCache, name: str, dtype: torch.dtype, begin: int = 0) -> Tensor:
    """What a block remembers under `name`, from frame `begin` on, in the type of the activations."""
    value, scale = block[name][:, begin:], block.get(name + _SCALE)
    if scale is None:
        return value.to(dtype)
    whole = (value.view(torch.float8_e4m3fn) if value.dtype == torch.uint8 else value).to(dtype)
    scale = scale[:, begin:, None, :, None].to(dtype)
    return (_by_head(whole, scale.shape[3]) * scale).reshape(value.shape)


def remember(new: BlockCache, old: BlockCache) -> BlockCache:
    """A block's new entries in the form in which the old ones are kept."""
    out: BlockCache = {}
    for name, value in new.items():
        scale = old.get(name + _SCALE)
        if scale is None or value.dtype == old[name].dtype:  # kept as it is, or slid and packed already
            out[name] = value.to(old[name].dtype)
            if scale is not None:
                out[name + _SCALE] = new.get(name + _SCALE, scale)
        else:
            out[name], out[name + _SCALE] = _pack(value, scale, old[name].dtype)
    return out


def slide(block: BlockCache, name: str, new: Tensor, order: Tensor) -> BlockCache:
    """The next window `(B, capacity, S, heads, D)`, gathered out of `block[name]` and `new` along axis 1."""
    scale = block.get(name + _SCALE)
    if scale is None:
        return {name: _gather(block[name], new, order)}
    new, new_scale = _pack(new, scale, block[name].dtype)
    return {name: _gather(block[name], new, order), name + _SCALE: _gather(scale, new_scale, order)}


def _gather(window: Tensor, new: Tensor, order: Tensor) -> Tensor:
    both = torch.cat((window, new.to(window.dtype)), dim=1)
    index = order.reshape(*order.shape, *[1] * (both.ndim - 2))
    return both.gather(1, index.expand(-1, -1, *both.shape[2:]))


def _pack(value: Tensor, scale_like: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """`(B, n, S, ...)` in 8 bits, and a scale `(B, n, heads)` for each frame and head."""
    heads = _by_head(value, scale_like.shape[2]).float()
    largest = heads.abs().amax((2, 4)) / _LARGEST[kind]
    # The scale that is kept is the one that is divided by, so that it adds no error of its own.
    scale = largest.clamp(min=torch.finfo(torch.float32).tiny).to(scale_like.dtype)
    heads = heads / scale[:, :, None, :, None].float()
    if kind == torch.uint8:
        packed = heads.clamp(-_LARGEST[kind], _LARGEST[kind]).to(torch.float8_e4m3fn).view(torch.uint8)
    else:
        packed = heads.round().clamp(-_LARGEST[kind], _LARGEST[kind]).to(kind)
    return packed.reshape(value.shape), scale


def _by_head(value: Tensor, heads: int) -> Tensor:
    """`(B, n, S, C)` or `(B, n, S, heads, D)` as the latter; a group of channels for each head."""
    return value if value.ndim == 5 else value.unflatten(-1, (heads, -1))
