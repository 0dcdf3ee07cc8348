"""The switch, and whole transformers through other kernels."""

import copy
import importlib.util
import os

import pytest
import torch

from sanawm_env.world.accel.kernels.choose import KERNELS, use_kernels
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.layers import PLAIN, Kernels
from sanawm_env.world.networks.transformer import SanaWMTransformer

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
HAS_FLA = importlib.util.find_spec("fla") is not None
REQUIRED = bool(os.environ.get("REQUIRE_KERNELS"))


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    config = SanaWMConfig(depth=2, hidden_size=48, head_dim=24, in_channels=4, caption_channels=6, text_length=3,
                          temporal_stride=4, softmax_every_n=2, pos_embed_tokens=0)  # fmt: skip
    net = SanaWMTransformer(config).eval()
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return net


def call(net, device="cpu"):
    """Velocity and cache of a chunk after a chunk."""
    torch.manual_seed(1)
    net = net.to(device)
    cache = empty_cache(net.config, 1, 6, device=torch.device(device), dtype=torch.float32)
    for frames in (4, 3):
        pose = torch.eye(4).repeat(1, frames, 1, 1) + 0.1 * torch.randn(1, frames, 4, 4)
        camera = torch.tensor([2.0, 2.0, 1.5, 1.0]).expand(1, frames, 4)
        given = {
            "raymap": torch.cat((pose.flatten(2), camera), -1),
            "plucker": torch.randn(1, 24, frames, 2, 3),
            "text": torch.randn(1, 3, 6),
            "cache": cache,
        }
        given = {name: value.to(device) if name != "cache" else value for name, value in given.items()}
        x, times = torch.randn(1, 4, frames, 2, 3).to(device), torch.full((1, frames), 500.0).to(device)
        velocity, cache = net(x, times, commit=True, **given)
    return {"velocity": velocity} | cache.flat()


def check_whole(transformer, choice, device):
    with torch.no_grad():
        expected = call(transformer, device)
        use_kernels(transformer, choice)
        found = call(transformer, device)
    assert transformer.kernels is not PLAIN
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.skipif(not REQUIRED and not (HAS_TRITON and INTERPRETED), reason="TRITON_INTERPRET=1 runs it (.ci/gpu)")
def test_a_whole_transformer_by_triton_interpreted(transformer):
    check_whole(transformer, "triton", "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("choice", ["triton", "fla"])
def test_a_whole_transformer_on_the_gpu(transformer, choice):
    if choice == "fla" and not HAS_FLA:
        pytest.skip("fla-core is not installed")
    check_whole(transformer, choice, "cuda")


@pytest.mark.skipif(not REQUIRED and not (HAS_FLA and INTERPRETED), reason="TRITON_INTERPRET=1 runs it (.ci/gpu)")
def test_a_whole_transformer_by_fla_interpreted(transformer, monkeypatch):
    from triton.runtime.autotuner import Autotuner

    # Nothing can be timed here: each kernel runs in the first of its shapes.
    monkeypatch.setattr(Autotuner, "_bench", lambda self, *args, config, **meta: [0.0])
    check_whole(transformer, "fla", "cpu")


def test_gradients_run_through_plain_torch(transformer):
    def never(*_):
        raise AssertionError("a kernel without gradients was called")

    transformer.kernels = Kernels(scan=never, features=never, gated=never, gated_halves=never, modulated=never)
    call(transformer)["velocity"].sum().backward()
    assert transformer.blocks[0].attn.qkv.weight.grad.abs().sum() > 0
    with torch.no_grad(), pytest.raises(AssertionError, match="without gradients"):
        call(transformer)


def test_the_switch_goes_back_and_copies_keep_it(transformer):
    use_kernels(transformer, "plain")
    assert transformer.kernels is PLAIN
    transformer.kernels = Kernels()
    assert copy.deepcopy(transformer).kernels == transformer.kernels
    assert "kernels" not in "".join(transformer.state_dict())


def test_bad_choices_change_nothing(transformer, monkeypatch):
    with pytest.raises(ValueError, match=f"unknown kernels 'cuda'; use one of {', '.join(KERNELS)}"):
        use_kernels(transformer, "cuda")
    for choice in ("triton", "fla"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match="pip install 'sanawm_env"):
            use_kernels(transformer, choice)
    monkeypatch.undo()
    if HAS_TRITON and not INTERPRETED:
        with pytest.raises(ValueError, match="run on CUDA, and this transformer is on cpu"):
            use_kernels(transformer, "triton")
    assert transformer.kernels is PLAIN
