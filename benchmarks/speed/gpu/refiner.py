"""Stage 2 at true size with random weights: milliseconds and memory of a block, until the history is full."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings

TEXT = 1024
"""Text tokens, the release's longest."""


def parts(settings: Settings) -> Iterator[Part]:
    """The release's window, a short one, and keys in 8 bits; then a minute's whole window with two slots."""
    for window, slots, bits in ((11, 1, 16), (5, 1, 16), (11, 1, 8), (11, 2, 16)):
        name = f"window{window}-slots{slots}-kv{bits}"
        yield Part(name, lambda w=window, n=slots, b=bits: measure(settings, w, n, b))  # type: ignore[misc]


def measure(settings: Settings, window: int, slots: int, bits: int) -> dict[str, Any]:
    """Refine blocks of three latent frames at 704x1280; the last half of them have a full history."""
    import torch

    from benchmarks.worlds.release_chunks import now
    from benchmarks.worlds.release_modules import configs, randomly
    from sanawm_env.world.networks.refiner.config import RefinerConfig, StreamSettings
    from sanawm_env.world.networks.refiner.stream import refine, start
    from sanawm_env.world.networks.refiner.transformer import RefinerTransformer

    device, dtype = torch.device(settings.device), torch.bfloat16
    config, text = RefinerConfig(), TEXT
    if settings.small:
        config, text = RefinerConfig(channels=8, layers=2, heads=2, head_dim=16, caption_channels=12), 6
    torch.manual_seed(0)
    net = randomly(lambda: RefinerTransformer(config), device, dtype)
    stream = StreamSettings(kv_max_frames=window, kv_dtype=torch.float8_e4m3fn if bits == 8 else None)
    grid = configs(settings.size)[2]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    with torch.inference_mode():
        first = torch.randn(slots, config.channels, 1, *grid, device=device, dtype=dtype)
        words = torch.randn(slots, text, config.caption_channels, device=device, dtype=dtype)
        state = start(net, stream, first, words)
        for _ in range(4 if settings.small else 10):
            block = torch.randn(2, slots, config.channels, stream.block_frames, *grid, device=device, dtype=dtype)
            clock = now(device)
            state, _ = refine(net, stream, state, block[0], block[1])
            seconds.append(now(device) - clock)
    full = seconds[len(seconds) // 2 :]
    return {
        "block_ms": round(1e3 * statistics.median(full), 3),
        "block_ms_all": [round(1e3 * value, 3) for value in seconds],
        "minute_s": round(40 * statistics.median(full), 3),
        "parameters": sum(value.numel() for value in net.parameters()),
        "state_bytes": state.nbytes // slots,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }
