"""Bits of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["same_bits"]


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one kind hold the same bits."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8)
