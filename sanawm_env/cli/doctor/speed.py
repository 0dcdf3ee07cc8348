"""How fast a world is likely to be; every figure says whether it was published, computed, estimated or measured."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from sanawm_env.world.accel.device import Device
from sanawm_env.world.accel.flops import clip_flops
from sanawm_env.world.config import WorldConfig

__all__ = ["PUBLISHED", "expected_speed"]

MINUTE = 961
"""Frames of the published clips, a minute at 16 frames/s: 121 latent frames."""
STREAMING, TEACHER = "SANA-WM_streaming", "SANA-WM_chunk_causal"
PUBLISHED: tuple[dict[str, Any], ...] = (
    {"release": STREAMING, "gpu": "H100", "precision": "bf16", "seconds": 55.0, "what": "denoising only"},
    {"release": STREAMING, "gpu": "RTX 5090", "precision": "bf16", "seconds": 39.0, "what": "denoising only"},
    {"release": STREAMING, "gpu": "RTX 5090", "precision": "nvfp4", "seconds": 34.0, "what": "denoising only"},
    # 24.1 videos of a minute an hour on eight H100s.
    {"release": TEACHER, "gpu": "H100", "precision": "bf16", "seconds": 3600 * 8 / 24.1, "what": "without refiner"},
)
"""Seconds for a minute of 720p, one rollout, by others' code (docs/model.md, "Benchmark")."""
PEAK_H100 = 989e12
"""Dense bfloat16 operations per second of an H100 SXM, by its data sheet."""


def expected_speed(
    config: WorldConfig, checkpoint: str, release: str | None, device: Device, *, measure: bool
) -> list[dict[str, Any]]:
    """What is known about frames per second of one rollout.

    Args:
        config: The world.
        checkpoint: Name or folder, loaded if it is to be measured.
        release: Repository whose published figures apply; None for other worlds.
        device: Where.
        measure: Whether to time anything here.

    Returns:
        One entry per figure: `frames_per_s`, `kind`, `what` and `basis`.
    """
    if release is None:
        if measure and not device.hypothetical:
            return [_run(checkpoint, device)]
        return [_entry(None, "unknown", "nothing was measured", "ask for a device of this machine")]
    entries = [
        _entry(MINUTE / row["seconds"], "published", f"{row['gpu']}, {row['precision']}, {row['what']}",
               f"a minute of 720p in {row['seconds']:.0f} s; of others' code, not of this package")
        for row in PUBLISHED
        if release.endswith("/" + row["release"])
    ]  # fmt: skip
    # The VAE's and the text encoder's work is left out, as in the published figures.
    tokens = (config.height // 32) * (config.width // 32)
    work = clip_flops(config.model, 121, tokens, steps=len(config.sigmas) - 1).total
    petaflop = f"{work / 1e15:.2f} PFLOP a minute of 720p, stage 1 alone"
    if device.kind == "cuda":
        entries.append(
            _entry(MINUTE * PEAK_H100 / work, "computed", "arithmetic limit of an H100, bf16, never reached",
                   f"{petaflop}, at {PEAK_H100 / 1e12:.0f} TFLOP/s")
        )  # fmt: skip
    elif measure:
        rate = matrix_rate()
        entries.append(
            _entry(MINUTE * rate / work, "estimated", "upper limit of this CPU, float32",
                   f"{petaflop}, at {rate / 1e9:.0f} GFLOP/s measured on a matrix product")
        )  # fmt: skip
    if not entries:
        entries.append(_entry(None, "unknown", "no figure was published", petaflop))
    return entries


def matrix_rate(size: int = 768, seconds: float = 0.2) -> float:
    """Operations per second of a float32 matrix product on this CPU, best of a short time."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    end, best = time.perf_counter() + seconds, float("inf")
    while True:
        clock = time.perf_counter()
        torch.mm(a, b)
        now = time.perf_counter()
        best = min(best, now - clock)
        if now > end:
            return 2 * size**3 / best


def _run(checkpoint: str, device: Device, steps: int = 3) -> dict[str, Any]:
    """Time a few steps of a small world."""
    import torch

    from sanawm_env.cli.common.probe import black_start
    from sanawm_env.world.model import WorldModel

    model = WorldModel.load(checkpoint, device.kind)
    count = model.config.chunk_frames * model.vae.temporal_stride
    poses = np.tile(np.eye(4), (1, count, 1, 1))
    state = black_start(model)
    best = float("inf")
    for _ in range(steps + 1):  # the first is slower
        clock = time.perf_counter()
        state, _ = model.step(state, poses)
        best = min(best, time.perf_counter() - clock)
    basis = f"best of {steps + 1} steps of {count} frames, {torch.get_num_threads()} threads"
    if hasattr(os, "getloadavg"):  # a busy machine is a slow one
        basis += f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return _entry(count / best, "measured", f"here, {device.label}", basis)


def _entry(rate: float | None, kind: str, what: str, basis: str) -> dict[str, Any]:
    digits = 1 if rate is None or rate >= 1 else 4
    return {"frames_per_s": None if rate is None else round(rate, digits), "kind": kind, "what": what, "basis": basis}
