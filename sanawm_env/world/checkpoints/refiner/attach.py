"""From `refiner=...` to a refiner that a world can run."""

from __future__ import annotations

from pathlib import Path

import torch

from sanawm_env.world.checkpoints.refiner.files import find_stream
from sanawm_env.world.checkpoints.refiner.load import load_networks
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions
from sanawm_env.world.checkpoints.refiner.text import RefinerPrompts
from sanawm_env.world.networks.refiner.refiner import StreamRefiner

__all__ = ["load_refiner"]


def load_refiner(
    options: RefinerOptions,
    checkpoint: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    fps: float = 16.0,
) -> StreamRefiner:
    """Load stage 2.

    Args:
        options: Which one.
        checkpoint: Folder of the world's checkpoint; None where there is none.
        device: Where it runs.
        dtype: Of its weights.
        fps: Of the world.

    Raises:
        FileNotFoundError: No refiner there.
        ValueError: See `load_networks`.
    """
    folder = Path(options.folder) if options.folder is not None else checkpoint
    if folder is None:
        raise FileNotFoundError("this world has no folder in which a refiner could lie; give refiner={'folder': ...}.")
    encoder = None if options.text_encoder is None else Path(options.text_encoder)
    files = find_stream(folder, encoder)
    lora = None if options.lora is None else Path(options.lora)
    found = load_networks(files, device, dtype, lora=lora, lora_strength=options.lora_strength)
    prompts = RefinerPrompts(found.connectors, found.checkpoint, files.text_encoder, device, dtype)
    return StreamRefiner(found.transformer, options.settings(fps), found.checkpoint, prompts)
