"""States in 8 bits: bytes of a slot, milliseconds of a step, and how far frames move from those of 16 bits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from functools import cache
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings


def parts(settings: Settings) -> Iterator[Part]:
    """The plain state first: it is what the others are compared with."""
    for precision in (None, "fp8", "int8"):
        yield Part(precision or "plain", lambda precision=precision: measure(settings, precision))  # type: ignore[misc]


def measure(settings: Settings, precision: str | None) -> dict[str, Any]:
    """A rollout from a fixed image along a fixed path, beside that of the plain state."""
    frames, latents, found = rollout(settings, precision)
    if precision is None:
        return found
    import numpy as np

    reference, true, _ = rollout(settings, None)
    error = float(np.mean((frames.astype(np.float64) - reference) ** 2))
    return found | {
        "psnr_db": None if error == 0 else round(10 * math.log10(255**2 / error), 2),
        "cache_relative_error": float(f"{float((latents - true).norm() / true.norm()):.3g}"),
    }


@cache
def rollout(settings: Settings, precision: str | None) -> tuple[Any, Any, dict[str, Any]]:
    """Last frames, the recurrent state after the last chunk, and figures."""
    import numpy as np
    import torch

    from benchmarks.worlds.release_chunks import now

    device = torch.device(settings.device)
    world = make_world(settings, precision)
    config = world.config
    image = np.random.default_rng(0).integers(0, 255, (1, config.height, config.width, 3), np.uint8)
    channels = config.model.caption_channels
    text = torch.randn(1, 20, channels, generator=torch.Generator().manual_seed(0)) if channels else None
    camera = [config.width, config.width, config.width / 2, config.height / 2]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    state, _ = world.start(image, [camera], [0], text)
    length, seconds, frames = config.chunk_frames * world.vae.temporal_stride, [], image
    for index in range(3 if settings.small else 40):
        poses = np.tile(np.eye(4), (1, length, 1, 1))
        poses[:, :, 2, 3] = 0.02 * (index * length + np.arange(1, length + 1))
        clock = now(device)
        state, frames = world.step(state, poses)
        seconds.append(now(device) - clock)
    recurrent = torch.cat([block["state"].flatten() for block in state.cache.blocks if "state" in block]).float().cpu()
    return (
        frames,
        recurrent,
        {
            "state_bytes": state.nbytes,
            "step_ms": round(1e3 * statistics.median(seconds), 3),
            "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        },
    )


def make_world(settings: Settings, precision: str | None) -> Any:
    """The release's world with random weights, or the built-in one for rehearsals.

    Raises:
        TypeError: This version of the package knows no `state_precision`.
    """
    import torch

    from benchmarks.worlds.release_modules import randomly, transformer, video_vae
    from sanawm_env.world.checkpoints.presets import release_config
    from sanawm_env.world.model import WorldModel

    options: dict[str, Any] = {} if precision is None else {"state_precision": precision}
    if settings.small:
        return WorldModel.load("tiny", settings.device, **options)
    device, dtype = torch.device(settings.device), torch.bfloat16
    config = release_config()
    torch.manual_seed(0)
    net = randomly(lambda: transformer(config.model), device, dtype)
    return WorldModel(config, net, video_vae(settings.size, device, dtype), "random weights", **options)
