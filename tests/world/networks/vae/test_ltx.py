"""LTX-2 VAE: the decoder's state is a value, and every slot has its own."""

import builtins
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sanawm_env.world.networks.vae.ltx import LTXVAEConfig, LTXVideoVAE, Tiling

pytest.importorskip("diffusers")

# 4 latent channels; strides 8 and 32 as in the release.
CONFIG = LTXVAEConfig(
    latent_channels=4,
    block_out_channels=(8, 16, 32, 64),
    decoder_block_out_channels=(8, 16, 32),
    layers_per_block=(1, 1, 1, 1, 1),
    decoder_layers_per_block=(1, 1, 1, 1),
    spatial_compression_ratio=32,
    temporal_compression_ratio=8,
)
T, H, W = 5, 2, 3


def build(config: LTXVAEConfig = CONFIG, tiling: Tiling | None = None) -> LTXVideoVAE:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae = LTXVideoVAE(config, tiling)
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2.0)
    return vae


def diffusers_vae(vae: LTXVideoVAE) -> Any:
    """The same weights in the class that they come from."""
    from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video

    reference: Any = AutoencoderKLLTX2Video(**vae.config.to_diffusers())
    reference.load_state_dict(vae.state_dict(), assign=True)
    return reference


@pytest.fixture(scope="module")
def vae() -> LTXVideoVAE:
    return build()


def latents(slots: int = 1, frames: int = T, seed: int = 1) -> torch.Tensor:
    return torch.randn(slots, 4, frames, H, W, generator=torch.Generator().manual_seed(seed))


def start(vae: LTXVideoVAE, slots: int = 1) -> dict[str, torch.Tensor]:
    return vae.init_tails(slots, H, W, "cpu", torch.float32)


