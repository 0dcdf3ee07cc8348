"""Tensors as the parts of a state: memory of their own, and their bits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["own", "same_bits"]

_ALIGNMENT = 64
"""Bytes; what torch's CPU allocator gives, and the widest vector register."""


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


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one kind hold the same bits."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8)
