"""The release at its true size, or a toy of it, with random weights: what `release_speed.py` times, and on what."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import hardware

PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "RTX 5090": 209.5e12}
"""Dense bfloat16 operations per second by data sheet, of names that contain the key; the first match counts."""


def configs(size: str) -> tuple[Any, Any, tuple[int, int]]:
    """Transformer, VAE and latent grid of a size; the VAE's config is None for the small one, which is `tiny`'s."""
    from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
    from sanawm_env.world.networks.vae.ltx_config import LTXVAEConfig

    if size == "release":
        return RELEASE.replace(attention_dtype="bfloat16"), LTXVAEConfig(), (22, 40)
    small = SanaWMConfig(depth=4, hidden_size=48, head_dim=24, in_channels=8, caption_channels=12, text_length=6,
                         temporal_stride=4, pos_embed_tokens=0)  # fmt: skip
    return small, None, (3, 4)


def chunk_conditions(
    config: Any, slots: int, frames: int, grid: tuple[int, int], device: Any, dtype: Any
) -> dict[str, Any]:
    """Text and camera of one chunk: a camera that stands still costs as much as one that moves."""
    import torch

    pose = torch.eye(4, device=device).flatten()
    camera = torch.tensor([grid[1] / 1.5, grid[1] / 1.5, grid[1] / 2, grid[0] / 2], device=device)
    return {
        "raymap": torch.cat((pose, camera)).expand(slots, frames, 20).contiguous(),
        "plucker": torch.randn(slots, config.plucker_channels, frames, *grid, device=device),
        "text": torch.randn(slots, config.text_length, config.caption_channels, device=device, dtype=dtype),
        "text_mask": torch.ones(slots, config.text_length, device=device),
    }


def transformer(config: Any) -> Any:
    """The transformer of a config."""
    from sanawm_env.world.networks.transformer import SanaWMTransformer

    return SanaWMTransformer(config)


def video_vae(size: str, device: Any, dtype: Any) -> Any:
    """The video autoencoder of a size, random weights."""
    from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig

    config, vae_config, _ = configs(size)
    if vae_config is None:
        return randomly(lambda: TinyVAE(TinyVAEConfig(channels=config.in_channels, width=16)), device, dtype)
    from sanawm_env.world.networks.vae.ltx import LTXVideoVAE

    return randomly(lambda: LTXVideoVAE(vae_config), device, dtype)


def randomly(build: Callable[[], Any], device: Any, dtype: Any, *, meta: bool = True) -> Any:
    """A module made on the device itself, never on the CPU, with small random parameters."""
    import torch

    with torch.device("meta" if meta else device):
        module = build().to(dtype)
    module = (module.to_empty(device=device) if meta else module).eval().requires_grad_(False)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if not value.is_floating_point():
            value.zero_()
        elif name.endswith(("norm.weight", "norm_cam.weight", "latents_std")):
            value.fill_(1)
        else:
            value.normal_(std=0.02)
    return module


def peak_rate(device: Any) -> float | None:
    """The device's bfloat16 peak, if its name is known."""
    import torch

    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((rate for key, rate in PEAKS.items() if key in name), None)


def machine(device: Any) -> dict[str, Any]:
    """GPU, driver, versions."""
    import torch

    from sanawm_env.world.accel.device import look_at

    facts: dict[str, Any] = {"device": str(device), "hardware": hardware(torch.get_num_threads())}
    if device.type == "cuda":
        found = look_at(str(device))
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        facts |= {"gpu": found.label, "gpu_memory": found.memory, "capability": capability, "driver": found.driver}
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    packages = ("torch", "diffusers", "triton", "fla-core", "torchao")
    return facts | {"python": platform.python_version(), "versions": {name: _version(name) for name in packages}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def chunk_flops_of(size: str, slots: int) -> int:
    """Operations of one later chunk: denoising and commit."""
    from sanawm_env.world.accel.flops import chunk_flops
    from sanawm_env.world.schedules import RELEASE_SIGMAS

    config, _, grid = configs(size)
    return slots * chunk_flops(config, config.chunk_frames, grid, steps=len(RELEASE_SIGMAS) - 1)
