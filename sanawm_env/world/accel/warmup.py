"""Run every kind of step once before it counts: kernels are chosen, programs recorded, seconds told."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from sanawm_env.world.accel.capture import CudaRecorder, Programs, Recorder
from sanawm_env.world.networks.cache import fills
from sanawm_env.world.sampler import isolated, record
from sanawm_env.world.schedules import check_sigmas
from sanawm_env.world.state import WorldState

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["warm_up"]

KEPT = 8
"""Programs that a world keeps, unless one warm-up needs more."""


def warm_up(
    world: WorldModel,
    slots: int = 1,
    chunk_frames: int | None = None,
    *,
    sigmas: Sequence[float] | None = None,
    text_length: int | None = None,
    capture: bool | None = None,
    recorder: Recorder | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Step a dummy rollout, grey and standing still, from its first frame until the softmax window is full.

    Args:
        world: The world; its states are not touched.
        slots: Rollouts that will run together.
        chunk_frames: Latent frames per step; None is the checkpoint's.
        sigmas: Noise levels; None is the checkpoint's.
        text_length: Text tokens; None is the model's.
        capture: Also record the denoising loop of every kind of step as a CUDA graph, through which later steps of
            the same kind run. None is off as long as this has never run on a GPU.
        recorder: What records, in place of CUDA graphs; with `capture` only.
        progress: Show on stderr what is being done.

    Returns:
        Seconds by phase: `first frame`, `first chunk`, and `window n of m` for later steps that find n frames in the
        softmax window. A phase that is recorded counts its recording.

    Raises:
        ValueError: Arguments that no step has; capture without CUDA; capture of a window that keeps every chunk.
    """
    config, stride = world.config, world.vae.temporal_stride
    chunk = config.chunk_frames if chunk_frames is None else chunk_frames
    if slots < 1 or not 1 <= chunk <= config.max_chunk_frames:
        raise ValueError(
            f"slots must be at least 1 and chunk_frames lie in 1..{config.max_chunk_frames} for this checkpoint; "
            f"got {slots} and {chunk}."
        )
    levels = config.sigmas if sigmas is None else check_sigmas(sigmas)
    kinds = fills(config.model, chunk)
    if capture:
        _make_room(world, recorder, len(kinds))
    elif recorder is not None:
        raise ValueError("a recorder records nothing without capture=True; give both or neither.")
    # Slots that run one by one share one program.
    alone = None if world.batched else [0]
    poses = np.tile(np.eye(4), (slots, chunk * stride, 1, 1))
    seconds: dict[str, float] = {}
    with tqdm(total=1 + len(kinds), unit="phase", disable=not progress, file=sys.stderr) as bar:
        with _timed(world, "first frame", seconds, bar):
            state = _begin(world, slots, text_length)
        for index, filled in enumerate(kinds):
            name = f"window {filled} of {config.model.window_capacity}" if index else "first chunk"
            with _timed(world, name, seconds, bar), isolated(world.device):
                if capture:
                    one = state if alone is None else state.select(alone)
                    c2w = torch.from_numpy(poses[: one.slots]).to(world.device)
                    record(world.networks, one.contiguous(), c2w, levels, world.programs)
                state, _ = world.step(state, poses, sigmas=levels)
        bar.set_description("warm-up: done")
    return seconds


def _make_room(world: WorldModel, recorder: Recorder | None, kinds: int) -> None:
    """Give the world a place for programs, or keep the one it has."""
    model = world.config.model
    if model.cached_chunks == -1 and not model.window_frames:
        raise ValueError(
            "a window that keeps every chunk (cached_chunks=-1) asks the host for its length and cannot be "
            "recorded; leave capture out."
        )
    if recorder is None and world.device.type != "cuda":
        raise ValueError(
            f"capture records CUDA graphs, and this world is on {world.device}; leave capture out, load the world "
            "with device='cuda', or give a recorder (sanawm_env.world.accel.capture.TraceRecorder, for tests)."
        )
    if world.programs is None or recorder is not None:
        world.programs = Programs(recorder or CudaRecorder(), max(KEPT, kinds))


@contextmanager
def _timed(world: WorldModel, name: str, seconds: dict[str, float], bar: tqdm) -> Iterator[None]:
    """Announce a phase, and note how long it took with the device's work done."""
    bar.set_description(f"warm-up: {name}")
    began = time.perf_counter()
    yield
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    seconds[name] = time.perf_counter() - began
    bar.update()


def _begin(world: WorldModel, slots: int, text_length: int | None) -> WorldState:
    config = world.config
    focal = config.width / 2 / math.tan(math.radians(config.default_fov_deg) / 2)
    camera = [focal, focal, config.width / 2, config.height / 2]
    images = np.full((slots, config.height, config.width, 3), 128, np.uint8)
    text = None
    if channels := config.model.caption_channels:
        length = config.model.text_length if text_length is None else text_length
        text = torch.zeros(slots, length, channels, dtype=torch.float32, device="cpu")
    state, _ = world.start(images, [camera] * slots, list(range(slots)), text)
    return state
