"""Precision: what is quantised, how close it stays, that states and slots keep their rules, and every refusal."""

import copy
import functools
import importlib.util
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.cli.doctor.plan import weight_bytes
from sanawm_env.world.accel.precision import (
    ALIGNMENT,
    QUANTISED,
    _configs,
    check_precision,
    loading_dtype,
    quantise,
    scope,
    stored_bytes,
    weights_report,
)
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.checkpoints.presets import release_config
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.state import WorldState

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed (extra `quant`)")
HEIGHT, WIDTH = 32, 48
CLOSE = 0.03
"""Relative error of the network's output allowed to int8 weights, activations in float32."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small world on disk."""
    config = small_config(height=HEIGHT, width=WIDTH, sigmas=(1.0, 0.6, 0.0))
    model = config.model.replace(hidden_size=64, head_dim=16, depth=2, softmax_every_n=2, window_frames=4)
    world = WorldModel.untrained(config.replace(model=model), seed=3)
    path = tmp_path_factory.mktemp("precision") / "world"
    save_checkpoint(path, world.config, world.transformer.state_dict(), world.vae.state_dict())
    return path


@functools.cache
def loaded(folder, precision, dtype=None):
    return WorldModel.load(folder, dtype=dtype, precision=precision)


def begin(world, *seeds):
    images = [np.random.default_rng(s).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for s in seeds]
    camera = [30.0, 31.0, WIDTH / 2, HEIGHT / 2]
    return world.start(np.stack(images), [camera] * len(seeds), [s + 100 for s in seeds])[0]


def forward(state, slots=1):
    """Poses of the next 4 frames, forward."""
    poses = np.tile(np.eye(4), (slots, 4, 1, 1))
    poses[:, :, 2, 3] = 0.02 * (state.frame_index.numpy()[:, None] + np.arange(1, 5))
    return poses


def play(world, state, steps):
    films = []
    for _ in range(steps):
        state, frames = world.step(state, forward(state, state.slots))
        films.append(frames)
    return state, np.concatenate(films, axis=1)


# -- scope --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["release", "built_in"])
def test_scope(config):
    sizes = release_config().model if config == "release" else small_config().model
    with torch.device("meta"):
        model = SanaWMTransformer(sizes)
    names = set(scope(model))
    if config == "release":
        assert len(names) == 15 * (5 + 3 + 2) + 5 * (3 + 3 + 2)  # softmax blocks have neither beta nor gate
    high = ("_cam", "embed", "t_block", "final_layer", "depth_conv", ".t_conv", "conv_k", "plucker_proj", "norm")
    assert not [name for name in names if any(part in name for part in high)]


@needs_torchao
def test_release_is_quantised_exactly_there_and_as_small_as_planned():
    config = release_config()
    with torch.device("meta"):
        model = SanaWMTransformer(config.model).bfloat16()
    names = list(model.state_dict())
    before = {name: value.shape for name, value in model.named_parameters()}
    report = quantise(model, "int8", "cpu")
    assert [layer.name for layer in report.layers] == list(scope(model)) and not report.kept
    low = {name for name, value in model.named_parameters() if stored_bytes(value) != value.numel() * 2}
    assert {name.removesuffix(".weight") for name in low} == set(scope(model))
    assert list(model.state_dict()) == names
    changed = {name for name, value in model.named_parameters() if value.shape != before[name]}
    assert changed == {n + ".weight" for n in scope(model) if "mlp" in n}  # 1x1 convolutions are linears now
    # torchao keeps a zero point of one byte beside every scale, which the plan leaves out.
    rows = sum(model.get_submodule(layer.name).weight.shape[0] for layer in report.layers)
    assert report.after == weight_bytes(config, "int8") + rows
    assert report.before == weight_bytes(config, "bf16")


@needs_torchao
def test_report_adds_up(folder):
    world, plain = loaded(folder, "int8"), loaded(folder, "bf16")
    report, none = weights_report(world.transformer), weights_report(plain.transformer)
    assert none.after == none.before == report.before > report.after
    assert none.kept == tuple(layer.name for layer in report.layers) and not report.kept
    assert {layer.stored for layer in report.layers} == {"int8"}
    assert sum(p.nbytes for p in plain.transformer.parameters()) == none.after


# -- how close ----------------------------------------------------------------------------------------------


