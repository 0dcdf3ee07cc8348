"""The checkpoint that every door knows by the name `untrained`: a small world of random weights, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sanawm_env.world.checkpoints.local import Modules
from sanawm_env.world.checkpoints.weights import CheckpointError, build_modules, weights_hash
from sanawm_env.world.config import WorldConfig, small_config

__all__ = ["UNTRAINED", "untrained_modules"]

UNTRAINED = "untrained"
"""Its name."""


def untrained_modules(
    config: WorldConfig | None = None,
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    preset: str | None = None,
) -> Modules:
    """Random weights, each of them of effect.

    Args:
        config: The world; None is `small_config()`.
        seed: Of the weights.
        device: Where they go.
        dtype: Their type; None is float32. The hash does not depend on it.
        preset: As in `load_modules`.

    Raises:
        ValueError: A preset, which only releases have.
    """
    if preset is not None:
        raise CheckpointError(f"presets belong to the SANA-WM releases, {UNTRAINED!r} is none; leave preset out.")
    config = config or small_config()
    with _float32_default(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer, vae = build_modules(config)
        for value in [*transformer.parameters(), *vae.parameters(), *vae.buffers()]:
            # Zero initialisations would switch off parts that a test should see working.
            if value.is_floating_point() and not value.any():
                torch.nn.init.normal_(value, std=0.05)
    key = weights_hash(config.to_dict(), transformer.state_dict(), vae.state_dict())
    kind = dtype or torch.float32
    return Modules(config, transformer.to(device, kind), vae.to(device, kind), key, None)


@contextmanager
def _float32_default() -> Iterator[None]:
    """Modules are made in torch's default type, which a caller may have changed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
