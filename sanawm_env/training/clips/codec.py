"""What a world trainer takes as given: the video autoencoder, and an anchored world's depth network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig, build_vae


def load_vae(folder: Path, device: str) -> TinyVAE:
    """The VAE that `sanawm train vae` left in `folder`.

    Raises:
        FileNotFoundError: No VAE there yet.
    """
    if not (folder / "vae.json").exists():
        raise FileNotFoundError(f"No VAE in {folder}: run `sanawm train vae --out {folder}` first.")
    vae = TinyVAE(TinyVAEConfig(**json.loads((folder / "vae.json").read_text(encoding="utf-8"))))
    vae.load_state_dict(load_file(folder / "vae.safetensors"))
    return vae.to(device).eval()


def load_depth(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the depth network that `sanawm train depth` left in `folder`.

    Raises:
        FileNotFoundError: No network there yet.
    """
    path = folder / "depth.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"No depth network in {folder}: run `sanawm train depth --out {folder}` first.")
    return load_file(path)


def vae_of(config: WorldConfig, weights: dict[str, torch.Tensor], device: str) -> TinyVAE:
    """The VAE of a checkpoint.

    Raises:
        ValueError: It is not a `TinyVAE`, which is the only kind that these trainers code clips with.
    """
    vae = build_vae(config.vae)
    if not isinstance(vae, TinyVAE):
        raise ValueError(f"This trainer needs a checkpoint with a 'tiny' VAE, not {config.vae.get('kind')!r}.")
    vae.load_state_dict(weights)
    return vae.to(device).eval()
