"""LTX-2 VAE against `vae_tiny_*`: every size, piece and tile comes from the files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.world.networks.vae.ltx import LTXVideoVAE, Tiling

TOLERANCE = 1e-4  # of the README beside the golden vectors

Tensors = dict[str, torch.Tensor]


def load_vae(golden_dir: Path, tiling: Tiling | None = None) -> LTXVideoVAE:
    pytest.importorskip("diffusers")
    torch.set_num_threads(1)
    return LTXVideoVAE.from_files(
        golden_dir / "vae_tiny_config.json", golden_dir / "vae_tiny_weights.safetensors", tiling
    )


@pytest.fixture(scope="module")
def vae(golden_dir: Path) -> LTXVideoVAE:
    return load_vae(golden_dir)


@pytest.fixture(scope="module")
def stream(golden_dir: Path) -> Tensors:
    return load_file(golden_dir / "vae_tiny_stream_decode.safetensors")


@pytest.fixture(scope="module")
def encoded(golden_dir: Path) -> Tensors:
    return load_file(golden_dir / "vae_tiny_encode.safetensors")


def start(vae: LTXVideoVAE, latents: torch.Tensor) -> Tensors:
    batch, _, _, height, width = latents.shape
    return vae.init_tails(batch, height, width, latents.device, latents.dtype)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def test_state_dict_equals_upstream(vae: LTXVideoVAE, golden_dir: Path) -> None:
    weights = load_file(golden_dir / "vae_tiny_weights.safetensors")
    assert {k: v.shape for k, v in vae.state_dict().items()} == {k: v.shape for k, v in weights.items()}


def test_normalisation(vae: LTXVideoVAE, stream: Tensors) -> None:
    normalized, raw = stream["latents_normalized"], stream["latents_unnormalized"]
    close(vae.denormalize(normalized), raw)
    close(vae.normalize(raw), normalized)


def test_stream_decode(vae: LTXVideoVAE, stream: Tensors) -> None:
    latents = stream["latents_normalized"]
    tails = start(vae, latents)
    pieces = sum(name.endswith(".latent_range") for name in stream)
    for i in range(pieces):
        first, end = stream[f"chunk{i}.latent_range"].tolist()
        frames, tails = vae.decode(latents[:, :, first:end], tails)
        close(frames, stream[f"chunk{i}.pixels"])
    assert pieces > 1 and end == latents.shape[2]


def test_one_shot_decode(vae: LTXVideoVAE, stream: Tensors) -> None:
    latents = stream["latents_normalized"]
    tails = start(vae, latents)
    frames, _ = vae.decode(latents, tails)
    close(frames.double().mean(dim=(1, 3, 4)), stream["full_decode_checksum"])
    pieces = sum(name.endswith(".pixels") for name in stream)
    close(frames, torch.cat([stream[f"chunk{i}.pixels"] for i in range(pieces)], dim=2))


@pytest.mark.parametrize("name", ["video", "image"])
def test_encode(vae: LTXVideoVAE, encoded: Tensors, name: str) -> None:
    pixels = encoded["pixels"] if name == "video" else encoded["pixels"][:, :, :1]
    moments = vae.encode_moments(pixels)
    close(moments, encoded[f"{name}.moments"])
    close(moments[:, : vae.latent_channels], encoded[f"{name}.mode"])
    close(vae.encode(pixels), encoded[f"{name}.mode_normalized"])


def test_tiled_encode(golden_dir: Path) -> None:
    golden = load_file(golden_dir / "vae_tiny_tiled_encode.safetensors")
    pixels, mode = golden["pixels"], golden["mode_tiled"]
    tiled = load_vae(golden_dir, Tiling(*golden["tile_min_stride_px"].tolist()))
    close(tiled.encode_moments(pixels), golden["moments_tiled"])
    close(tiled.encode(pixels), tiled.normalize(mode))

    whole = load_vae(golden_dir, Tiling(*[tiled.spatial_stride * max(pixels.shape[-2:])] * 2))
    close(whole.encode(pixels), whole.normalize(golden["mode_untiled"]))
