"""Fewer bits for the weights: how far one call of the release's transformer moves, and how fast it gets.

Beside it the built-in worlds' own error over rollouts, as `benchmarks.worlds.precision_error` has it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings


def parts(settings: Settings) -> Iterator[Part]:
    """bf16 for reference, then every precision; parts of precisions that this device has not fail with the reason."""
    for precision in ("bf16", "fp8", "int8", "int8-activations", "nvfp4"):
        yield Part(precision, lambda precision=precision: measure(settings, precision))  # type: ignore[misc]
    if not settings.small:
        yield Part("rollouts", lambda: rollouts(settings), 3.0)


def measure(settings: Settings, precision: str) -> dict[str, Any]:
    """Relative error of one denoising call against the same weights in bfloat16, and its milliseconds."""
    import torch

    from benchmarks.worlds.release_chunks import now
    from benchmarks.worlds.release_modules import chunk_conditions, configs, randomly, transformer
    from sanawm_env.world.accel.precision import check_precision, quantise
    from sanawm_env.world.networks.cache import empty_cache

    device, dtype = torch.device(settings.device), torch.bfloat16
    kind = precision.partition("-")[0]
    check_precision(kind, device)
    torch.manual_seed(0)
    config, _, grid = configs(settings.size)
    net = randomly(lambda: transformer(config), device, dtype)
    given = chunk_conditions(config, 1, config.chunk_frames, grid, device, dtype)
    given["cache"] = empty_cache(config, 1, grid[0] * grid[1], device=device, dtype=dtype)
    x = torch.randn(1, config.in_channels, config.chunk_frames, *grid, device=device, dtype=dtype)
    times = torch.full((1, config.chunk_frames), 727.0, device=device)
    found: dict[str, Any] = {}
    with torch.inference_mode():
        reference = net(x, times, filled=0, **given)[0].float()
        if kind != "bf16":
            report = quantise(net, kind, activations="activations" in precision)  # type: ignore[arg-type]
            found |= {"weight_bytes": report.after, "bf16_bytes": report.before, "kept": len(report.kept)}
        answer = net(x, times, filled=0, **given)[0].float()
        seconds = []
        for index in range(3 if settings.small else 12):
            clock = now(device)
            net(x, times, filled=0, **given)
            seconds.append(now(device) - clock)
            if index == 1:
                seconds.clear()  # two calls choose kernels
    return found | {
        "relative_error": float(f"{float((answer - reference).norm() / reference.norm()):.3g}"),
        "call_ms": round(1e3 * statistics.median(seconds), 3),
    }


def rollouts(settings: Settings) -> dict[str, Any]:
    """`precision_error` on this device."""
    from benchmarks.worlds.precision_error import Args, measure

    return measure(Args(device=settings.device))
