"""How much memory one chunk needs while it is computed, found without a GPU: live tensors of a run on the meta device.

    python -m benchmarks.worlds.memory_trace

prints the figures that `sanawm doctor` keeps for the release (`cli.doctor.plan`). Meta tensors have shapes and
lifetimes but no values. Not in the figures: the allocator's fragmentation and the workspaces of kernels. Softmax
attention is taken as fused, which keeps no score matrix.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["peak_live_bytes", "trace_decode", "trace_transformer"]


class _Ledger(TorchDispatchMode):
    """Adds up the bytes of storages that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                key = id(storage)
                if key not in before and key not in self._seen:
                    size = storage.nbytes()
                    self._seen[key] = weakref.finalize(storage, self._gone, key, size)
                    self.live += size
        self.peak = max(self.peak, self.live)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._seen.pop(key, None)
        self.live -= size


def peak_live_bytes(run: Callable[[], Any]) -> int:
    """Most bytes that tensors made during `run` held at one time; what was there before is not counted.

    Args:
        run: Called once.
    """

    def fused(query: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.empty_like(query)

    with (
        patch("torch.nn.functional.scaled_dot_product_attention", fused),
        torch.no_grad(),
        _Ledger() as ledger,
    ):
        kept = run()
    del kept
    return ledger.peak


def trace_transformer(
    model: SanaWMConfig, grid: tuple[int, int], dtype: torch.dtype, *, frames: int, depth: int
) -> int:
    """Peak of one committing call of one slot, cut to `depth` blocks; the peak grows linearly with depth.

    Args:
        model: The transformer.
        grid: Rows and columns of tokens.
        dtype: Of weights and activations.
        frames: Latent frames of the chunk.
        depth: Number of blocks; a multiple of `softmax_every_n` keeps the mixture.
    """
    model = model.replace(depth=depth)
    (rows, columns), (down, across) = grid, model.patch_size
    with torch.device("meta"):
        net = SanaWMTransformer(model).to(dtype).eval()
        cache = empty_cache(model, 1, rows * columns, device="meta", dtype=dtype)
        x = torch.zeros(1, model.in_channels, frames, rows * down, columns * across, dtype=dtype)
        conditions: dict[str, Tensor] = {
            "raymap": torch.zeros(1, frames, 20),
            "plucker": torch.zeros(1, model.plucker_channels, frames, rows, columns),
        }
        if model.anchor:
            conditions["anchor"] = torch.zeros(1, model.in_channels + 1, *x.shape[2:], dtype=dtype)
        if model.caption_channels:
            conditions["text"] = torch.zeros(1, model.text_length, model.caption_channels, dtype=dtype)
        times = torch.zeros(1, frames)
        return peak_live_bytes(lambda: net(x, times, cache=cache, commit=True, **conditions))


def trace_decode(rows: int, columns: int, dtype: torch.dtype, frames: int) -> dict[str, int]:
    """The release's VAE: parameters, and bytes of one slot's tails and peak of decoding `frames` latents mid-stream.

    A peak is what is live beside the new tails; `compact` is that of tails of latents alone.
    """
    from sanawm_env.world.networks.vae.ltx import LTXVideoVAE
    from sanawm_env.world.networks.vae.ltx_stream import stream_decode
    from sanawm_env.world.networks.vae.ltx_window import LATENTS, window_decode

    with torch.device("meta"):
        vae = LTXVideoVAE().to(dtype)
        tails, compact = (vae.init_tails(1, rows, columns, compact=kind) for kind in (False, True))
        latents = torch.zeros(1, vae.latent_channels, frames, rows, columns, dtype=dtype)
        kept, old = compact[LATENTS], compact[LATENTS].shape[2] + 1
        size = sum(value.nbytes for value in tails.values())
        return {
            "parameters": sum(value.numel() for value in vae.parameters()),
            "tail_bytes": size,
            "context": kept.shape[2],
            "decode": peak_live_bytes(lambda: stream_decode(vae.decoder, latents, tails, True)) - size,
            "compact decode": peak_live_bytes(lambda: window_decode(vae.decoder, latents, kept, old)),
        }


def main() -> None:
    """Print the release's figures."""
    grid = (22, 40)
    few, many = (trace_transformer(RELEASE, grid, torch.bfloat16, frames=4, depth=n) for n in (4, 8))
    cache = empty_cache(RELEASE, 1, grid[0] * grid[1], device="meta", dtype=torch.bfloat16)
    size = sum(value.nbytes for value in cache.flat().values())
    found = {"transformer": few + (many - few) * (RELEASE.depth - 4) // 4 - size, "cache_bytes": size}
    print(json.dumps(found | trace_decode(*grid, torch.bfloat16, 3), indent=2))


if __name__ == "__main__":
    main()
