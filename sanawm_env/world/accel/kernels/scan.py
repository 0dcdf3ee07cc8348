"""The frame recurrence of the gated delta rule as one Triton kernel; see `networks.gdn.frame_scan`.

    M_t = g_t (M_{t-1} - A_t M_{t-1}) + U_t

Columns of M do not meet, so that a program takes one head, some columns and one direction in time, and keeps its part
of M in registers over all frames of the chunk. Plain torch starts about four kernels per frame and direction.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sanawm_env.world.networks import gdn
from sanawm_env.world.networks.gdn import Chunks

__all__ = ["frame_scan"]

COLUMNS = 16
"""Columns of the state per program, the fewest that a Triton product takes."""


@triton.jit
def _advance(
    state, decay, erase, write, at, rows, columns, D: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The state one frame later; `at` is the flat index of slot, frame and head."""
    inner = tl.arange(0, BLOCK)
    square = (rows[:, None] < D) & (inner[None, :] < D)
    a = tl.load(erase + at * D * D + rows[:, None] * D + inner[None, :], mask=square, other=0.0)
    erased = tl.dot(a, state, input_precision="ieee")
    u = tl.load(
        write + at * D * E + rows[:, None] * E + columns[None, :],
        mask=(rows[:, None] < D) & (columns[None, :] < E),
        other=0.0,
    )
    return tl.load(decay + at) * (state - erased) + u


@triton.jit
def _scan(
    decay, erase, write, start, forward, backward, carried, frames, heads,
    D: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(0).to(tl.int64)  # slot and head
    slot, head = pair // heads, pair % heads
    rows, columns = tl.arange(0, BLOCK), tl.program_id(1) * COLS + tl.arange(0, COLS)
    tile = rows[:, None] * E + columns[None, :]
    inside = (rows[:, None] < D) & (columns[None, :] < E)
    if tl.program_id(2) == 0:
        state = tl.load(start + pair * D * E + tile, mask=inside, other=0.0)
        for t in range(frames):
            at = (slot * frames + t) * heads + head
            state = _advance(state, decay, erase, write, at, rows, columns, D, E, BLOCK)
            tl.store(forward + at * D * E + tile, state, mask=inside)
        tl.store(carried + pair * D * E + tile, state, mask=inside)
    else:
        # From an empty state the first step back is the write alone. The last frame sees nothing later.
        at = (slot * frames + frames - 1) * heads + head
        state = tl.load(write + at * D * E + tile, mask=inside, other=0.0)
        for back in range(1, frames):
            to = (slot * (frames - 1) + frames - 1 - back) * heads + head
            tl.store(backward + to * D * E + tile, state, mask=inside)
            if back < frames - 1:
                at = (slot * frames + frames - 1 - back) * heads + head
                state = _advance(state, decay, erase, write, at, rows, columns, D, E, BLOCK)


def frame_scan(decay: Tensor, erase: Tensor, write: Tensor, start: Tensor, chunks: Chunks) -> tuple[Tensor, Tensor]:
    """`networks.gdn.frame_scan`; calls of several chunks run through that one."""
    if chunks[0] != chunks[-1]:
        return gdn.frame_scan(decay, erase, write, start, chunks)
    slots, frames, heads, d, e = write.shape
    decay, erase, write, start = (x.float().contiguous() for x in (decay, erase, write, start))
    forward, carried = torch.empty_like(write), torch.empty_like(start)
    backward = write.new_empty(slots, max(frames - 1, 1), heads, d, e)
    grid = (slots * heads, triton.cdiv(e, COLUMNS), 1 + (frames > 1))
    block = max(16, triton.next_power_of_2(d))
    _scan[grid](
        decay, erase, write, start, forward, backward, carried, frames, heads, D=d, E=e, BLOCK=block, COLS=COLUMNS
    )
    if frames > 1:
        forward[:, :-1] += backward
    return forward, carried
