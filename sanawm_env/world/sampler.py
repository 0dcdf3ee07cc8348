"""One step of a world in two halves: denoise and commit a chunk of latents, then decode it.

The first half touches no decoder memory and the second no transformer memory, so that the decoding of one chunk can
run beside the denoising of the next (`accel.overlap`). What the GPU does in the first half is `denoise_chunk`, a pure
function of tensors, which can be recorded once and replayed (`record`, `accel.capture`).

The sampler is few-step Euler over one chunk, without fresh noise between steps (docs/model.md, "Samplers").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sanawm_env.world.conditioning import Networks, camera_chunk, chunk_conditions, chunk_views, keep_frame
from sanawm_env.world.networks.anchor.views import show_made_up
from sanawm_env.world.networks.cache import ModelCache, own
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.frames import to_frames
from sanawm_env.world.noise import slot_noise
from sanawm_env.world.state import WorldState

if TYPE_CHECKING:
    from sanawm_env.world.accel.capture import Programs
    from sanawm_env.world.networks.refiner.refiner import StreamRefiner

__all__ = [
    "Counters",
    "Denoised",
    "Phase",
    "commit_chunk",
    "decode",
    "decode_latents",
    "denoise",
    "denoise_chunk",
    "isolated",
    "read_counters",
    "record",
    "refine_chunk",
    "velocity",
]


class Counters(NamedTuple):
    """What the host must know of a state to plan a step, a number per slot."""

    frames: list[int]
    """Latent frames committed so far; 0 before an opening, the first chunk with frame 0 in it."""
    seeds: list[int]
    """Noise seeds."""
    filled: list[int]
    """Places of the softmax window that hold a frame."""

    def of(self, slots: Sequence[int]) -> Counters:
        """Those of some slots."""
        return Counters(*([numbers[slot] for slot in slots] for numbers in self))


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
    """The first chunk with frame 0 in it, which is given and not denoised."""
    views: Tensor | None
    """`(B, 4 or 5, T*stride, H, W)` the anchor from the chunk's poses (`chunk_views`); None without one."""


def isolated(device: torch.device) -> AbstractContextManager[Any]:
    """Inference mode, and no autocast: a policy may be trained under one, and a world computes as it was loaded."""
    inference = torch.inference_mode()
    if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled(device.type):
        return inference
    stack = ExitStack()
    for kind in {"cpu", device.type}:
        stack.enter_context(torch.autocast(kind, enabled=False))
    stack.enter_context(inference)
    return stack


def read_counters(state: WorldState) -> Counters:
    """One small copy to the host, and so a wait for the device: ask once per step."""
    cache = state.cache
    return Counters(*torch.stack((cache.frames, state.noise_seed, (cache.window_chunk >= 0).sum(1))).tolist())


def denoise(
    nets: Networks,
    state: WorldState,
    c2w: Tensor,
    sigmas: Sequence[float],
    *,
    programs: Programs | None = None,
    counters: Counters | None = None,
) -> Denoised:
    """The first half of a step, for slots that are all at their first chunk or all past it.

    Args:
        nets: The networks.
        state: Contiguous; its decoder memory is not read.
        c2w: `(B, F, 4, 4)` float64 poses of the F new pixel frames, on the world's device.
        sigmas: Noise levels.
        programs: Recorded programs, through which it runs where one fits.
        counters: Of the state, where they are known already.

    Returns:
        See `Denoised`; its new tensors lie in memory of their own.
    """
    counters = counters or read_counters(state)
    noise, clean, conditions, views = _prepare(nets, state, c2w, counters)
    program = None
    if programs is not None:
        phase = _phase(noise, clean, conditions, counters, sigmas)
        program = programs.find(phase, nets.transformer)
    if program is not None:
        latents, cache = program.denoise(_named(noise, clean, conditions), state.cache)
    else:
        latents, cache = denoise_chunk(
            nets.transformer,
            noise,
            state.cache,
            sigmas,
            clean=clean,
            preconditioned=nets.config.preconditioned,
            filled=_common(counters.filled),
            **conditions,
        )
    cache = cache.rebuilt(own(cache.leaves(cache)))
    pose = c2w[:, -1].clone(memory_format=torch.contiguous_format)
    index = state.frame_index + c2w.shape[1]
    return Denoised(state.changed(cache=cache, c2w=pose, frame_index=index), latents, clean is not None, views)


