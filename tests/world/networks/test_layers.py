"""The faster CPU product is the same product, and steps aside where it does not apply."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.world.networks import layers as module
from sanawm_env.world.networks.layers import Linear, linear


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=3), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans()
)  # fmt: skip
def test_it_is_f_linear(leading, inputs, outputs, with_bias, transposed):
    g = torch.Generator().manual_seed(inputs * 41 + outputs)
    x = torch.randn(*leading, inputs, generator=g)
    weight = torch.randn(inputs, outputs, generator=g).T if transposed else torch.randn(outputs, inputs, generator=g)
    bias = torch.randn(outputs, generator=g) if with_bias else None
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-4, rtol=1e-5)


def test_strides_do_not_matter():
    x = torch.randn(3, 4, 8, 16, generator=torch.Generator().manual_seed(0)).permute(1, 0, 2, 3)[..., ::2]
    layer = Linear(8, 5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def calls(monkeypatch):
    seen = []

    def onednn(x, weight, bias, *_):
        seen.append(tuple(x.shape))
        return F.linear(x, weight, bias)

    monkeypatch.setattr(module, "_ONEDNN", onednn)
    return seen


def test_inference_in_float32_takes_it(monkeypatch):
    seen = calls(monkeypatch)
    with torch.inference_mode():
        Linear(4, 3)(torch.ones(2, 4))
    assert seen == [(2, 4)]


@pytest.mark.parametrize("why", ["gradients", "bfloat16", "autocast", "meta", "quantised"])
def test_everything_else_is_left_to_torch(monkeypatch, why):
    class Quantised(torch.Tensor):
        pass

    seen = calls(monkeypatch)
    dtype = torch.bfloat16 if why == "bfloat16" else torch.float32
    layer = Linear(4, 3, dtype=dtype, device="meta" if why == "meta" else "cpu")
    if why == "quantised":
        layer.weight = torch.nn.Parameter(layer.weight.detach().as_subclass(Quantised))
    x = torch.ones(2, 4, dtype=dtype, device=layer.weight.device)
    with torch.set_grad_enabled(why == "gradients"), torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        y = layer(x)
    assert y.shape == (2, 3) and not seen
    assert y.requires_grad == (why == "gradients")


def test_a_torch_without_the_operator_still_computes(monkeypatch):
    monkeypatch.setattr(module, "_ONEDNN", None)
    with torch.no_grad():
        torch.testing.assert_close(linear(torch.ones(2, 4), torch.ones(3, 4)), torch.full((2, 3), 4.0))
