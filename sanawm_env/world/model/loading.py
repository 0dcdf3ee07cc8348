"""From the name of a checkpoint to the modules that a world runs: the adapter joined, the precision applied."""

from __future__ import annotations

from pathlib import Path

import torch

from sanawm_env.world.checkpoints.adapters import apply_adapter, is_adapter
from sanawm_env.world.checkpoints.local import Modules, load_modules, resolve
from sanawm_env.world.checkpoints.refiner.attach import FoundRefiner, find_refiner
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions
from sanawm_env.world.checkpoints.untrained import UNTRAINED, untrained_modules

__all__ = ["load_world"]


def load_world(
    checkpoint: str | Path,
    device: torch.device,
    dtype: torch.dtype | None,
    *,
    preset: str | None,
    precision: str | None,
    refiner: RefinerOptions | None,
    adapter: str | Path | None,
    merge_adapter: bool,
) -> tuple[Modules, FoundRefiner | None]:
    """The modules of a checkpoint, and where its refiner lies.

    What can be refused without reading weights is refused first. Arguments and errors are those of `WorldModel.load`.

    Returns:
        The modules, and the refiner that was asked for, not loaded yet; None where none was.
    """
    low = None
    if precision is not None:
        from sanawm_env.world.accel.precision import QUANTISED, check_precision, loading_dtype, quantise

        if not merge_adapter and precision in QUANTISED:
            raise ValueError(f"precision {precision} takes merged adapters only; leave merge_adapter out.")
        checked = check_precision(precision, device)
        dtype = loading_dtype(checked, device, dtype)
        low = checked if checked in QUANTISED else None
    if adapter is None and is_adapter(checkpoint):
        adapter = checkpoint
    folder = None if checkpoint == UNTRAINED else resolve(checkpoint)
    stage2 = None if refiner is None else find_refiner(refiner, folder)
    if folder is None:
        loaded = untrained_modules(device=device, dtype=dtype, preset=preset)
    else:
        loaded = load_modules(folder, device, dtype, preset=preset)
    if adapter is not None:
        loaded = apply_adapter(loaded, adapter, merge=merge_adapter)
    if low is not None:
        quantise(loaded.transformer, low)
    return loaded, stage2
