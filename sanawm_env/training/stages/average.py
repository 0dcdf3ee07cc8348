"""Average the weights of checkpoints that grew from the same one.

Two fine-tunings of one network, one sharp and one steady, often have something good half-way between them
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"; "Model soups").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sanawm_env.world.checkpoints.local import load_checkpoint, resolve, save_checkpoint


@dataclass(frozen=True)
class AverageConfig:
    """`sanawm train average`."""

    checkpoints: tuple[str, ...] = ()
    """Names or folders; config and VAE are those of the first."""
    shares: tuple[float, ...] = ()
    """One for each, adding up to 1; none means equal shares."""
    out: Path = Path("runs/average/checkpoint")
    """Checkpoint folder to write."""


def average_checkpoints(config: AverageConfig) -> Path:
    """Write the weighted mean of the transformers.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: A checkpoint is not there.
        ValueError: Fewer than two, shares that do not add up to 1, or networks or VAEs that differ.
    """
    count = len(config.checkpoints)
    shares = config.shares or (1 / max(1, count),) * count
    if count < 2 or len(shares) != count or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"give at least two checkpoints and one share for each, adding up to 1; got {count} and {list(shares)}."
        )
    loaded = [load_checkpoint(resolve(name)) for name in config.checkpoints]
    first = loaded[0]
    for name, other in zip(config.checkpoints, loaded, strict=True):
        if other[0].model != first[0].model or other[0].vae != first[0].vae:
            raise ValueError(
                f"{name} is a network of another shape than {config.checkpoints[0]}; average like with like."
            )
        if any(not torch.equal(value, first[2][key]) for key, value in other[2].items()):
            raise ValueError(
                f"{name} has another VAE than {config.checkpoints[0]}; their latents mean different things."
            )
    mean = {
        key: sum(share * other[1][key].float() for share, other in zip(shares, loaded, strict=True)) for key in first[1]
    }
    save_checkpoint(config.out, first[0], mean, first[2])  # type: ignore[arg-type]
    return config.out
