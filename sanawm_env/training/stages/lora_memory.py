"""What fine-tuning with LoRA needs of a GPU's memory: counted on the meta device, before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.checkpoints.adapters import LoraSettings, add_lora
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["MemoryPlan", "memory_plan"]


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the device while training."""

    weights: int
    """Of the frozen transformer."""
    adapter: int
    """Of the updates, their gradients and AdamW's two moments, float32."""
    block_inputs: int
    """What gradient checkpointing keeps: the input of every block."""
    one_block: int
    """What the backward pass of one block keeps while it is computed again."""

    @property
    def total(self) -> int:
        """All of them. Working memory of single operations comes on top: leave a tenth free."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        rows = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]
        return "\n".join(f"  {name:<14}{value / 1e9:>9.2f} GB" for name, value in [*rows, ("in all", self.total)])


def memory_plan(
    config: SanaWMConfig, lora: LoraSettings, grid: tuple[int, int], frames: int, batch: int, text_length: int
) -> MemoryPlan:
    """Count a training step.

    Args:
        config: The transformer.
        lora: Its updates.
        grid: Latent rows and columns.
        frames: Latent frames of a clip.
        batch: Clips of a step.
        text_length: Text tokens.
    """
    with torch.device("meta"):
        net = SanaWMTransformer(config).bfloat16()
        weights = sum(value.nbytes for value in (*net.parameters(), *net.buffers()))
        updates = sum(value.numel() for value in add_lora(net, lora)) * 4
        tokens = torch.empty(batch, config.in_channels, frames, *grid, dtype=torch.bfloat16)
        rows, columns = grid[0] // config.patch_size[0], grid[1] // config.patch_size[1]
        given: dict[str, Any] = {
            "raymap": torch.empty(batch, frames, 20),
            "plucker": torch.empty(batch, config.plucker_channels, frames, rows, columns),
        }
        if config.caption_channels:
            given["text"] = torch.empty(batch, text_length, config.caption_channels, dtype=torch.bfloat16)
        # One delta-rule block and one softmax block tell them all.
        kept = []
        for block in {0, min(config.softmax_every_n, config.depth) - 1}:
            kept.append(_saved_by(net, block, tokens, torch.empty(batch, frames), given))
    width = config.hidden_size * torch.bfloat16.itemsize
    inputs = (config.depth + 1) * batch * frames * rows * columns * width
    return MemoryPlan(weights, 4 * updates, inputs, max(kept))


def _saved_by(net: SanaWMTransformer, index: int, x: Tensor, times: Tensor, given: dict[str, Any]) -> int:
    """Bytes that autograd keeps for one block's backward pass, weights and what came in left out."""
    kept: dict[int, int] = {}

    count = x.shape[2] * math.prod(x.shape[3:]) // math.prod(net.config.patch_size)

    def pack(value: Tensor) -> Tensor:
        # Without a device attention is written out; fused kernels keep no probabilities.
        if value.shape[-2:] != (count, count):
            kept[value.untyped_storage()._cdata] = value.untyped_storage().nbytes()
            alive.append(value)
        return value

    alive: list[Tensor] = []
    known = {value.untyped_storage()._cdata for value in (*net.parameters(), *net.buffers())}
    block = net.blocks[index]
    forward = block.forward

    def counted(*args: Any) -> Any:
        tokens = args[0].detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            return forward(tokens, *args[1:])

    block.forward = counted
    try:
        net(x, times, **given)
    finally:
        del block.forward
    return sum(size for key, size in kept.items() if key not in known)
