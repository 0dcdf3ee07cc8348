"""One step of a world in two halves: denoise and commit a chunk, then decode it.

The first half touches no decoder memory and the second no transformer memory, so that the decoding of one chunk can
run beside the denoising of the next (`accel.overlap`). What the GPU does in the first half is `run_phase`, a pure
function of tensors, which can be recorded once and replayed (`record`, `accel.capture`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sanawm_env.world.conditioning import camera_chunk
from sanawm_env.world.networks.cache import ModelCache, common_fill
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import denoise_chunk
from sanawm_env.world.state import WorldState

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["Denoised", "Phase", "decode", "denoise", "function", "prepare", "record", "run_phase"]

_CACHE = "cache."
_CONDITIONS = ("raymap", "plucker", "anchor", "text", "text_mask")


@dataclass(frozen=True)
class Phase:
    """Everything beside the values of the tensors that a step's arithmetic depends on, within one world."""

    slots: int
    """Rollouts that are computed together."""
    frames: int
    """Latent frames, frame 0 counted in where it is part of the chunk."""
    opening: bool
    """The first chunk with frame 0 in it, which is given and not denoised."""
    filled: int | None
    """Places of the softmax window that hold a frame, alike in all slots; None where slots differ."""
    sigmas: tuple[float, ...]
    """Noise levels."""
    text_length: int
    """Text tokens; 0 without text."""


class Denoised(NamedTuple):
    """The result of the first half."""

    state: WorldState
    """Of after the step in everything but `vae_tails` and `last_frame`, which are still those of before."""
    latents: Tensor
    """`(B, C, T, h, w)` float32, frame 0 among them in an opening."""
    opening: bool
    """See `Phase`."""
    views: Tensor | None
    """`(B, 4, T*stride, H, W)` the anchor from the chunk's poses, for the decoder; None without one."""


def denoise(world: WorldModel, state: WorldState, c2w: Tensor, sigmas: Sequence[float]) -> Denoised:
    """The first half of a step, for slots that are all at their first chunk or all past it.

    Args:
        world: The world.
        state: Contiguous; its decoder memory is not read.
        c2w: `(B, F, 4, 4)` float64 poses of the F new pixel frames, on the world's device.
        sigmas: Noise levels.
    """
    phase, values, views = prepare(world, state, c2w, sigmas)
    program = None if world.programs is None else world.programs.find(phase, world.transformer)
    found = function(world, phase)(values) if program is None else program(values)
    cache = ModelCache.from_flat({n.removeprefix(_CACHE): v for n, v in found.items() if n.startswith(_CACHE)})
    after = replace(state, cache=cache, c2w=c2w[:, -1], frame_index=state.frame_index + c2w.shape[1])
    return Denoised(after.contiguous(), found["latents"], phase.opening, views)


def function(world: WorldModel, phase: Phase) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """`run_phase` as a function of the tensors alone."""
    return partial(run_phase, world.transformer, phase, preconditioned=world.config.preconditioned)


def record(world: WorldModel, state: WorldState, c2w: Tensor, sigmas: Sequence[float]) -> Phase:
    """Record the first half of the step that `denoise` would make of these, for all steps of its phase.

    Raises:
        ValueError: The world has no `programs` to keep it in.
    """
    if world.programs is None:
        raise ValueError("the world keeps no programs; call world.warmup(capture=True), which makes room for them.")
    phase, values, _ = prepare(world, state, c2w, sigmas)
    world.programs.record(phase, function(world, phase), values, world.transformer)
    return phase


def decode(world: WorldModel, done: Denoised) -> tuple[WorldState, Tensor]:
    """The second half: the state after the step, and frames `(B, F, H, W, 3)` uint8 on the device."""
    pixels, tails = world.decode(done.latents, done.state.vae_tails, done.views)
    if done.opening:
        pixels = pixels[:, :, 1:]  # frame 0, which the caller gave
    frames = pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)
    frames = frames.contiguous()
    # Cloned: the caller may write into the frames.
    after = replace(done.state, vae_tails=tails, last_frame=frames[:, -1].clone())
    return after.contiguous(), frames


def prepare(
    world: WorldModel, state: WorldState, c2w: Tensor, sigmas: Sequence[float]
) -> tuple[Phase, dict[str, Tensor], Tensor | None]:
    """What `run_phase` takes, and what the anchor looks like (`Denoised.views`).

    Asks the device for a few numbers: frame counters and the window's filling.
    """
    stride = world.vae.temporal_stride
    opening = int(state.cache.frames[0]) == 0
    chunk = camera_chunk(c2w, stride, "future" if opening else "absent")
    noise = world.noise(state, c2w.shape[1] // stride, opening)
    values = {_CACHE + name: value for name, value in state.cache.flat().items()}
    views = world.views(state, chunk)
    values |= world.conditions(state, chunk, views)
    if opening:
        noise = torch.cat((state.first_latent, noise), dim=2)
        values["clean"] = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool, device=world.device)
        values["clean"][:, 0] = True
    length = values["text"].shape[1] if "text" in values else 0
    phase = Phase(state.slots, noise.shape[2], opening, common_fill(state.cache), tuple(sigmas), length)
    return phase, values | {"noise": noise}, views


def run_phase(
    transformer: SanaWMTransformer, phase: Phase, values: dict[str, Tensor], *, preconditioned: bool = False
) -> dict[str, Tensor]:
    """The denoising loop and its commit, from tensors to tensors; asks the host for nothing.

    Args:
        transformer: The network.
        phase: What is fixed.
        values: Of `prepare`: `noise`, `clean` in an opening, the conditions, and the cache's tensors.
        preconditioned: See `sampler.velocity`.

    Returns:
        `latents`, and the next cache's tensors under the names of those given.
    """
    cache = ModelCache.from_flat({n.removeprefix(_CACHE): v for n, v in values.items() if n.startswith(_CACHE)})
    latents, after = denoise_chunk(
        transformer,
        values["noise"],
        cache,
        phase.sigmas,
        clean=values.get("clean"),
        preconditioned=preconditioned,
        filled=phase.filled,
        **{name: values[name] for name in _CONDITIONS if name in values},
    )
    return {"latents": latents} | {_CACHE + name: value for name, value in after.flat().items()}
