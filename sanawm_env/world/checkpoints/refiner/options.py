"""`RefinerOptions`: which stage 2 a world is loaded with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sanawm_env.world.networks.refiner.config import StreamSettings

__all__ = ["KV_TYPES", "RefinerOptions", "read_options"]

KV_TYPES = {"fp8": torch.float8_e4m3fn}
"""Names of types for keys and values, besides that of the weights."""


@dataclass(frozen=True)
class RefinerOptions:
    """Where a refiner lies and how much it remembers."""

    folder: str | Path | None = None
    """A release with its refiner, the refiner's own folder, or one of Lightricks' safetensors files of LTX-2 19B; None
    is the folder of the world's checkpoint."""
    text_encoder: str | Path | None = None
    """Folder of Gemma-3 12B; None looks at the releases' places. Encoded prompts are remembered on disk."""
    kv_max_frames: int = 11
    """Latent frames that are remembered, the first among them; 4 takes a third of the memory, and flickers more."""
    kv_dtype: str | None = None
    """`fp8` keeps keys and values in half of bfloat16's bytes, with an error; None keeps them as they are."""
    lora: str | Path | None = None
    """A LoRA in Lightricks' format to merge; the releases' refiners are merged already."""
    lora_strength: float = 1.0
    """Of that LoRA."""

    def __post_init__(self) -> None:
        if self.kv_dtype is not None and self.kv_dtype not in KV_TYPES:
            raise ValueError(
                f"kv_dtype must be None or one of {', '.join(map(repr, KV_TYPES))}; got {self.kv_dtype!r}."
            )
        if isinstance(self.kv_max_frames, bool) or not isinstance(self.kv_max_frames, int) or self.kv_max_frames < 1:
            raise ValueError(f"kv_max_frames must be a whole number of at least 1; got {self.kv_max_frames!r}.")

    def settings(self, fps: float) -> StreamSettings:
        """How the stream runs in a world of so many frames per second."""
        kind = None if self.kv_dtype is None else KV_TYPES[self.kv_dtype]
        return StreamSettings(kv_max_frames=self.kv_max_frames, kv_dtype=kind, fps=fps)


def read_options(refiner: Any) -> RefinerOptions | None:
    """What `refiner=` asks for: None, `"stream"`, options, or a mapping of their fields.

    Raises:
        ValueError: Something else.
    """
    if refiner is None or isinstance(refiner, RefinerOptions):
        return refiner
    if refiner == "stream":
        return RefinerOptions()
    known = [field.name for field in dataclasses.fields(RefinerOptions)]
    if isinstance(refiner, Mapping):
        if unknown := sorted(str(name) for name in refiner if name not in known):
            raise ValueError(f"refiner has no {unknown[0]!r}; there are {', '.join(known)}.")
        return RefinerOptions(**refiner)
    raise ValueError(
        f"refiner must be None, 'stream' or a mapping with {', '.join(known)}; got {refiner!r}. For a folder write "
        "refiner={'folder': ...}."
    )
