"""What `sanawm render` writes beside a video, and the text that only guidance needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from sanawm_env.files import save_tensors
from sanawm_env.world.offline.recipe import Recipe

if TYPE_CHECKING:
    from sanawm_env.world.checkpoints.prompts import Prompts, Text
    from sanawm_env.world.model import WorldModel

__all__ = ["RenderRecipe", "negative_text", "save_latents"]


@dataclass
class RenderRecipe(Recipe):
    """A `Recipe` of an offline clip; its `sigmas` are the whole schedule, its `chunk_frames` those of the teacher."""

    kind: ClassVar[str] = "clip"

    mode: str = ""
    """`bidirectional` or `chunk_causal`."""
    flow_shift: float = 0.0
    """Shift of the noise levels."""
    guidance: float = 1.0
    """Classifier-free guidance scale; 1 is none."""
    negative_prompt: str = ""
    """Text that guidance leads away from."""
    vae: str | None = None
    """Folder of the VAE in place of the world's causal one."""


def negative_text(world: WorldModel, prompts: Prompts, words: str) -> Text:
    """Embedding of a negative prompt: without the release's instruction before it, all positions kept.

    Raises:
        FileNotFoundError, ImportError, ConnectionError, MemoryError: See `Prompts.read`.
    """
    from sanawm_env.world.networks.text.encoder import encode_prompts

    encoder, tokenizer = prompts.folders()
    model = world.config.model
    return encode_prompts(
        [words],
        encoder,
        tokenizer=tokenizer,
        length=model.text_length,
        channels=model.caption_channels,
        instruction="",
        device=world.device,
        dtype=world.dtype,
    )


def save_latents(path: Path, latents: Tensor) -> None:
    """Write normalised latents `(1, C, T, h, w)` as one bfloat16 tensor `latents`; whole or not at all."""
    save_tensors(path, {"latents": latents.to(torch.bfloat16)})