def record(nets: Networks, state: WorldState, c2w: Tensor, sigmas: Sequence[float], programs: Programs | None) -> Phase:
    """Record the first half of the step that `denoise` would make of these, for all steps of its phase.

    Raises:
        ValueError: There is no place to keep it in.
    """
    if programs is None:
        raise ValueError("the world keeps no programs; call world.warmup(capture=True), which makes room for them.")
    counters = read_counters(state)
    noise, clean, conditions, _ = _prepare(nets, state, c2w, counters)
    phase = _phase(noise, clean, conditions, counters, sigmas)
    run = chunk_function(nets.transformer, phase, preconditioned=nets.config.preconditioned)
    programs.record_chunk(phase, run, _named(noise, clean, conditions), state.cache, nets.transformer)
    return phase


def refine_chunk(refiner: StreamRefiner, done: Denoised) -> Denoised:
    """Stage 2 between the two halves: the chunk refined, and remembered in the state.

    Stage 1 never sees it. Frame 0, where it is part of the chunk, stays as it is.
    """
    state, given = done.state, int(done.opening)
    assert state.refiner is not None
    latents = done.latents[:, :, given:]
    starts = [slot.next_frame for slot in state.refiner.slots]
    channels, frames, *grid = latents.shape[1:]
    noise = slot_noise(state.noise_seed.tolist(), starts, frames, (channels, *grid), stage=2)  # type: ignore[arg-type]
    after, refined = refiner.refine(state.refiner, latents, noise.to(latents.device))
    if given:
        refined = torch.cat((done.latents[:, :, :1], refined), dim=2)
    return done._replace(state=state.changed(refiner=after), latents=refined)


def decode(nets: Networks, done: Denoised) -> tuple[WorldState, Tensor]:
    """The second half: the state after the step, and frames `(B, F, H, W, 3)` uint8 on the device."""
    pixels, tails = decode_latents(nets, done.latents, done.state.vae_tails, done.views)
    if done.opening:
        pixels = pixels[:, :, 1:]  # frame 0, which the caller gave
    frames = to_frames(pixels)
    # Cloned: the caller may write into the frames.
    after = done.state.changed(vae_tails=tails, last_frame=frames[:, -1].clone())
    return (keep_frame(nets, after) if nets.config.model.keyframes else after), frames


