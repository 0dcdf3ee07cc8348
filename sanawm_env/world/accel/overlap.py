"""Step a world along poses that are known in advance: the decoding of one chunk runs beside the denoising of the next.

Decoding needs no transformer and denoising no decoder memory (`sampler`), so on a GPU the two can share it on
two CUDA streams. What comes out is what repeated `WorldModel.step` gives; only the order of work differs. The host does
look one chunk further ahead: chunk k is handed out once chunk k+1 is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sanawm_env.world.sampler import Denoised, denoise, isolated
from sanawm_env.world.state import WorldState

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["CudaOverlap", "Inline", "Overlap", "Running", "overlap_for", "stream"]

Frames = NDArray[np.uint8]


class Running(NamedTuple):
    """A decoding on its way."""

    state: WorldState
    """After the step."""
    frames: Tensor
    """`(B, F, H, W, 3)` uint8 on the host, whose values count once `done` is there."""
    done: Any
    """Event after the last copy; None where the work was done at once."""


class Overlap(Protocol):
    """Where chunks are decoded."""

    def begin(self, world: WorldModel, chunk: Denoised) -> Running:
        """Begin to decode."""
        ...

    def end(self, running: Running) -> tuple[WorldState, Frames]:
        """Wait for the frames; the state may be used from then on by whatever stream is current."""
        ...


class Inline:
    """Decodes at once; for devices without streams, and to test the order of work."""

    def begin(self, world: WorldModel, chunk: Denoised) -> Running:
        """See `Overlap`."""
        state, frames = world.finish(chunk)
        return Running(state, frames.cpu(), None)

    def end(self, running: Running) -> tuple[WorldState, Frames]:
        """See `Overlap`."""
        return running.state, running.frames.numpy()


class CudaOverlap:
    """Decodes on a stream of its own and copies the frames to pinned memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def begin(self, world: WorldModel, chunk: Denoised) -> Running:
        """See `Overlap`."""
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)  # for the latents, and for tails that the first state brought
        # The allocator knows a tensor's own stream only, and would give its memory away too early.
        views = () if chunk.views is None else (chunk.views,)
        for value in (chunk.latents, *views, *chunk.state.tensors()):
            value.record_stream(self.stream)
        with torch.cuda.stream(self.stream):
            state, frames = world.finish(chunk)
            host = torch.empty(frames.shape, dtype=frames.dtype, device="cpu", pin_memory=True)
            host.copy_(frames, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self.stream)
        return Running(state, host, done)

    def end(self, running: Running) -> tuple[WorldState, Frames]:
        """See `Overlap`."""
        running.done.synchronize()
        main = torch.cuda.current_stream(self.device)
        for value in running.state.tensors():
            value.record_stream(main)
        # A copy: pinned memory is scarce, and the caller may keep all frames.
        return running.state, running.frames.numpy().copy()


def overlap_for(device: torch.device) -> Overlap:
    """A second CUDA stream; on other devices the same order of work without one."""
    return CudaOverlap(device) if device.type == "cuda" else Inline()


def stream(
    world: WorldModel,
    state: WorldState,
    chunks: Iterable[ArrayLike],
    *,
    sigmas: Sequence[float] | None = None,
    overlap: Overlap | None = None,
) -> Iterator[tuple[WorldState, Frames]]:
    """What `WorldModel.step` gives for each of `chunks` in turn.

    Slots that are not computed together (in different phases, or one by one) are stepped plainly, and so are all of a
    world that keeps keyframes: what it shows decides what the next chunk is denoised by.

    Args:
        world: The world.
        state: Of `start` or a step; not modified.
        chunks: Poses of each step, as `step` takes them; drawn one step ahead where decoding overlaps.
        sigmas: Noise levels; None is the checkpoint's.
        overlap: Where to decode; None is plain steps.

    Yields:
        State and frames `(B, F, H, W, 3)` after each step.

    Raises:
        ValueError: As `step`, when the chunk's turn comes.
    """
    if overlap is None or world.config.model.keyframes:
        for poses in chunks:
            state, frames = world.step(state, poses, sigmas=sigmas)
            yield state, frames
        return
    waiting: Running | None = None
    for poses in chunks:
        try:
            c2w, levels = world.check_step(state, poses, sigmas)
        except ValueError:
            if waiting is not None:
                yield overlap.end(waiting)
            raise
        if not world.together(state):
            if waiting is not None:
                yield overlap.end(waiting)
                waiting = None
            state, frames = world.step(state, poses, sigmas=sigmas)
            yield state, frames
            continue
        with isolated(world.device):
            # `state` may be one whose decoder memory is still being made; it is passed on and not read.
            done = denoise(world.networks, state.contiguous(), c2w, levels, programs=world.programs)
        if waiting is not None:
            yield overlap.end(waiting)
        with isolated(world.device):
            waiting = overlap.begin(world, done)
        state = waiting.state
    if waiting is not None:
        yield overlap.end(waiting)
