"""The built-in worlds: frames per second with 1 to 256 slots, plain and through recorded steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings

SLOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WORLDS = ("small", "tiny")
STEPS = 12


def parts(settings: Settings) -> Iterator[Part]:
    """A part for each world, number of slots and way."""
    for world in WORLDS[1:] if settings.small else WORLDS:
        for slots in SLOTS[:2] if settings.small else SLOTS:
            for captured in (False,) if settings.device == "cpu" else (False, True):
                name = f"{world}-{slots}{'-captured' if captured else ''}"
                yield Part(name, lambda w=world, n=slots, c=captured: measure(settings, w, n, c))  # type: ignore[misc]


def measure(settings: Settings, name: str, slots: int, captured: bool) -> dict[str, Any]:
    """Step all slots together; the window is full before the clock runs."""
    import numpy as np
    import torch

    from sanawm_env.world.model import WorldModel

    cuda = settings.device != "cpu"
    world = WorldModel.load(name, settings.device, batched=True)
    clock = time.perf_counter()
    world.warmup(slots, capture=captured or None, progress=False)
    warmup = time.perf_counter() - clock
    config, stride = world.config, world.vae.temporal_stride
    images = np.random.default_rng(0).integers(0, 255, (slots, config.height, config.width, 3), np.uint8)
    camera = [config.width, config.width, config.width / 2, config.height / 2]
    state, _ = world.start(images, [camera] * slots, range(slots))
    length = config.chunk_frames * stride
    count = 2 if settings.small else STEPS
    before = 1 if settings.small else 4
    seconds = []
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for index in range(before + count):
        pose = np.eye(4)
        poses = np.tile(pose, (slots, length, 1, 1))
        poses[:, :, 2, 3] = 0.02 * (index * length + np.arange(1, length + 1))
        clock = time.perf_counter()
        state, _ = world.step(state, poses)  # frames come to the host, so that the device has finished
        seconds.append(time.perf_counter() - clock)
    timed = seconds[before:]
    return {
        "frames_per_s": round(slots * length / statistics.median(timed), 2),
        "step_ms": round(1e3 * statistics.median(timed), 3),
        "step_max_over_median": round(max(timed) / statistics.median(timed), 4),
        "warmup_s": round(warmup, 2),
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "state_bytes": state.nbytes // slots,
    }
