"""Low precision: which layers of the transformer are quantised, and how torchao quantises them.

    int8     weights as int8, one scale per output channel; products in the type of the activations. Any device.
             `activations=True` also rounds the activations, one scale per token (W8A8).
    fp8      weights and activations as e4m3, one scale per output channel and per token (W8A8). Hopper or newer.
    nvfp4    weights and activations as NVFP4: e2m1, an e4m3 scale for every 16 values, one float32 scale for each
             tensor (W4A4). Blackwell or newer.

What is covered follows the reference's recipe (docs/model.md, "Low precision"): the products of attention, text
attention and feed-forward. Camera projections, embedders, final layer, depthwise and temporal convolutions keep their
type, and the scans stay float32. The two 1x1 convolutions of the feed-forward become linears of the same parameter
names.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sanawm_env.world.accel.device import PRECISIONS, Precision, look_at, unsupported
from sanawm_env.world.networks.layers import PointwiseLinear
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = [
    "ALIGNMENT",
    "QUANTISED",
    "LayerBytes",
    "Precision",
    "PrecisionReport",
    "check_precision",
    "loading_dtype",
    "quantise",
    "scope",
    "stored_bytes",
    "weights_report",
]

QUANTISED: tuple[Precision, ...] = ("fp8", "nvfp4", "int8")
"""Precisions that need torchao; the others are types."""
ALIGNMENT = 16
"""Rows and columns of a weight have to be a multiple of this for the kernels of fp8 and nvfp4."""
_LAYERS = {
    "attn": ("qkv", "proj", "beta_proj", "gate_proj", "output_gate"),
    "cross_attn": ("q_linear", "kv_linear", "proj"),
    "mlp": ("inverted_conv.conv", "point_conv.conv"),
}
_INSTALL = "install it with pip install 'sanawm_env[quant]'"


@dataclass(frozen=True)
class LayerBytes:
    """The weight of one layer within the scope."""

    name: str
    """Of the layer, as in `named_modules`."""
    before: int
    """Bytes of the weight in the type of the activations."""
    after: int
    """Bytes as it is stored now, scales included."""
    stored: str
    """Type of the stored values, such as `int8`."""


@dataclass(frozen=True)
class PrecisionReport:
    """Bytes of a transformer's weights, by layer where they may be quantised."""

    layers: tuple[LayerBytes, ...]
    """Every layer of the scope."""
    other: int
    """Bytes of all other weights and buffers."""

    @property
    def before(self) -> int:
        """Bytes of all weights, were none quantised."""
        return self.other + sum(layer.before for layer in self.layers)

    @property
    def after(self) -> int:
        """Bytes of all weights as they are."""
        return self.other + sum(layer.after for layer in self.layers)

    @property
    def kept(self) -> tuple[str, ...]:
        """Layers of the scope that are not quantised."""
        return tuple(layer.name for layer in self.layers if layer.stored in ("float32", "bfloat16"))


def scope(transformer: SanaWMTransformer) -> dict[str, nn.Module]:
    """The layers that low precision may touch, by name: linears, and the 1x1 convolutions of the feed-forward."""
    found = {}
    for index, block in enumerate(transformer.blocks):
        for part, names in _LAYERS.items():
            for name in names:
                full = f"blocks.{index}.{part}.{name}"
                # Softmax blocks have no beta and gate of their own, and worlds without text no text attention.
                owner, _, last = full.rpartition(".")
                if hasattr(block, part) and hasattr(transformer.get_submodule(owner), last):
                    found[full] = transformer.get_submodule(full)
    return found


