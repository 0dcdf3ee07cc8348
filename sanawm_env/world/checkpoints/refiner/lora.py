"""A LoRA merged into a refiner's weights, once, when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sanawm_env.world.checkpoints.refiner.keys import from_raw

__all__ = ["merge_lora"]

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def merge_lora(state: Mapping[str, Tensor], lora: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """Weights with a low-rank change added: W + strength * B A, in float32, rounded back to W's type.

    Args:
        state: Weights by diffusers' names.
        lora: `<module>.lora_A.weight` `(rank, inputs)` and `<module>.lora_B.weight` `(outputs, rank)` by Lightricks'
            names; alpha is the rank, so there is no further factor. Modules that the state lacks (sound) are skipped.
        strength: Of the change.

    Returns:
        A new dictionary; tensors that do not change are those given.

    Raises:
        ValueError: Half a pair, other shapes, other names, or nothing that fits.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    for name, value in lora.items():
        half = next((end for end in (_DOWN, _UP) if name.endswith(end)), None)
        if half is None:
            raise ValueError(f"the LoRA's {name!r} is neither *{_DOWN} nor *{_UP}; use a LoRA in Lightricks' format.")
        halves.setdefault(name.removesuffix(half), {})[half] = value
    if broken := sorted(module for module, pair in halves.items() if len(pair) < 2):
        raise ValueError(
            f"{len(broken)} of the LoRA's {len(halves)} modules have only one of their two halves, the first is "
            f"{broken[0]!r}; the file is not whole, download it again."
        )
    merged, changed = dict(state), 0
    for module, pair in halves.items():
        name = f"{from_raw(module)}.weight"
        if name not in merged:
            continue
        base, down, up = merged[name], pair[_DOWN].float(), pair[_UP].float()
        if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1]) != tuple(base.shape):
            raise ValueError(
                f"the LoRA's {module!r} is {tuple(up.shape)} times {tuple(down.shape)}, the weight "
                f"{tuple(base.shape)}; it belongs to another model."
            )
        if up.shape[1] != down.shape[0]:
            raise ValueError(f"the LoRA's {module!r} has halves of ranks {up.shape[1]} and {down.shape[0]}.")
        merged[name] = (base.float() + strength * torch.matmul(up, down)).to(base.dtype)
        changed += 1
    if not changed:
        raise ValueError(f"none of the LoRA's {len(halves)} modules is in the refiner; it belongs to another model.")
    return merged
