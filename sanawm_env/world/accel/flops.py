"""How much arithmetic a chunk costs, counted by torch on tensors without values: no weights, no GPU.

`FlopCounterMode` sees matrix products and convolutions, a multiplication with its addition as two operations; norms,
activations, rotary turns and ray matrices it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["call_flops", "chunk_flops", "chunk_lengths"]


@cache
def call_flops(config: SanaWMConfig, frames: int, grid: tuple[int, int], *, text_length: int | None = None) -> int:
    """Operations of one call of the transformer for one slot, with camera and (where the model has it) text.

    Softmax blocks see the whole window; its empty places are computed and hidden.

    Args:
        config: The transformer.
        frames: Latent frames of the call, one chunk.
        grid: Rows and columns of tokens.
        text_length: Text tokens; None is the config's.
    """
    # Every `softmax_every_n` blocks are alike: one such group is counted, and the rest is that many times more.
    group = min(config.softmax_every_n, config.depth)
    groups, left = divmod(config.depth, group)
    (rows, columns), (down, across) = grid, config.patch_size
    with torch.device("meta"), torch.no_grad():
        net = SanaWMTransformer(config.replace(depth=group)).eval()
        window = empty_cache(net.config, 1, rows * columns, device="meta")
        x = torch.zeros(1, config.in_channels, frames, rows * down, columns * across)
        given = {
            "raymap": torch.zeros(1, frames, 20),
            "plucker": torch.zeros(1, config.plucker_channels, frames, rows, columns),
        }
        if config.anchor:
            given["anchor"] = torch.zeros(1, config.in_channels + 1, *x.shape[2:])
        if config.caption_channels:
            length = config.text_length if text_length is None else text_length
            given["text"] = torch.zeros(1, length, config.caption_channels)
        with FlopCounterMode(display=False) as counter:
            net(x, torch.zeros(1, frames), cache=window, **given)
    counts = counter.get_flop_counts()
    blocks = [sum(counts[f"SanaWMTransformer.blocks.{i}"].values()) for i in range(group)]
    return counter.get_total_flops() + (groups - 1) * sum(blocks) + sum(blocks[:left])


def chunk_flops(
    config: SanaWMConfig, frames: int, grid: tuple[int, int], *, steps: int = 4, text_length: int | None = None
) -> int:
    """One streaming chunk of one slot: `steps` denoising calls and the call that commits.

    The other arguments are those of `call_flops`; the first chunk of the release has one frame more than the others.
    """
    return call_flops(config, frames, grid, text_length=text_length) * (steps + 1)


def chunk_lengths(config: SanaWMConfig, latent_frames: int) -> Iterator[int]:
    """Latent frames of each chunk of a clip; the last may be short.

    Args:
        config: Decides about the first chunk.
        latent_frames: Of the clip, frame 0 included.
    """
    done, length = 0, 1 if config.first_chunk == "alone" else config.chunk_frames + 1
    while done < latent_frames:
        length = min(length, latent_frames - done)
        yield length
        done, length = done + length, config.chunk_frames