def check_precision(precision: str, device: torch.device | str) -> Precision:
    """Refuse a precision that cannot run on a device.

    Args:
        precision: One of `PRECISIONS`.
        device: `cpu` or `cuda:0`; also a GPU that is only named, such as `cuda:24GB:ada`.

    Returns:
        The precision.

    Raises:
        ValueError: Unknown precision or device, or a device that is too old for it.
        ImportError: torchao, which `QUANTISED` precisions need, is missing or too old.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}.")
    if str(device) == "meta":
        raise ValueError(f"precision {precision} cannot run on the meta device; use cpu or cuda.")
    where = look_at(str(device))
    if reason := unsupported(precision, where):
        able = [p for p in PRECISIONS if unsupported(p, where) is None]
        raise ValueError(f"precision {precision} does not run on {where.label}: {reason}; use {' or '.join(able)}.")
    if precision in QUANTISED:
        _torchao()
    return precision


def loading_dtype(precision: Precision, device: torch.device | str, dtype: torch.dtype | None = None) -> torch.dtype:
    """Type of the activations, and of the weights that are not quantised.

    Args:
        precision: As checked by `check_precision`.
        device: Where to compute.
        dtype: The one asked for. None is float32 for `fp32` and bfloat16 for the others, but float32 for `int8` on
            a GPU that has no bfloat16.

    Raises:
        ValueError: The two contradict each other.
    """
    if precision == "int8":
        allowed = [torch.bfloat16, torch.float32]
        if unsupported("bf16", look_at(str(device))):
            allowed.remove(torch.bfloat16)
    else:
        allowed = [torch.float32 if precision == "fp32" else torch.bfloat16]
    if dtype is not None and dtype not in allowed:
        names = " or ".join(str(t).removeprefix("torch.") for t in allowed)
        raise ValueError(f"precision {precision} computes in {names}; got dtype={dtype}: leave dtype out.")
    return dtype or allowed[0]


def quantise(
    transformer: SanaWMTransformer,
    precision: Precision,
    device: torch.device | str | None = None,
    *,
    activations: bool = False,
) -> PrecisionReport:
    """Quantise the layers of `scope` in place, one after another.

    With fp8 and nvfp4 a weight whose sides are no multiples of `ALIGNMENT` keeps its type: in the release those
    are `beta_proj` and `gate_proj`, which have 20 rows. The same goes for the activations of int8.

    Args:
        transformer: On its device, float32 or bfloat16; for fp8 and nvfp4 bfloat16.
        precision: One of `QUANTISED`.
        device: Where it will run, checked against the precision; None is where the weights are.
        activations: With int8, also quantise activations: less exact, and the products are of integers.

    Returns:
        Bytes by layer, as `weights_report` gives them at any later time.

    Raises:
        ValueError: Before anything is changed: a precision that is a type, another device, a transformer of
            another type, or one that is quantised already.
        ImportError: See `check_precision`.
    """
    if precision in PRECISIONS and precision not in QUANTISED:
        raise ValueError(f"{precision} is a type, no quantisation; load the world with precision={precision!r}.")
    place = transformer.x_embedder.proj.weight.device if device is None else device
    check_precision(precision, place)
    loading_dtype(precision, place, transformer.dtype)
    if activations and precision != "int8":
        raise ValueError(f"activations is a choice of int8 only; {precision} always quantises them: leave it out.")
    if any(isinstance(module, PointwiseLinear) for module in transformer.modules()):
        raise ValueError("the transformer is quantised already; load the world again.")
    configure = _configs(precision, str(place), activations)
    for block in transformer.blocks:
        mlp = block.get_submodule("mlp")
        for name in ("inverted_conv", "point_conv"):
            setattr(mlp, name, PointwiseLinear(getattr(mlp, name)))
    ao = _torchao()
    for layer in scope(transformer).values():
        weight = layer.get_parameter("weight")
        if config := configure(all(side % ALIGNMENT == 0 for side in weight.shape)):
            ao.quantize_(layer, config, filter_fn=lambda *_: True)
    return weights_report(transformer)


def weights_report(transformer: SanaWMTransformer) -> PrecisionReport:
    """Bytes of a transformer's weights, quantised or not."""
    layers = []
    for name, layer in scope(transformer).items():
        weight = layer.get_parameter("weight")
        inner = _inner(weight)
        stored = str((inner[0] if inner else weight).dtype).removeprefix("torch.")
        layers.append(LayerBytes(name, weight.numel() * weight.dtype.itemsize, stored_bytes(weight), stored))
    total = sum(stored_bytes(value) for value in (*transformer.parameters(), *transformer.buffers()))
    return PrecisionReport(tuple(layers), total - sum(layer.after for layer in layers))


def stored_bytes(value: Tensor) -> int:
    """Bytes that a tensor takes; of a quantised one those of values and scales, which `nbytes` does not know."""
    inner = _inner(value)
    return sum(stored_bytes(part) for part in inner) if inner else value.nbytes


def _inner(value: Tensor) -> list[Tensor]:
    """The plain tensors that a quantised one is made of; none for a plain one."""
    data = value.data if isinstance(value, nn.Parameter) else value
    flatten = getattr(data, "__tensor_flatten__", None)
    return [] if flatten is None else [getattr(data, name) for name in flatten()[0]]


def _configs(precision: Precision, device: str, activations: bool) -> Callable[[bool], Any]:
    """What torchao should do to a weight, as a function of whether its shape suits the kernels; None is nothing."""
    ao = _torchao()
    if precision == "int8":
        weights = ao.Int8WeightOnlyConfig(set_inductor_config=False)
        if not activations:
            return lambda aligned: weights
        from torchao.utils import should_reduce_range

        # Without VNNI a CPU's integer products of full range would overflow.
        reduce = should_reduce_range(torch.device(device.partition(":")[0]))
        both = ao.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, reduce_range=reduce)
        return lambda aligned: both if aligned else weights
    config: Any
    if precision == "fp8":
        # Blocks of 128x128, as the reference has, do not divide the width of 2240.
        config = ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow(), set_inductor_config=False)
    else:
        from torchao.prototype.mx_formats import NVFP4DynamicActivationNVFP4WeightConfig

        config = NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=importlib.util.find_spec("mslk") is not None)
    return lambda aligned: config if aligned else None


def _torchao() -> Any:
    """The module `torchao.quantization`, imported only when it is needed: that takes seconds.

    Raises:
        ImportError: It is missing or too old.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ImportError(f"low precision needs torchao, which is not installed; {_INSTALL}.")
    # On import it complains of kernels for other GPUs, which are not used here.
    quiet = logging.getLogger("torchao"), logging.getLogger("torch.utils._pytree")
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        import torchao.quantization as ao
    except ImportError as error:
        raise ImportError(f"torchao does not import here ({error}); {_INSTALL}.") from error
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    if not hasattr(ao, "Int8WeightOnlyConfig") or not hasattr(ao, "PerRow"):
        raise ImportError(f"this torchao is too old; {_INSTALL}.")
    return ao