def decode_latents(
    nets: Networks, latents: Tensor, tails: dict[str, Tensor], views: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Frames `(B, 3, F, H, W)` in about [-1, 1], and the decoder's memory after them in memory of its own."""
    hint = {} if views is None or not nets.vae.config.anchor else {"views": views[:, :4].to(nets.dtype)}
    pixels, tails = nets.vae.decode(latents.to(nets.dtype), tails, **hint)
    pixels = pixels if views is None else show_made_up(pixels, views)
    return pixels, dict(zip(tails, own(list(tails.values())), strict=True))


def denoise_chunk(
    model: SanaWMTransformer,
    noise: Tensor,
    cache: ModelCache,
    sigmas: Sequence[float],
    *,
    clean: Tensor | None = None,
    preconditioned: bool = False,
    **conditions: Any,
) -> tuple[Tensor, ModelCache]:
    """Denoise one chunk and commit it to the cache.

    Plain Euler over `sigmas`, no fresh noise between steps; then one call at noise level 0 writes the cache.

    Args:
        model: The transformer.
        noise: `(B, C, T, H, W)` starting latents; frames marked `clean` hold data.
        cache: State of the rollout.
        sigmas: Descending noise levels, ending at 0.
        clean: `(B, T)` bool, frames that are given (the first frame of a rollout); None means no frame is.
        preconditioned: See `velocity`.
        **conditions: Text, raymap and Plücker of the chunk.

    Returns:
        Clean latents and the next cache.
    """
    x = noise
    batch, _, time = x.shape[:3]
    # Plain numbers, so that nothing is copied from the host: the whole loop can be captured in a CUDA graph.
    # Rounded to float32 first, the type in which the latents move.
    levels = np.asarray(sigmas, dtype=np.float32)
    if clean is None:
        moving = torch.ones(batch, time, dtype=torch.float32, device=x.device)
    else:
        moving = (~clean).float()
    for now, following in pairwise(levels):
        v, _ = velocity(model, x, moving * float(now), preconditioned=preconditioned, cache=cache, **conditions)
        x = x - (moving * float(now - following))[:, None, :, None, None] * v
    return x, commit_chunk(model, x, cache, **conditions)


def chunk_function(
    model: SanaWMTransformer, phase: Phase, *, preconditioned: bool = False
) -> Callable[[dict[str, Tensor], ModelCache], tuple[Tensor, ModelCache]]:
    """`denoise_chunk` with everything fixed but the tensors, as `Programs.record_chunk` takes it.

    Args:
        model: The transformer.
        phase: What is fixed.
        preconditioned: See `velocity`.
    """

    def run(inputs: dict[str, Tensor], cache: ModelCache) -> tuple[Tensor, ModelCache]:
        return denoise_chunk(
            model, cache=cache, sigmas=phase.sigmas, preconditioned=preconditioned, filled=phase.filled, **inputs
        )

    return run


def commit_chunk(model: SanaWMTransformer, latents: Tensor, cache: ModelCache, **conditions: Any) -> ModelCache:
    """Write finished latents `(B, C, T, H, W)` into the cache: one call at noise level 0."""
    clean = torch.zeros(latents.shape[0], latents.shape[2], dtype=latents.dtype, device=latents.device)
    _, after = model(latents.to(model.dtype), clean, cache=cache, commit=True, **conditions)
    assert after is not None
    return after


def velocity(
    model: SanaWMTransformer, x: Tensor, sigma: Tensor, *, preconditioned: bool = False, **conditions: Any
) -> tuple[Tensor, ModelCache | None]:
    """Velocity `noise - data` at per-frame noise levels.

    The release's network outputs the velocity itself. With `preconditioned`, the part of the velocity that is
    a linear function of `x` is added outside the network (Karras et al. 2022, section 5, for the flow
    `x = (1-s) data + s noise` and unit-variance data): at s = 1 the network then outputs minus the data
    instead of copying 1000-dimensional noise through a narrow residual stream.

    Args:
        model: The transformer.
        x: `(B, C, T, H, W)` latents at noise level `sigma`.
        sigma: `(B, T)` in [0, 1].
        preconditioned: How the network was trained.
        **conditions: Passed to `SanaWMTransformer.forward`.

    Returns:
        Velocity like `x`, and the next cache if the call commits.
    """
    # The sampler integrates in the precision of `x`; the model computes in that of its weights.
    out, cache = model(x.to(model.dtype), sigma * 1000.0, **conditions)
    out = out.to(x.dtype)
    if preconditioned:
        s = sigma[:, None, :, None, None]
        power = s**2 + (1 - s) ** 2
        out = x * ((2 * s - 1) / power) + out * power**-0.5
    return out, cache


def _prepare(
    nets: Networks, state: WorldState, c2w: Tensor, counters: Counters
) -> tuple[Tensor, Tensor | None, dict[str, Tensor], Tensor | None]:
    """Starting latents, which of them are given (None: none are), the conditions, and the anchor's views."""
    stride = nets.vae.temporal_stride
    opening = counters.frames[0] == 0
    chunk = camera_chunk(c2w, stride, "future" if opening else "absent")
    # Frame 0 is never noise. Float32 whatever the weights are: the sampler adds many small steps to these latents.
    starts = [start + opening for start in counters.frames]
    shape = (nets.vae.latent_channels, *nets.latent_size)
    noise = slot_noise(counters.seeds, starts, c2w.shape[1] // stride, shape).to(nets.device)
    views = chunk_views(nets, state, chunk)
    clean = None
    if opening:
        noise = torch.cat((state.first_latent, noise), dim=2)
        clean = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool, device=nets.device)
        clean[:, 0] = True
    return noise, clean, chunk_conditions(nets, state, chunk, views), views


def _phase(
    noise: Tensor, clean: Tensor | None, conditions: dict[str, Tensor], counters: Counters, sigmas: Sequence[float]
) -> Phase:
    text = conditions["text"].shape[1] if "text" in conditions else 0
    slots, frames = noise.shape[0], noise.shape[2]
    return Phase(slots, frames, clean is not None, _common(counters.filled), tuple(sigmas), text)


def _named(noise: Tensor, clean: Tensor | None, conditions: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a program takes beside the cache."""
    return conditions | {"noise": noise} | ({} if clean is None else {"clean": clean})


def _common(filled: list[int]) -> int | None:
    """How many places of the window are filled, if all slots agree; None if they do not."""
    return filled[0] if filled.count(filled[0]) == len(filled) else None
