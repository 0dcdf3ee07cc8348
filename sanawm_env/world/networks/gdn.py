"""Frame-wise gated delta rule and the temporal short convolution on its keys (docs/model.md, "Delta rule").

All S tokens of a frame are written at once, so the recurrence runs over frames, with D x D matrices:

    M_t = g_t (I - A_t) M_{t-1} + U_t,      A_t = K_t^T diag(beta) K_t,      U_t = K_t^T diag(beta) V_t

A frame reads `Q_t (M_t + R_t)`, where M is carried from chunk to chunk and R is the same recurrence run
backwards over the later frames of its own chunk only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Chunks = Sequence[int]
"""Chunk index of every frame in the call, non-decreasing; one value repeated when streaming."""


def frame_scan(decay: Tensor, erase: Tensor, write: Tensor, start: Tensor, chunks: Chunks) -> tuple[Tensor, Tensor]:
    """Run the recurrence forwards (inclusive) and backwards (exclusive, within chunks) and add both.

    Args:
        decay: `(B, T, heads)`, g.
        erase: `(B, T, heads, D, D)`, A.
        write: `(B, T, heads, D, E)`, U.
        start: `(B, heads, D, E)`, M before the first frame.
        chunks: Chunk index per frame.

    Returns:
        `(B, T, heads, D, E)` what each frame reads, and `(B, heads, D, E)` the carried state after the last.
    """
    frames = decay.shape[1]
    gates = decay[..., None, None]

    def advance(state: Tensor, t: int) -> Tensor:
        return gates[:, t] * (state - erase[:, t] @ state) + write[:, t]

    forward = []
    state = start
    for t in range(frames):
        state = advance(state, t)
        forward.append(state)
    carried = state

    reads = forward[:]
    later: Tensor | None = None
    for t in range(frames - 2, -1, -1):
        if chunks[t] != chunks[t + 1]:
            later = None
            continue
        # From an empty state the first step back is the write alone.
        later = write[:, t + 1] if later is None else advance(later, t + 1)
        reads[t] = forward[t] + later
    return torch.stack(reads, dim=1), carried


def short_conv(x: Tensor, weight: Tensor, tail: Tensor | None, chunks: Chunks, *, carry: bool) -> Tensor:
    """Symmetric temporal depthwise convolution: causal part plus backward part minus the centre tap.

    Args:
        x: `(B, T, S, C)`.
        weight: `(C, 1, k)`; the last tap multiplies the present frame.
        tail: `(B, k-1, S, C)` inputs before this call, or None for zeros.
        chunks: Chunk index per frame; the backward part never looks past its own chunk.
        carry: Whether the causal part sees earlier chunks (and `tail`).

    Returns:
        `(B, T, S, C)`.
    """
    taps = weight.shape[-1]
    frames = x.shape[1]
    kernel = weight[:, 0].to(x.dtype)
    if tail is None or not carry:
        tail = x.new_zeros(x.shape[0], taps - 1, *x.shape[2:])
    padded = torch.cat((tail.to(x.dtype), x, torch.zeros_like(tail, dtype=x.dtype)), dim=1)
    centre = taps - 1
    out = x * kernel[:, centre]
    many = chunks[0] != chunks[-1]
    for lag in range(1, taps):
        past = padded[:, centre - lag : centre - lag + frames]
        future = padded[:, centre + lag : centre + lag + frames]
        if many:
            same = [t + lag < frames and chunks[t + lag] == chunks[t] for t in range(frames)]
            future = future * _frame_mask(same, x)
            if not carry:
                same = [t >= lag and chunks[t - lag] == chunks[t] for t in range(frames)]
                past = past * _frame_mask(same, x)
        out = torch.addcmul(out, past + future, kernel[:, centre - lag])
    return out


def last_frames(x: Tensor, tail: Tensor, count: int) -> Tensor:
    """The last `count` frames of `tail` followed by `x` along axis 1."""
    if x.shape[1] >= count:
        return x[:, x.shape[1] - count :]
    return torch.cat((tail.to(x.dtype), x), dim=1)[:, -count:]


def _frame_mask(keep: list[bool], like: Tensor) -> Tensor:
    return torch.tensor(keep, dtype=like.dtype, device=like.device)[None, :, None, None]
