"""Data-parallel training under `torchrun`: every process trains on scenes of its own, gradients are averaged.

On a CPU this is the better use of cores too: the operations of a small model are too short to share between
threads (two threads made a step 1.2 times faster on two cores, two processes 1.9 times).
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

SEED_SPACING = 1_000_000
"""The generators of process r (crops, walks, noise) are seeded r times this number further on. Scenes are shared
otherwise, see `scenes.seeds.SceneSeeds`."""


def join() -> tuple[int, int]:
    """Join the processes that `torchrun` started.

    Returns:
        Rank and number of processes; (0, 1) without `torchrun`.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), count) if count > 1 else (0, 1)


def leave() -> None:
    """Leave what `join` joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average(model: nn.Module, *scalars: float) -> list[float]:
    """Average gradients, and some numbers with them, over all processes.

    Every process thus sees the same gradient norm and the same clock, and takes the same decisions.

    Args:
        model: Parameters without a gradient count as zero gradients.
        *scalars: Numbers to average.

    Returns:
        The averaged numbers.
    """
    if not dist.is_initialized():
        return list(scalars)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
    extra = torch.tensor(scalars, dtype=torch.float32, device=gradients[0].device)
    flat = torch.cat([g.flatten() for g in gradients] + [extra])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for g in gradients:
        g.copy_(flat[at : at + g.numel()].view_as(g))
        at += g.numel()
    return [float(value) for value in flat[at:]]
