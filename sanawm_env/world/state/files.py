"""State files: safetensors under dotted names, with what a state says of itself in the header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.networks.refiner.state import RefinerState
from sanawm_env.world.state.errors import StateError, named

__all__ = ["CACHE", "FORMAT", "REFINER", "TASK", "VAE", "VERSION", "as_fields", "read_state"]

FORMAT = "sanawm_env.world_state"
VERSION = "3"
_WITHOUT_KEYFRAMES = "2"
"""Version of before the anchor kept keyframes; such a state is one that keeps none."""
CACHE, VAE, REFINER = "cache.", "vae.", "refiner."
"""Beginnings of the names of tensors that a part of the state holds (`WorldState.flat`)."""
TASK = "task."
"""Beginning of the names under which an `EnvSnapshot` keeps its task in the same file; no part of a state."""


def read_state(path: str | Path, checkpoint: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a state file by name, on the CPU, and the fields `checkpoint`, `..._name` and `state_precision`.

    Args and errors are those of `WorldState.load`, which makes a state of the answer.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such state file; write one with WorldState.save.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise StateError(f"{path} holds no world state; give a file written by WorldState.save.")
            version = metadata.get("version")
            if version not in (VERSION, _WITHOUT_KEYFRAMES):
                raise StateError(
                    f"{path} has state format version {version!r}, this sanawm_env reads "
                    f"{VERSION!r}; load it with the version that wrote it."
                )
            origin = {name: metadata.get(name, "") for name in ("checkpoint", "checkpoint_name", "state_precision")}
            if checkpoint is not None and origin["checkpoint"] != checkpoint:
                made_by = named(origin["checkpoint"], origin["checkpoint_name"])
                raise StateError(
                    f"{path} is a state of checkpoint {made_by}, the loaded one is {checkpoint!r}; "
                    "load that checkpoint, or start a new rollout."
                )
            # Clones lie aligned in memory like computed tensors; a product of others may round differently.
            names = [name for name in file.keys() if not name.startswith(TASK)]
            tensors = {name: file.get_tensor(name).clone() for name in names}
            return tensors | (_no_keyframes(tensors) if version == _WITHOUT_KEYFRAMES else {}), origin
    except (safetensors.SafetensorError, OSError) as error:
        raise StateError(
            f"{path} is not a whole safetensors file ({error}); it is truncated or of another kind. "
            "Save the state again with WorldState.save."
        ) from None


def as_fields(tensors: Mapping[str, Tensor], plain: Sequence[str]) -> dict[str, Any]:
    """The fields of a `WorldState` that hold tensors: inverse of `WorldState.flat`.

    Args:
        tensors: By name.
        plain: Fields that are one tensor each.

    Raises:
        KeyError, ValueError, IndexError: Tensors are missing or unknown.
    """
    cache = {name.removeprefix(CACHE): value for name, value in tensors.items() if name.startswith(CACHE)}
    tails = {name.removeprefix(VAE): value for name, value in tensors.items() if name.startswith(VAE)}
    refined = {name.removeprefix(REFINER): value for name, value in tensors.items() if name.startswith(REFINER)}
    refiner = RefinerState.from_flat(refined) if refined else None
    if len(tensors) != len(cache) + len(tails) + len(plain) + len(refined):
        raise ValueError("tensors are missing or unknown")
    parts = {"cache": ModelCache.from_flat(cache), "vae_tails": tails, "refiner": refiner}
    return parts | {name: tensors[name] for name in plain}


def _no_keyframes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a memory of no places, beside those of a state of before there was one."""
    frame, disparity = tensors.get("first_frame"), tensors.get("first_disparity")
    if frame is None or disparity is None:
        return {}  # not a whole state, as will be said
    slots = len(frame)
    return {
        "key_frame": frame.new_zeros(slots, 0, *frame.shape[1:]),
        "key_disparity": disparity.new_zeros(slots, 0, *disparity.shape[1:]),
        "key_c2w": torch.zeros(slots, 0, 4, 4, dtype=torch.float64),
        "key_used": torch.zeros(slots, 0, dtype=torch.bool),
    }
