"""Prompt embeddings on disk, one safetensors file per prompt; a damaged file counts as none."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sanawm_env.files import cache_folder, save_tensors

__all__ = ["Entry", "default_cache", "entry_key", "load_entry", "store_entry"]

VERSION = 1
"""Of the recipe and of the file; raise it when either changes."""


@dataclass(frozen=True)
class Entry:
    """One encoded prompt."""

    values: Tensor
    """`(L, channels)` embeddings."""
    mask: Tensor
    """`(L,)` bool, True where a token counts."""
    cut: str
    """End of the prompt that did not fit; empty if all did."""


def default_cache() -> Path:
    """`prompts` in `files.cache_folder()`."""
    return cache_folder() / "prompts"


def entry_key(recipe: Mapping[str, Any], prompt: str) -> str:
    """Hash of everything that an embedding depends on.

    Args:
        recipe: JSON-ready; encoder, instruction, length, type.
        prompt: The user's words.
    """
    text = json.dumps({"version": VERSION, "recipe": dict(recipe), "prompt": prompt}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_entry(folder: Path, key: str, length: int) -> Entry | None:
    """The remembered entry, or None if there is none or its file is damaged (then with a warning).

    Args:
        folder: The cache.
        key: Of `entry_key`.
        length: Text tokens L that it must have.
    """
    path = folder / f"{key}.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            values, mask = file.get_tensor("values"), file.get_tensor("mask")
        if facts.get("key") != key or facts.get("sum") != _sum(values, mask):
            raise ValueError("its checksum is wrong")
        if values.ndim != 2 or mask.shape != values.shape[:1] or len(mask) != length or mask.dtype != torch.bool:
            raise ValueError(f"it holds {tuple(values.shape)}")
        return Entry(values, mask, facts.get("cut", ""))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        warnings.warn(f"prompt cache: {path} is damaged ({error}); encoding the prompt again.", stacklevel=3)
        return None


def store_entry(folder: Path, key: str, entry: Entry) -> None:
    """Write an entry; the file appears as a whole or not at all. Failure is a warning: the cache is a comfort.

    Args:
        folder: The cache; made if absent.
        key: Of `entry_key`.
        entry: What to remember.
    """
    facts = {"key": key, "sum": _sum(entry.values, entry.mask), "cut": entry.cut}
    try:
        save_tensors(folder / f"{key}.safetensors", {"values": entry.values, "mask": entry.mask}, facts)
    except (OSError, SafetensorError) as error:
        warnings.warn(
            f"prompt cache: cannot write to {folder} ({error}); set SANAWM_CACHE to a folder that can be written.",
            stacklevel=3,
        )


def _sum(values: Tensor, mask: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in (values, mask):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
