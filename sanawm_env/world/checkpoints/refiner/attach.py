"""From `refiner=...` to a refiner that a world can run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from sanawm_env.world.checkpoints.refiner.files import StreamFiles, find_stream
from sanawm_env.world.checkpoints.refiner.load import load_networks
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions
from sanawm_env.world.checkpoints.refiner.text import RefinerPrompts
from sanawm_env.world.networks.refiner.refiner import StreamRefiner

__all__ = ["FoundRefiner", "find_refiner", "load_refiner"]


class FoundRefiner(NamedTuple):
    """A refiner that is there, not loaded yet."""

    options: RefinerOptions
    """What was asked for."""
    files: StreamFiles
    """Where it lies."""


def find_refiner(options: RefinerOptions, checkpoint: Path | None = None) -> FoundRefiner:
    """Find stage 2, before anything large is read.

    Args:
        options: Which one.
        checkpoint: Folder of the world's checkpoint; None where there is none.

    Raises:
        FileNotFoundError: No refiner there.
    """
    folder = Path(options.folder) if options.folder is not None else checkpoint
    if folder is None:
        raise FileNotFoundError("this world has no folder in which a refiner could lie; give refiner={'folder': ...}.")
    if options.lora is not None and not Path(options.lora).is_file():
        raise FileNotFoundError(f"no LoRA {options.lora}; check the path.")
    return FoundRefiner(
        options, find_stream(folder, None if options.text_encoder is None else Path(options.text_encoder))
    )


def load_refiner(
    found: FoundRefiner, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16, fps: float = 16.0
) -> StreamRefiner:
    """Load stage 2.

    Args:
        found: Of `find_refiner`.
        device: Where it runs.
        dtype: Of its weights.
        fps: Of the world.

    Raises:
        ValueError, FileNotFoundError: See `load_networks`.
    """
    options, files = found
    lora = None if options.lora is None else Path(options.lora)
    made = load_networks(files, device, dtype, lora=lora, lora_strength=options.lora_strength)
    prompts = RefinerPrompts(made.connectors, made.checkpoint, files.text_encoder, torch.device(device), dtype)
    return StreamRefiner(made.transformer, options.settings(fps), made.checkpoint, prompts)
