"""Stage 1 and VAE with random weights of the true size: every way to run, 1 to 8 slots (`release_speed`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from benchmarks.speed.gpu.stages import Part, Settings

WAYS = ("eager", "captured", "triton", "triton+captured", "fla", "compiled", "fused", "fused+captured",
        "fused+triton+captured")  # fmt: skip
"""Those with `fused` last: weights stay fused."""
SLOTS = (1, 2, 4, 8)
REHEARSED = {"eager": (1, 2), "fused+captured": (1, 2)}


def parts(settings: Settings) -> Iterator[Part]:
    """A part for each way and number of slots, and the machine's facts first."""
    from benchmarks.worlds.release_modules import chunk_flops_of, machine, peak_rate

    device = _device(settings)
    facts = {"peak": peak_rate(device), "flops_per_chunk": chunk_flops_of(settings.size, 1)}
    yield Part("machine", lambda: machine(device) | facts)
    for way in WAYS:
        if settings.small and way == "compiled":
            continue  # tracing takes a CPU minutes
        for slots in REHEARSED.get(way, (1,)) if settings.small else SLOTS:
            yield Part(f"{way}-{slots}", lambda way=way, slots=slots: measure(settings, way, slots))  # type: ignore[misc]


def measure(settings: Settings, way: str, slots: int) -> dict[str, Any]:
    """Phases, evenness, peak memory and MFU of one rollout.

    Raises:
        RuntimeError: What another_way says does not run here.
    """
    from benchmarks.speed.release_speed import another_way, rollout

    args, net, vae, device, dtype = networks(settings)
    args = type(args)(**{**vars(args), "slots": (slots,)})
    if way == "eager":
        rollout(type(args)(**{**vars(args), "chunks": 1}), net, vae, slots, device, dtype)  # chooses kernels
        return rollout(args, net, vae, slots, device, dtype)
    found = another_way(way, args, net, vae, device, dtype)  # type: ignore[arg-type]
    row = found.get("results", {}).get(str(slots), found)
    if "error" in row:
        raise RuntimeError(row["error"])
    return row | {"warmup_s": found["warmup_s"]}


@cache
def networks(settings: Settings) -> tuple[Any, Any, Any, Any, Any]:
    """Benchmark's settings, transformer, VAE, device and type; made once per process."""
    import torch

    from benchmarks.speed.release_speed import Args
    from benchmarks.worlds.release_modules import configs, randomly, transformer, video_vae

    device, dtype = _device(settings), torch.bfloat16
    backend = "eager" if settings.small else "inductor"  # a compiler takes a CPU minutes
    chunks = 2 if settings.small else 20
    args = Args(size=settings.size, device=settings.device, chunks=chunks, warmup_chunks=3, compile_backend=backend)
    torch.manual_seed(0)
    config, _, _ = configs(settings.size)
    return (
        args,
        randomly(lambda: transformer(config), device, dtype),
        video_vae(settings.size, device, dtype),
        device,
        dtype,
    )


def _device(settings: Settings) -> Any:
    import torch

    return torch.device(settings.device)
