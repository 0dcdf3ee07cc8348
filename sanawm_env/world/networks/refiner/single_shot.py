"""The older way of the refiner: all frames of a clip in one call, as before it was trained on blocks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from sanawm_env.world.networks.refiner.config import StreamSettings
from sanawm_env.world.networks.refiner.rope import frame_rotation
from sanawm_env.world.networks.refiner.stream import check_latents, to_latents, to_tokens
from sanawm_env.world.networks.refiner.transformer import RefinerTransformer, TextMemory

__all__ = ["clean_frames", "refine_clip"]


def clean_frames(
    model: RefinerTransformer, settings: StreamSettings, x: Tensor, level: float, text: TextMemory
) -> Tensor:
    """Frames without noise that one call predicts.

    Args:
        model: The network.
        settings: For sink and fps.
        x: `(B, C, T, h, w)`, the sink clean, all others at the noise level. Frame t stands at position t; the sink sees
            itself alone.
        level: Of the noise.
        text: Of `text_memory`.

    Returns:
        `(B, C, T - sink, h, w)` float32.
    """
    _, _, time, rows, columns = x.shape
    sink = settings.sink_frames * rows * columns
    tokens = to_tokens(x)
    sigma = torch.full((1, tokens.shape[1]), level, dtype=torch.float32, device=x.device)
    sigma[:, :sink] = 0
    by = frame_rotation(model.config, [range(time)], rows, columns, settings.fps, x.device)
    v = model(tokens, sigma, text, by, sink_tokens=sink)[:, sink:]
    return to_latents(tokens[:, sink:].float() - level * v.float(), rows, columns)


def refine_clip(
    model: RefinerTransformer,
    settings: StreamSettings,
    latents: Tensor,
    noise: Tensor,
    text: Tensor,
    text_mask: Tensor | None = None,
) -> Tensor:
    """Refine a whole clip in one call per noise level. Pure.

    Args:
        model: The network.
        settings: For noise levels, sink and fps.
        latents: `(B, C, T, h, w)` of stage 1.
        noise: `(B, C, T - sink, h, w)`.
        text: As in `stream.start`.
        text_mask: Likewise.

    Returns:
        Latents like those given, the sink as it was, in the type of the weights.

    Raises:
        ValueError: No frame besides the sink, or noise of another shape.
    """
    check_latents(model, latents)
    sink, dtype, levels = settings.sink_frames, model.dtype, settings.sigmas
    z = latents.to(model.device, dtype)
    kept, rest = z[:, :, :sink], z[:, :, sink:]
    if not rest.shape[2] or noise.shape != rest.shape:
        raise ValueError(f"noise of {tuple(noise.shape)} does not fit {tuple(rest.shape)} latents after the sink.")
    mask = torch.ones(text.shape[:2], dtype=torch.bool) if text_mask is None else text_mask
    memory = model.text_memory(text.to(model.device), mask.to(model.device))
    x = ((1 - levels[0]) * rest.float() + levels[0] * noise.to(model.device, dtype).float()).to(dtype)
    for now, following in pairwise(levels):
        clean = clean_frames(model, settings, torch.cat((kept, x), dim=2), now, memory).to(dtype)
        v = (x.float() - clean.float()) / now
        x = (x.float() + (following - now) * v).to(dtype)
    return torch.cat((kept, x), dim=2)
