"""One matrix product for all projections that an attention makes of the same input.

`fuse_projections` lays `qkv`, the three camera projections, `output_gate` and, in delta-rule blocks, `beta_proj` below
each other in one matrix per block. The parameters stay what they were, under their names, as views into it: there is
no second copy, `state_dict` and hash do not change, and weights that are loaded in place are the ones used.

Views break when a module is moved or a parameter is given new memory. Every call looks whether they hold (addresses
are compared, no values), and where they do not, the projections run one by one again. So they do where gradients are
wanted, without the camera branch, and under torch.compile, which could not see later that views broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sanawm_env.world.networks.attention import CameraAttention
from sanawm_env.world.networks.layers import PointwiseLinear, Projections, linear

if TYPE_CHECKING:
    from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["FusedProjections", "Projections", "fuse_projections"]

ROWS = 64
"""The number of rows is rounded up to a multiple of this, so that every row of the product begins where wide loads may
and GPU kernels need no remainder; the rows added are zero."""


class FusedProjections:
    """The matrix and bias of one attention, and the parameters that should be views into them."""

    def __init__(self, attention: CameraAttention) -> None:
        """Move the parameters of `attention` into one matrix."""
        names = ["qkv", "q_proj_cam", "k_proj_cam", "v_proj_cam", "output_gate"]
        if not attention.softmax:
            names.append("beta_proj")
        layers = [attention.get_submodule(name) for name in names]
        assert all(isinstance(layer, nn.Linear) for layer in layers)
        weights = [layer.get_parameter("weight") for layer in layers]
        self.widths = [weight.shape[0] for weight in weights]
        rows = -(-sum(self.widths) // ROWS) * ROWS
        self.weight = weights[0].data.new_zeros(rows, weights[0].shape[1])
        self.bias = self.weight.new_zeros(rows)
        self.layers = layers
        """The modules, not their parameters: those may be exchanged."""
        start = 0
        for layer, width in zip(layers, self.widths, strict=True):
            part = slice(start, start + width)
            for whole, name in ((self.weight, "weight"), (self.bias, "bias")):
                # `qkv` has no bias: its part stays zero.
                if getattr(layer, name) is not None:
                    parameter = layer.get_parameter(name)
                    whole[part].copy_(parameter.data)
                    parameter.data = whole[part]
            start += width

    @property
    def holds(self) -> bool:
        """Whether every parameter still is its part of the matrix."""
        start = 0
        for layer, width in zip(self.layers, self.widths, strict=True):
            for whole, value in ((self.weight, layer.weight), (self.bias, layer.bias)):
                if value is None:
                    continue
                # Only plain parameters: stand-ins of a trace or of torchao have no address of their own.
                if type(value) is not nn.Parameter or value.dtype != whole.dtype:
                    return False
                if value.data_ptr() != whole.data_ptr() + start * whole.stride(0) * whole.itemsize:
                    return False
            start += width
        return True

    @property
    def usable(self) -> bool:
        """Whether the one product may take the place of the many, here and now."""
        if torch.compiler.is_compiling() or not self.holds:
            return False
        return not (
            torch.is_grad_enabled()
            and any(value.requires_grad for layer in self.layers for value in layer.parameters())
        )

    def __call__(self, x: Tensor) -> Projections:
        """Project `(B, T, S, C)`."""
        rest = self.weight.shape[0] - sum(self.widths)
        qkv, q, k, v, gate, *more = linear(x, self.weight, self.bias).split([*self.widths, rest], dim=-1)
        return Projections(qkv, (q, k, v), gate, more[0] if len(self.widths) > 5 else None)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # A copy's parameters have memory of their own, so a copied or pickled module has no fused projections.
        return type(None), ()


def fuse_projections(transformer: SanaWMTransformer) -> None:
    """Fuse the projections of every block of `transformer`, in place; doing it again changes nothing.

    Do it after the weights are loaded and moved, block after block: at no time is there more than one block's worth of
    a second copy. Programs recorded before (`accel.capture`) are dropped by themselves. Outputs are those
    of separate products up to rounding.

    Raises:
        ValueError: Before anything is changed: quantised weights, weights without values, or an adapter beside them.
    """
    if hasattr(transformer, "peft_config"):
        raise ValueError("an adapter beside the weights cannot be fused; load the world with merge_adapter=True.")
    odd = [name for name, value in transformer.named_parameters() if type(value) is not nn.Parameter]
    if odd or any(isinstance(module, PointwiseLinear) for module in transformer.modules()):
        raise ValueError(
            "quantised weights cannot be fused: each layer has scales of its own; load the world without `precision` "
            "(or with fp32 or bf16), or leave fuse_projections out."
        )
    attentions = [module for module in transformer.modules() if isinstance(module, CameraAttention)]
    for attention in attentions:
        found = {(value.dtype, value.device) for value in attention.parameters()}
        if len(found) > 1 or next(iter(found))[1].type == "meta":
            raise ValueError(
                "only weights of one type on one device can be fused, and none on the meta device; load them and "
                "move the transformer with .to(device, dtype) first."
            )
    for attention in attentions:
        if attention.fused is None or not attention.fused.holds:
            attention.fused = FusedProjections(attention)
