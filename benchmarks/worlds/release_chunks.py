"""One rollout of the release, chunk by chunk, with a clock between its phases; part of `release_speed.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchmarks.worlds.release_modules import chunk_conditions, configs


def timed_chunks(
    size: str, net: Any, vae: Any, slots: int, device: Any, dtype: Any, count: int, captured: bool = False
) -> Any:
    """Yield the seconds of every phase of the chunks of one rollout, the first chunk first."""
    import torch

    from sanawm_env.world.networks.cache import common_fill, empty_cache
    from sanawm_env.world.sampler import commit_chunk
    from sanawm_env.world.schedules import RELEASE_SIGMAS

    config, _, (rows, columns) = configs(size)
    cache = empty_cache(config, slots, rows * columns, device=device, dtype=dtype)
    tails = None if vae is None else vae.init_tails(slots, rows, columns)
    programs = make_programs(device) if captured else None
    with torch.inference_mode():
        for index in range(count):
            frames = config.chunk_frames + (index == 0)
            given = chunk_conditions(config, slots, frames, (rows, columns), device, dtype)
            noise = torch.randn(slots, config.in_channels, frames, rows, columns, device=device)
            clean = None
            if index == 0:
                clean = torch.zeros(slots, frames, dtype=torch.bool, device=device)
                clean[:, 0] = True
            filled = common_fill(cache)
            seconds: dict[str, Any] = {"program_bytes": None}
            if programs is not None:
                program, values = recorded_program(programs, net, noise, cache, filled, clean, given)
                begun = now(device)
                latents, cache = program.denoise(values, cache)
                seconds["stage1"], clock = lap(begun, device)
                seconds["program_bytes"] = programs.nbytes
            else:
                begun = now(device)
                latents = denoise(net, noise, cache, RELEASE_SIGMAS, clean, given | {"filled": filled})
                seconds["denoise"], clock = lap(begun, device)
                cache = commit_chunk(net, latents, cache, filled=filled, **given)
                seconds["commit"], clock = lap(clock, device)
                seconds["stage1"] = clock - begun
            if vae is not None:
                _, tails = vae.decode(latents.to(dtype), tails)
            seconds["decode"], _ = lap(clock, device)
            state = [*cache.flat().values(), *(tails or {}).values()]
            seconds["state_bytes"] = sum(value.nbytes for value in state) // slots
            yield seconds


def make_programs(device: Any) -> Any:
    """A place for recorded programs: CUDA graphs, elsewhere the copies of `capture` around the plain function."""
    from sanawm_env.world.accel.capture import CudaRecorder, Programs

    if device.type == "cuda":
        return Programs(CudaRecorder())
    return Programs(lambda function, inputs: lambda: function(inputs))


def recorded_program(
    programs: Any, net: Any, noise: Any, cache: Any, filled: Any, clean: Any, conditions: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The environment's program of a chunk, recorded if it is the first of its kind, and what it takes."""
    from sanawm_env.world.sampler import Phase, chunk_function
    from sanawm_env.world.schedules import RELEASE_SIGMAS

    slots, _, frames = noise.shape[:3]
    phase = Phase(slots, frames, clean is not None, filled, RELEASE_SIGMAS, conditions["text"].shape[1])
    values = {"noise": noise} | conditions
    if clean is not None:
        values["clean"] = clean
    found = programs.find(phase, net)
    return found or programs.record_chunk(phase, chunk_function(net, phase), values, cache, net), values


def denoise(net: Any, x: Any, cache: Any, sigmas: Sequence[float], clean: Any, conditions: dict[str, Any]) -> Any:
    """The sampler's loop without its commit, which is timed by itself."""
    import torch

    from sanawm_env.world.sampler import velocity

    moving = torch.ones(x.shape[0], x.shape[2], device=x.device) if clean is None else (~clean).float()
    for now, following in pairwise(sigmas):
        v, _ = velocity(net, x, moving * now, cache=cache, **conditions)
        x = x - (moving * (now - following))[:, None, :, None, None] * v
    return x


def now(device: Any) -> float:
    """Seconds, once the device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def lap(since: float, device: Any) -> tuple[float, float]:
    """Seconds since `since`, and now."""
    here = now(device)
    return here - since, here
