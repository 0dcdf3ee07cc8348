"""`WholeClipVAE`: the LTX-2 VAE of the offline releases, whose decoder also looks at later frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["WholeClipVAE", "own_vae"]

EXTRA = 'pip install "sanawm_env[release]"'


class WholeClipVAE:
    """diffusers' `AutoencoderKLLTX2Video` with normalised latents, and the release's tiles: space and time.

    NVlabs/Sana decodes in temporal tiles of 96 frames, 64 apart, so that a minute fits in memory.
    """

    def __init__(
        self, folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> None:
        """Load it.

        Args:
            folder: `config.json` and safetensors as diffusers writes them.
            device: Where it runs.
            dtype: Of its weights.

        Raises:
            FileNotFoundError: A file is missing.
            ImportError: diffusers is not installed.
            ValueError: Damaged or foreign weights.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise FileNotFoundError(
                f"{folder} holds no VAE (config.json and *.safetensors); give the folder vae/ of SANA-WM_bidirectional."
            )
        try:
            from diffusers import AutoencoderKLLTX2Video
        except ImportError as error:
            raise ImportError(f"the LTX-2 video VAE needs diffusers: {EXTRA}") from error
        try:
            network: Any = AutoencoderKLLTX2Video.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype, low_cpu_mem_usage=False
            )
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"the VAE in {folder} cannot be read ({error}); download it again.") from error
        network.enable_tiling()
        network.use_framewise_encoding = network.use_framewise_decoding = True
        network.tile_sample_min_num_frames, network.tile_sample_stride_num_frames = 96, 64
        self.network = network.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """`(B, 3, 1 + 8k, H, W)` in [-1, 1] to normalised latents `(B, C, 1 + k, h, w)`, the posterior's mode."""
        network = self.network
        latents = network.encode(frames.to(network.device, network.dtype)).latent_dist.mode().float()
        mean, std = self._statistics()
        return (latents - mean) * network.config.scaling_factor / std

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, C, T, h, w)` to frames `(B, 3, 8(T - 1) + 1, H, W)`, about [-1, 1]."""
        network = self.network
        mean, std = self._statistics()
        raw = latents.to(network.device).float() / network.config.scaling_factor * std + mean
        return network.decode(raw.to(network.dtype), return_dict=False)[0]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.network.latents_mean.float().view(shape), self.network.latents_std.float().view(shape)


def own_vae(folder: Path) -> Path | None:
    """The folder `vae/` of an offline release if its decoder looks at later frames, which only a whole clip allows."""
    config = folder / "vae" / "config.json"
    if not config.is_file():
        return None
    return config.parent if not json.loads(config.read_text(encoding="utf-8")).get("decoder_causal", True) else None
