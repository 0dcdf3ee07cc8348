"""Offline rendering: a whole clip denoised at once by the bidirectional model or the chunk-causal teacher.

Sampler (docs/model.md, "Samplers"; NVlabs/Sana `diffusion/scheduler/flow_euler_sampler.py`): Euler steps along the
noise levels of diffusers' `FlowMatchEulerDiscreteScheduler(shift=9.8)`, classifier-free guidance, and latent
frame 0 clean at timestep 0. The teacher's chunks start one after another; a chunk that has finished stays in the call
at level 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sanawm_env.scenes.start_image import StartImage
from sanawm_env.world.checkpoints.presets import PRESETS
from sanawm_env.world.conditioning import (
    CameraChunk,
    camera_chunk,
    camera_conditions,
    check_intrinsics,
    check_poses,
    check_text,
    first_frame_chunk,
)
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.frames import to_frames
from sanawm_env.world.noise import check_seeds, frame_noise
from sanawm_env.world.sampler import isolated, velocity
from sanawm_env.world.schedules import euler_sigmas

__all__ = [
    "FLOW_SHIFT",
    "GUIDANCE",
    "STEPS",
    "OfflineMode",
    "chunk_starts",
    "clip_latents",
    "decode_clip",
    "denoise_clip",
    "euler_sigmas",
    "offline_mode",
    "staggered",
]

OfflineMode = Literal["bidirectional", "chunk_causal"]
Frames = NDArray[np.uint8]
Text = tuple[Tensor, Tensor]

STEPS, GUIDANCE, FLOW_SHIFT = 60, 5.0, 9.8
"""Of the release: model calls (two forwards each), guidance scale, flow shift."""


def chunk_starts(frames: int, chunk: int, first_chunk: Literal["plus_one", "alone"] = "plus_one") -> list[int]:
    """First latent frame of every chunk of a clip; a short remainder belongs to the last chunk.

    Args:
        frames: Latent frames of the clip.
        chunk: Latent frames per chunk.
        first_chunk: See `SanaWMConfig.first_chunk`.
    """
    alone = first_chunk == "alone"
    starts = [0, *range(1 if alone else chunk + 1, frames, chunk)]
    if len(starts) > 1 + alone and frames - starts[-1] < chunk:
        starts.pop()
    return starts


def staggered(chunks: int, steps: int) -> list[list[int]]:
    """Which noise level each chunk has in each model call.

    Chunk i begins `int(i / chunks * steps)` calls after the first (upstream's interval_k = 1/chunks).

    Returns:
        Per call the index of the level of chunk 0, 1, ... as far as they have begun; `steps` means finished. One
        chunk gives the plain schedule.
    """
    begins = [int(i * (1 / chunks) * steps) for i in range(chunks)]
    return [[min(call - begin, steps) for begin in begins if begin <= call] for call in range(begins[-1] + steps)]


@torch.inference_mode()
def denoise_clip(
    model: SanaWMTransformer,
    noise: Tensor,
    sigmas: Sequence[float],
    *,
    starts: Sequence[int] | None = None,
    raymap: Tensor | None = None,
    plucker: Tensor | None = None,
    text: Text | None = None,
    negative: Text | None = None,
    guidance: float = 1.0,
    preconditioned: bool = False,
    progress: Callable[[int], Any] = lambda calls: None,
) -> Tensor:
    """Denoise a whole clip. Pure.

    Condition and no condition are two forwards, not a batch of two: half the memory for activations.

    Args:
        model: The transformer.
        noise: `(B, C, T, h, w)`; latent frame 0 is the encoded image and stays as it is.
        sigmas: Descending noise levels, ending at 0.
        starts: First frame of every chunk for the chunk-causal teacher; None is the bidirectional model.
        raymap: `(B, T, 20)`.
        plucker: `(B, 6*stride, T, rows, columns)`.
        text: Embeddings `(B, L, channels)` and mask `(B, L)`; None for a model without text.
        negative: The same of the negative prompt; needed if `guidance` is above 1.
        guidance: Scale g of v = v_negative + g (v_text - v_negative); 1 or less is one forward without it.
        preconditioned: See `sampler.velocity`.
        progress: Called with 1 after every call, of which there are `len(staggered(...))`.

    Returns:
        Clean latents like `noise`.

    Raises:
        ValueError: Guidance without both texts, or chunks that do not begin at 0 and ascend within the clip.
    """
    if guidance > 1 and (text is None or negative is None):
        raise ValueError(f"guidance {guidance:g} needs a prompt and a negative prompt; give both, or guidance 1.")
    time = noise.shape[2]
    bounds = [0, time] if starts is None else [*starts, time]
    if bounds[0] != 0 or any(b <= a for a, b in pairwise(bounds)):
        raise ValueError(f"chunks must begin at frame 0 and ascend within {time} latent frames; got starts {starts}.")
    levels = [float(level) for level in np.asarray(sigmas, dtype=np.float32)]
    lengths = np.diff(bounds)
    x = noise.float()
    for call in staggered(len(lengths), len(levels) - 1):
        per_frame = np.repeat(call, lengths[: len(call)])
        end = len(per_frame)
        now = torch.tensor([levels[i] for i in per_frame], dtype=torch.float32, device=x.device)
        following = [levels[min(i + 1, len(levels) - 1)] for i in per_frame]
        after = torch.tensor(following, dtype=torch.float32, device=x.device)
        now[0] = after[0] = 0.0
        conditions: dict[str, Any] = {
            "raymap": None if raymap is None else raymap[:, :end],
            "plucker": None if plucker is None else plucker[:, :, :end],
        }
        if starts is not None:
            conditions["chunks"] = np.repeat(np.arange(len(call)), lengths[: len(call)]).tolist()
        active = x[:, :, :end]
        predict = partial(_predict, model, active, now.expand(len(x), -1), preconditioned, conditions)
        v = predict(text)
        if guidance > 1:
            without = predict(negative)
            v = without + guidance * (v - without)
        x = torch.cat((active - (now - after)[None, None, :, None, None] * v, x[:, :, end:]), dim=2)
        progress(1)
    return x


def _predict(
    model: SanaWMTransformer, x: Tensor, sigma: Tensor, preconditioned: bool, given: dict[str, Any], words: Text | None
) -> Tensor:
    """Velocity under one text."""
    more = {} if words is None else {"text": words[0].to(model.dtype), "text_mask": words[1]}
    with isolated(x.device):
        return velocity(model, x, sigma, preconditioned=preconditioned, **given, **more)[0]


def offline_mode(world: WorldModel) -> OfflineMode:
    """How a loaded release sees a whole clip.

    Raises:
        ValueError: A world that was trained to be stepped, as the built-in one.
    """
    preset = PRESETS.get(world.config.name.rpartition("(")[2].rstrip(")"))
    if preset is None or preset.trained_for == "streaming":
        raise ValueError(
            f"checkpoint {world.config.name!r} was trained to be stepped, not to render whole clips; use `sanawm "
            "rollout`, or render SANA-WM_bidirectional or SANA-WM_chunk_causal."
        )
    return "chunk_causal" if preset.trained_for == "chunk_causal" else "bidirectional"


@torch.inference_mode()
def clip_latents(
    world: WorldModel,
    start: StartImage,
    c2w: NDArray[np.float64],
    seed: int,
    *,
    mode: OfflineMode,
    steps: int = STEPS,
    shift: float = FLOW_SHIFT,
    guidance: float = GUIDANCE,
    text: Text | None = None,
    negative: Text | None = None,
    chunk_frames: int | None = None,
    vae: Any = None,
    progress: Callable[[int], Any] = lambda calls: None,
) -> Tensor:
    """Latents of a clip from a picture, a camera path and text. Pure.

    Args:
        world: Transformer, VAE and sizes.
        start: Frame 0 at the world's resolution.
        c2w: `(F, 4, 4)` poses relative to frame 0, that of frame 0 first, metres. Where the path ends inside a latent
            frame, its last pose is held.
        seed: Of the noise, 0 to 2**63 - 1; frame by frame the noise that stepping would draw.
        mode: Which model the weights are.
        steps: Euler steps.
        shift: Flow shift.
        guidance: Classifier-free guidance; see `denoise_clip`.
        text: Embeddings `(1, L, channels)` and mask `(1, L)`.
        negative: The same, of the negative prompt.
        chunk_frames: Latent frames per chunk of the teacher; None is the checkpoint's.
        vae: In place of the world's own to encode frame 0; see `render_vae.WholeClipVAE`.
        progress: See `denoise_clip`.

    Returns:
        `(1, C, T, h, w)` float32 normalised latents on the world's device, T = 1 + ceil((F - 1) / stride).

    Raises:
        ValueError: Input that cannot be used; names the fix.
    """
    config, stride = world.config, world.vae.temporal_stride
    if len(c2w) < 2:
        raise ValueError(f"a clip needs at least 2 poses; got {len(c2w)}.")
    frames = -(-(len(c2w) - 1) // stride)
    held = np.concatenate([c2w[1:], np.repeat(c2w[-1:], frames * stride - len(c2w) + 1, axis=0)])
    poses = torch.from_numpy(check_poses(held[None], 1, stride, frames)).to(world.device)
    cameras = check_intrinsics(start.intrinsics[None], 1, config.width, config.height).to(world.device)
    (seed,) = check_seeds([seed], 1)
    starts = None
    if mode == "chunk_causal":
        starts = chunk_starts(frames + 1, chunk_frames or config.chunk_frames, config.model.first_chunk)
    elif chunk_frames is not None:
        raise ValueError("the bidirectional model has no chunks; leave chunk_frames out.")
    words = _on_device(world, text)
    without = _on_device(world, negative) if guidance > 1 else None
    sigmas = euler_sigmas(steps, shift)

    pixels = torch.from_numpy(start.image).to(world.device, world.dtype).div(127.5).sub(1).permute(2, 0, 1)
    with isolated(world.device):
        first = (vae or world.vae).encode(pixels[None, :, None]).float()
    noise = frame_noise(seed, 1, frames, (world.vae.latent_channels, *world.latent_size))[None].to(world.device)
    size = (config.height, config.width)
    return denoise_clip(
        world.transformer,
        torch.cat((first, noise), dim=2),
        sigmas,
        starts=starts,
        **camera_conditions(_whole_clip(poses, stride, config.model.first_chunk), cameras, size, world.token_grid),
        text=words,
        negative=without,
        guidance=guidance,
        preconditioned=config.preconditioned,
        progress=progress,
    )


@torch.inference_mode()
def decode_clip(world: WorldModel, latents: Tensor, frames: int, vae: Any = None) -> Iterator[Frames]:
    """Frames of a clip, piece by piece.

    Args:
        world: Whose VAE decodes.
        latents: `(1, C, T, h, w)` of `clip_latents`.
        frames: How many frames are wanted; what lies beyond is cut off.
        vae: A VAE that decodes whole clips, in place of the world's causal one.

    Yields:
        `(n, H, W, 3)` uint8.
    """
    done = 0
    tails = None if vae else world.vae.init_tails(1, *world.latent_size, device=world.device, dtype=world.dtype)
    pieces = [latents] if vae else latents.split(world.config.chunk_frames, dim=2)
    for piece in pieces:
        with isolated(world.device):
            if vae:
                pixels = vae.decode(piece)
            else:
                pixels, tails = world.vae.decode(piece.to(world.dtype), tails)
        rgb = to_frames(pixels[:1, :, : frames - done])[0]
        done += len(rgb)
        yield rgb.cpu().numpy()
        if done >= frames:
            return


def _whole_clip(poses: Tensor, stride: int, first_chunk: str) -> CameraChunk:
    """Camera of all latent frames, frame 0 included; `poses` `(1, n*stride, 4, 4)` begin with pixel frame 1."""
    if first_chunk == "plus_one":
        return camera_chunk(poses, stride, "future")
    opening, rest = first_frame_chunk(1, stride, poses.device), camera_chunk(poses, stride)
    return torch.cat((opening[0], rest[0]), dim=1), torch.cat((opening[1], rest[1]), dim=1)


def _on_device(world: WorldModel, text: Text | None) -> Text | None:
    """Text as the transformer takes it; None for a world without text."""
    embedded, seen = (None, None) if text is None else text
    values, mask = check_text(embedded, seen, 1, world.config.model.caption_channels)
    return (values.to(world.device), mask.to(world.device)) if values.shape[1] else None