def nbytes(tails: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Bytes of the values, and of the storage that keeps them alive."""
    return sum(t.nbytes for t in tails.values()), sum(t.untyped_storage().nbytes() for t in tails.values())


def test_protocol_attributes(vae: LTXVideoVAE) -> None:
    assert (vae.latent_channels, vae.temporal_stride, vae.spatial_stride) == (4, 8, 32)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_frame_counts_and_pixel_size(vae: LTXVideoVAE, frames: int) -> None:
    first, tails = vae.decode(latents(frames=frames), start(vae))
    later, _ = vae.decode(latents(frames=frames), tails)
    assert first.shape == (1, 3, 1 + 8 * (frames - 1), 32 * H, 32 * W)
    assert later.shape == (1, 3, 8 * frames, 32 * H, 32 * W)


@settings(max_examples=8, deadline=None)
@given(cuts=st.sets(st.integers(1, T - 1)))
def test_any_partition_decodes_to_the_same_frames(vae: LTXVideoVAE, cuts: set[int]) -> None:
    z = latents()
    whole, end = vae.decode(z, start(vae))
    bounds = [0, *sorted(cuts), T]
    tails, pieces = start(vae), []
    for a, b in itertools.pairwise(bounds):
        frames, tails = vae.decode(z[:, :, a:b], tails)
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=2e-5)
    for name, tail in end.items():
        torch.testing.assert_close(tails[name], tail, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, upsample_factor=(1, 2, 2), upsample_residual=(False, True, False)),
        replace(
            CONFIG,
            downsample_type=("spatial", "spatial", "spatiotemporal", "spatiotemporal"),
            upsample_type=("spatiotemporal", "spatial", "spatiotemporal"),
            temporal_compression_ratio=4,
        ),
        replace(CONFIG, decoder_spatial_padding_mode="zeros", decoder_layers_per_block=(2, 1, 1, 2)),
    ],
    ids=["shortcut-convolution", "spatial-upsampler", "zero-padding"],
)
def test_other_architectures_equal_diffusers(config: LTXVAEConfig) -> None:
    vae, z = build(config), latents(frames=3)
    with torch.no_grad():
        expected = diffusers_vae(vae).decode(vae.denormalize(z), causal=True).sample
    a, tails = vae.decode(z[:, :, :1], start(vae))
    b, _ = vae.decode(z[:, :, 1:], tails)
    torch.testing.assert_close(torch.cat([a, b], dim=2), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("started", [False, True])
def test_decode_is_pure(vae: LTXVideoVAE, started: bool) -> None:
    tails = vae.decode(latents(2, 1), start(vae, 2))[1] if started else start(vae, 2)
    kept = {name: tail.clone() for name, tail in tails.items()}
    weights = {name: value.clone() for name, value in vae.state_dict().items()}
    once, after_once = vae.decode(latents(2), tails)
    vae.decode(latents(2, seed=7), after_once)  # another stream in between must not matter
    twice, after_twice = vae.decode(latents(2), tails)
    assert torch.equal(once, twice)
    for name, tail in tails.items():
        assert torch.equal(after_once[name], after_twice[name])
        assert torch.equal(tail, kept[name])
        assert after_once[name].data_ptr() != tail.data_ptr()
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())


def test_slots_do_not_influence_one_another(vae: LTXVideoVAE) -> None:
    z, tails = latents(3), start(vae, 3)
    first, tails = vae.decode(z[:, :, :2], tails)
    later, tails = vae.decode(z[:, :, 2:], tails)
    for i in range(3):
        alone, own = vae.decode(z[i : i + 1, :, :2], start(vae))
        assert torch.equal(first[i : i + 1], alone)  # on the CPU to the bit, see the class docstring
        alone, own = vae.decode(z[i : i + 1, :, 2:], own)
        assert torch.equal(later[i : i + 1], alone)
        assert all(torch.equal(tails[name][i : i + 1], own[name]) for name in own)


def test_slots_of_different_age_are_selected_repeated_and_joined(vae: LTXVideoVAE) -> None:
    z = latents(2)
    _, young = vae.decode(z[:1, :, :1], start(vae))
    _, old = vae.decode(z[1:, :, :3], start(vae))
    nxt = latents(3, 1, seed=5)
    joined = {name: torch.cat([young[name], old[name].repeat(2, *[1] * (old[name].ndim - 1))]) for name in old}
    frames, _ = vae.decode(nxt, joined)
    assert torch.equal(frames[:1], vae.decode(nxt[:1], young)[0])
    assert torch.equal(frames[1:2], vae.decode(nxt[1:2], old)[0])
    picked, _ = vae.decode(nxt[[2, 0]], {name: tail[[2, 0]] for name, tail in joined.items()})
    assert torch.equal(picked, frames[[2, 0]])


def test_bytes_of_the_tails_are_constant(vae: LTXVideoVAE) -> None:
    tails = start(vae, 2)
    before = nbytes(tails)
    assert before[0] == before[1]
    for i in range(4):
        _, tails = vae.decode(latents(2, 1 + i % 2, seed=i), tails)
        assert nbytes(tails) == before
        assert {k: v.shape for k, v in tails.items()} == {k: v.shape for k, v in start(vae, 2).items()}
    assert all(tail.shape[0] == 2 for tail in tails.values())


def test_bfloat16(vae: LTXVideoVAE) -> None:
    half = build().to(torch.bfloat16)
    tails = half.init_tails(1, H, W)
    frames, after = half.decode(latents(), tails)
    assert frames.dtype == torch.bfloat16 and nbytes(after) == nbytes(tails)
    assert half.encode(torch.zeros(1, 3, 1, 64, 96)).dtype == torch.bfloat16
    reference, _ = vae.decode(latents(), start(vae))
    assert (frames.float() - reference).abs().mean() < 0.05 * reference.abs().mean()


def test_gradients_reach_the_latents_but_not_the_weights(vae: LTXVideoVAE) -> None:
    z = latents(frames=1).requires_grad_()
    frames, _ = vae.decode(z, start(vae))
    frames.sum().backward()
    assert z.grad is not None and z.grad.abs().max() > 0
    assert not any(p.requires_grad for p in vae.parameters())


def test_encode_is_causal_and_per_slot(vae: LTXVideoVAE) -> None:
    frames = torch.rand(2, 3, 17, 64, 96, generator=torch.Generator().manual_seed(3)) * 2 - 1
    z = vae.encode(frames)
    assert z.shape == (2, 4, 3, 2, 3)
    torch.testing.assert_close(vae.encode(frames[:, :, :9]), z[:, :, :2], rtol=0, atol=2e-5)
    torch.testing.assert_close(vae.encode(frames[:, :, :1]), z[:, :, :1], rtol=0, atol=2e-5)
    assert torch.equal(vae.encode(frames[1:]), z[1:])


@pytest.mark.parametrize(("height", "width"), [(96, 224), (256, 64), (160, 160)])
def test_tiled_encode_equals_diffusers(height: int, width: int) -> None:
    vae = build(tiling=Tiling(96, 64))
    reference = diffusers_vae(vae)
    reference.enable_tiling(96, 96, None, 64, 64)
    frames = torch.rand(2, 3, 1, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1
    with torch.no_grad():
        expected = reference.encode(frames).latent_dist.mode()
    torch.testing.assert_close(vae.encode(frames), vae.normalize(expected), rtol=0, atol=2e-5)


def test_release_preset_has_the_released_tensors() -> None:
    with torch.device("meta"):
        vae = LTXVideoVAE()
        diffusers_vae(vae)  # a strict load: raises on any other key or shape
    state = vae.state_dict()
    counts = [sum(name.startswith(part) for name in state) for part in ("encoder.", "decoder.")]
    assert (len(state), counts) == (184, [92, 90])  # as the release's file has them
    assert (vae.latent_channels, vae.temporal_stride, vae.spatial_stride) == (128, 8, 32)
    assert vae.tiling == Tiling(512, 448)


def test_files_round_trip(vae: LTXVideoVAE, tmp_path: Path) -> None:
    config = {"_class_name": "X", "decoder_upsample_type": None, **CONFIG.to_diffusers()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(vae.state_dict(), tmp_path / "w.safetensors")
    loaded = LTXVideoVAE.from_files(tmp_path / "config.json", tmp_path / "w.safetensors")
    assert not any(p.requires_grad or p.is_meta for p in loaded.parameters()) and not loaded.training
    assert torch.equal(loaded.decode(latents(), start(vae))[0], vae.decode(latents(), start(vae))[0])

    save_file({"decoder.other": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="another LTX-2 VAE"):
        LTXVideoVAE.from_files(tmp_path / "config.json", tmp_path / "foreign.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        LTXVideoVAE.from_files(tmp_path / "config.json", tmp_path / "cut.safetensors")


Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "conv_in"}, "missing .*'conv_in'"),
        (lambda t: {**t, "foreign": t["conv_in"]}, "unknown .*'foreign'"),
        (lambda t: {k: v[:1] for k, v in t.items()}, "need"),
        (lambda t: {**t, "conv_in": t["conv_in"][..., :-1]}, "'conv_in'"),
        (lambda t: {k: v.double() if v.is_floating_point() else v for k, v in t.items()}, "float64"),
        (lambda t: {**t, "started": torch.tensor([True, False])}, "different frame counts"),
        (lambda t: {**t, "started": torch.zeros(2)}, "'started'"),
    ],
    ids=["missing", "foreign", "slots", "shape", "dtype", "phases", "flag"],
)
def test_bad_tails_give_one_error(vae: LTXVideoVAE, change: Change, message: str) -> None:
    tails = start(vae, 2)
    with pytest.raises(ValueError, match=message):
        vae.decode(latents(2, 1), change(tails))
    vae.decode(latents(2, 1), tails)  # still usable


@pytest.mark.parametrize(
    "shape", [(1, 5, 1, H, W), (1, 4, 0, H, W), (4, 1, H, W), (1, 4, 1, H, W + 1), (2, 4, 1, H, W)]
)
def test_bad_latents_give_one_error(vae: LTXVideoVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latents"):
        vae.decode(torch.zeros(shape), start(vae))


def test_integer_latents_give_one_error(vae: LTXVideoVAE) -> None:
    with pytest.raises(ValueError, match="floating point"):
        vae.decode(torch.zeros(1, 4, 1, H, W, dtype=torch.int64), start(vae))


@pytest.mark.parametrize(
    "shape", [(1, 4, 1, 64, 96), (1, 3, 2, 64, 96), (1, 3, 1, 60, 96), (3, 64, 96), (0, 3, 1, 64, 96)]
)
def test_bad_frames_give_one_error(vae: LTXVideoVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        vae.encode(torch.zeros(shape))


def test_uint8_frames_give_one_error(vae: LTXVideoVAE) -> None:
    with pytest.raises(ValueError, match="uint8"):
        vae.encode(torch.zeros(1, 3, 1, 64, 96, dtype=torch.uint8))


@pytest.mark.parametrize("size", [(0, 2, 2), (1, 1, 4), (1, 4, 1)])
def test_impossible_tails_give_one_error(vae: LTXVideoVAE, size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot make tails"):
        vae.init_tails(*size)


@pytest.mark.parametrize(
    "values",
    [
        {"decoder_causal": False},
        {"encoder_causal": False},
        {"timestep_conditioning": True},
        {"decoder_inject_noise": [False, True, False, False]},
        {"patch_size_t": 2},
        {"no_such_key": 1},
    ],
)
def test_bad_configs_give_one_error(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        LTXVAEConfig.from_dict(values)


def test_contradicting_ratio_and_tiling_give_one_error() -> None:
    with pytest.raises(ValueError, match="spatial_compression_ratio=16"):
        LTXVideoVAE(replace(CONFIG, spatial_compression_ratio=16))
    with pytest.raises(ValueError, match="multiple of 32"):
        LTXVideoVAE(CONFIG, Tiling(100, 50))
    with pytest.raises(ValueError, match="stride"):
        Tiling(64, 128)


def test_missing_diffusers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_diffusers(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("diffusers"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_diffusers)
    with pytest.raises(ImportError, match=r'pip install "sanawm_env\[release\]"'):
        LTXVideoVAE(CONFIG)


def test_import_does_not_load_diffusers() -> None:
    code = "import sys, sanawm_env.world.networks.vae.ltx; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