def outputs(world):
    state = play(world, begin(world, 1), 1)[0]
    x = torch.randn(1, world.config.model.in_channels, 1, *world.latent_size, generator=torch.manual_seed(0))
    with torch.inference_mode():
        return world.transformer(x.to(world.dtype), torch.full((1, 1), 500.0), cache=state.cache)[0].float()


@needs_torchao
def test_int8_is_close_and_not_equal(folder):
    exact = outputs(loaded(folder, "fp32"))
    low = outputs(loaded(folder, "int8", torch.float32))
    error = float((low - exact).norm() / exact.norm())
    assert 1e-5 < error < CLOSE


@needs_torchao
def test_int8_activations_are_close_too(folder):
    world = WorldModel.load(folder, precision="fp32")
    exact = outputs(world)
    assert not quantise(world.transformer, "int8", activations=True).kept
    error = float((outputs(world) - exact).norm() / exact.norm())
    weights_alone = float((outputs(loaded(folder, "int8", torch.float32)) - exact).norm() / exact.norm())
    assert weights_alone < error < 2 * CLOSE


@needs_torchao
def test_weights_are_rounded_to_a_half_step(folder):
    low, exact = loaded(folder, "int8", torch.float32), loaded(folder, "fp32")
    for name, layer in scope(low.transformer).items():
        weight = exact.transformer.get_submodule(name).weight.detach().reshape(layer.weight.shape)
        step = weight.abs().amax(1, keepdim=True) / 127.5
        assert ((layer.weight.dequantize() - weight).abs() <= 0.5001 * step + 0.5 * step).all()  # ends are clipped
        assert layer.bias is None or torch.equal(layer.bias, exact.transformer.get_submodule(name).bias)


# -- the rules of a world hold ------------------------------------------------------------------------------


@needs_torchao
@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_snapshots_go_on_exactly(folder, dtype, tmp_path):
    world = loaded(folder, "int8", dtype)
    state, _ = play(world, begin(world, 4), 2)
    state.save(tmp_path / "state.safetensors")
    end, frames = play(world, state, 2)
    for other in (world, WorldModel.load(folder, dtype=dtype, precision="int8")):  # a second load is the same model
        again = WorldState.load(tmp_path / "state.safetensors", other.checkpoint)
        last, replayed = play(other, again, 2)
        assert np.array_equal(frames, replayed) and last.equal(end)


@needs_torchao
def test_slots_do_not_meet(folder):
    world = loaded(folder, "int8")
    together, frames = play(world, begin(world, 5, 6, 7), 2)
    for slot, seed in enumerate((5, 6, 7)):
        alone, own = play(world, begin(world, seed), 2)
        assert np.array_equal(frames[slot : slot + 1], own) and together.select([slot]).equal(alone)


@needs_torchao
def test_one_hash_and_states_that_move_between_precisions(folder):
    low, high = loaded(folder, "int8"), loaded(folder, "bf16")
    assert low.checkpoint == high.checkpoint == loaded(folder, "fp32").checkpoint
    assert low.dtype == high.dtype == torch.bfloat16
    state, _ = play(low, begin(low, 8), 1)
    there, back = play(high, state, 1)[1], play(low, state, 1)[1]
    assert not np.array_equal(there, back)
    assert np.abs(there.astype(int) - back).mean() < 8
    with pytest.raises(ValueError, match="dtype"):  # float32 states have other types
        loaded(folder, "fp32").step(state, forward(state))


@needs_torchao
def test_a_copy_computes_the_same(folder):
    world = loaded(folder, "int8")
    twin = WorldModel(world.config, copy.deepcopy(world.transformer), world.vae, world.checkpoint)
    assert torch.equal(outputs(twin), outputs(world))


# -- types --------------------------------------------------------------------------------------------------


