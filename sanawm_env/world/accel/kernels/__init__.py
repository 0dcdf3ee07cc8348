"""Kernels for a GPU in the places of plain torch: Triton ones of our own, and those of flash-linear-attention."""
