"""State files: safetensors with what a state says of itself in the header."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from torch import Tensor

from sanawm_env.world.state.errors import StateError, named

__all__ = ["FORMAT", "TASK", "VERSION", "read_state"]

FORMAT = "sanawm_env.world_state"
VERSION = "3"
_WITHOUT_KEYFRAMES = "2"
"""Version of before the anchor kept keyframes; such a state is one that keeps none."""
TASK = "task."
"""Beginning of the names under which an `EnvSnapshot` keeps its task in the same file; no part of a state."""


def read_state(path: str | Path, checkpoint: str | None) -> tuple[dict[str, Tensor], tuple[str, str, str]]:
    """The tensors of a state file by name, on the CPU, hash and name of their checkpoint, and how they are kept.

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
            origin = tuple(metadata.get(name, "") for name in ("checkpoint", "checkpoint_name", "state_precision"))
            if checkpoint is not None and origin[0] != checkpoint:
                raise StateError(
                    f"{path} is a state of checkpoint {named(*origin[:2])}, the loaded one is {checkpoint!r}; "
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