def test_precision_decides_the_type(folder):
    assert loaded(folder, "fp32").dtype == torch.float32 == WorldModel.load(folder).dtype
    assert loaded(folder, "bf16").dtype == torch.bfloat16
    assert loading_dtype("int8", "cpu") == torch.bfloat16
    assert loading_dtype("int8", "cuda:16GB:turing") == torch.float32  # no bfloat16 there
    for precision, dtype in (("fp32", torch.bfloat16), ("bf16", torch.float32), ("fp8", torch.float32)):
        with pytest.raises(ValueError, match="leave dtype out"):
            loading_dtype(precision, "cpu", dtype)


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "precision, device, words",
    [
        ("fp16", "cpu", "unknown precision 'fp16'; use one of fp32"),
        ("fp8", "cpu", "it needs a CUDA GPU; use fp32 or bf16 or int8"),
        ("nvfp4", "cpu", "it needs a CUDA GPU"),
        ("fp8", "cuda:24GB:ada", "Hopper"),
        ("nvfp4", "cuda:80GB:hopper", "Blackwell; use fp32 or bf16 or fp8 or int8"),
        ("bf16", "cuda:16GB:turing", "Ampere"),
        ("int8", "meta", "meta"),
        ("int8", "tpu", "unknown device"),
    ],
)
def test_refused(precision, device, words):
    with pytest.raises(ValueError, match=words):
        check_precision(precision, device)


def test_load_refuses_before_it_reads(tmp_path):
    with pytest.raises(ValueError, match="fp8 does not run on this machine's CPU"):
        WorldModel.load(tmp_path / "nowhere", precision="fp8")


@pytest.mark.parametrize("precision", QUANTISED)
def test_without_torchao(precision, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs torchao.*pip install 'sanawm_env\[quant\]'"):
        check_precision(precision, "cuda:80GB:blackwell")
    assert check_precision("bf16", "cpu") == "bf16"


@needs_torchao
def test_quantise_refuses_and_changes_nothing(folder):
    world = WorldModel.load(folder)
    model, before = world.transformer, list(world.transformer.named_parameters())
    for precision, device, more, words in (
        ("bf16", None, {}, "is a type"),
        ("fp32", None, {}, "is a type"),
        ("int4", None, {}, "unknown precision"),
        ("fp8", None, {}, "needs a CUDA GPU"),
        ("fp8", "cuda:80GB:hopper", {}, "computes in bfloat16"),
        ("int8", None, {"dtype": torch.float16}, "computes in bfloat16 or float32"),
    ):
        target = model if "dtype" not in more else copy.deepcopy(model).to(more["dtype"])
        with pytest.raises(ValueError, match=words):
            quantise(target, precision, device)
    after = list(model.named_parameters())
    assert [n for n, _ in before] == [n for n, _ in after] and all(
        a is b for (_, a), (_, b) in zip(before, after, strict=True)
    )
    quantise(model, "int8")
    with pytest.raises(ValueError, match="quantised already"):
        quantise(model, "int8")


@needs_torchao
@pytest.mark.parametrize("precision", ["fp8", "nvfp4"])
def test_torchao_has_what_gpus_need(precision):
    """Not that it runs: only that the names and arguments used are there, and which shapes are left alone."""
    configure = _configs(precision, "cuda", False)
    assert configure(True) is not None and configure(False) is None


# -- the emulation of the benchmark -------------------------------------------------------------------------


@needs_torchao
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.floats(1e-3, 1e3))
def test_emulated_formats_equal_those_of_torchao(seed, spread):
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    from torchao.quantization import PerRow
    from torchao.quantization.quantize_.workflows.float8.float8_tensor import Float8Tensor

    from benchmarks.worlds.precision_emulation import round_fp8, round_nvfp4

    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(2 * ALIGNMENT, 4 * ALIGNMENT, generator=random) * spread
    theirs = Float8Tensor.from_hp(weight, granularity=PerRow()).dequantize()
    torch.testing.assert_close(round_fp8(weight), theirs, rtol=1e-5, atol=0)
    scale = per_tensor_amax_to_scale(weight.abs().max())
    theirs = NVFP4Tensor.to_nvfp4(weight, per_tensor_scale=scale).dequantize()
    wrong = (round_nvfp4(weight) - theirs).abs() > 1e-4 * theirs.abs()
    assert wrong.float().mean() < 0.01  # numbers in the middle may fall to either side


@needs_torchao
def test_quantised_weights_are_not_fused(folder):
    from sanawm_env.world.accel.fused import fuse_projections

    world = WorldModel.load(folder, precision="int8")
    with pytest.raises(ValueError, match="each layer has scales of its own"):
        fuse_projections(world.transformer)
    assert not any(block.attn.fused for block in world.transformer.blocks)
