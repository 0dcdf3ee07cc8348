"""What a world needs of memory, computed from shapes: nothing is loaded, no GPU and no download is needed.

Weights and states come from the modules on torch's meta device, so they are exact. Working memory is a trace
(`memory_trace`) plus a margin, and every figure carries its basis.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.accel.device import PRECISIONS, Precision
from sanawm_env.world.checkpoints.weights import build_modules
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import build_vae

__all__ = ["BASIS", "PRECISIONS", "TEXT_ENCODER_PARAMETERS", "MemoryPlan", "Precision", "plan_memory", "weight_bytes"]

# Quantised are the linears of docs/model.md, "Low precision"; everything else stays in bfloat16.
_QUANTISED = re.compile(
    r"blocks\.\d+\.(attn\.(qkv|proj|beta_proj|gate_proj|output_gate)|cross_attn\.(q_linear|kv_linear|proj)"
    r"|mlp\.(inverted_conv|point_conv)\.conv)\.weight"
)
_SCALE_BYTES = 4

TEXT_ENCODER_PARAMETERS = 2_614_341_888
"""Of gemma-2-2b-it, from its shapes: vocabulary 256000, width 2304, 26 layers."""
RELEASE_VAE = {
    "encoder_parameters": 694_098_881,
    "decoder_parameters": 528_380_720,
    "tail_bytes": 595_189_761,
    "decode_peak": 2_360_805_377,
}
"""Of the LTX-2 VAE at 704x1280 in bfloat16, printed by `python -m benchmarks.worlds.memory_trace` (diffusers 0.42.1);
kept here because a plan must not need diffusers."""
RELEASE_TRANSFORMER_WORKING = 1_974_333_856 - 838_432_072
"""Live tensors of the first chunk's call (4 latent frames of 880 tokens, width 2240, bfloat16), likewise, less the
new cache among them: a plan counts old and new state by themselves."""
_RELEASE_WIDTH = 4 * 880 * 2240 * 2
MARGIN = 1.25
"""On traced working memory: fragmentation of the allocator, workspaces of convolutions and matrix products."""
CUDA_RESERVE = 700_000_000
"""CUDA context and loaded kernels; an assumption, commonly 0.4 to 0.8 GB."""

STATES_MADE = 2.8
"""States per slot that a step of a vector environment makes beside the present one, at its peak: the next one, copies
that own their memory, and, where slots begin anew in the same step, their first states. 2.4 to 2.8 were traced with
`benchmarks.worlds.memory_trace`; tests/cli/doctor holds the plan against a trace."""

BASIS = {
    "weights": "exact: shapes on the meta device, and the layers that each precision covers",
    "vae": "exact: shapes",
    "state_per_slot": "exact: shapes on the meta device; a step makes up to "
    f"{STATES_MADE} more beside it, those of slots that begin anew among them (traced)",
    "working_per_slot": f"estimate: live tensors of one chunk traced without a GPU, times {MARGIN}",
    "text_encoder": "exact: shapes of gemma-2-2b-it in bfloat16; freed after encoding",
    "reserve": "assumption: CUDA context and kernels",
    "precision": "fp8, nvfp4 and int8 load through torchao; fp8 and nvfp4 were never run on a GPU",
}


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a world needs on its device, in one precision and with so many slots."""

    precision: Precision
    slots: int
    weights: int
    """Transformer."""
    vae: int
    """Encoder and decoder."""
    state_per_slot: int
    """What one rollout remembers."""
    working_per_slot: int
    """Activations while a chunk is computed."""
    text_encoder: int
    """While a prompt is encoded; 0 for a model without text."""
    reserve: int
    """Of the device's own software."""
    together: bool
    """Whether slots share one forward; on the CPU they take turns and so share working memory."""

    @property
    def running(self) -> int:
        """While stepping: the state before, what a step makes of states, and the activations of all slots."""
        states = int((1 + STATES_MADE) * self.slots * self.state_per_slot)
        working = self.working_per_slot * (self.slots if self.together else 1)
        return self.weights + self.vae + self.reserve + states + working

    @property
    def encoding(self) -> int:
        """While a prompt is encoded on the same device, the world loaded; 0 without text."""
        if not self.text_encoder:
            return 0
        return self.weights + self.vae + self.reserve + self.slots * self.state_per_slot + self.text_encoder

    @property
    def needed(self) -> int:
        """The larger of the two."""
        return max(self.running, self.encoding)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, sums included."""
        return asdict(self) | {"running": self.running, "encoding": self.encoding, "needed": self.needed}


def plan_memory(config: WorldConfig, precision: Precision, slots: int, *, gpu: bool) -> MemoryPlan:
    """Plan the memory of a world.

    Args:
        config: The world.
        precision: Of the weights; states and activations are bfloat16, or float32 with `fp32`.
        slots: Number of rollouts B.
        gpu: On a GPU slots run together, and CUDA itself takes a share.

    Raises:
        ValueError: Unknown precision, or slots below 1.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}.")
    if slots < 1:
        raise ValueError(f"slots must be at least 1; got {slots}.")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    key = _Key(config)
    vae, _, decode = _vae(key, dtype)
    working = max(_transformer_working(config, dtype), decode)
    text = TEXT_ENCODER_PARAMETERS * 2 if config.model.caption_channels else 0
    return MemoryPlan(
        precision=precision,
        slots=slots,
        weights=weight_bytes(config, precision),
        vae=vae,
        state_per_slot=_state_bytes(key, dtype),
        working_per_slot=int(working * MARGIN),
        text_encoder=text,
        reserve=CUDA_RESERVE if gpu else 0,
        together=gpu,
    )


def weight_bytes(config: WorldConfig, precision: Precision) -> int:
    """Bytes of the transformer's weights in a precision, scales of quantised layers included."""
    total = 0.0
    for name, (shape, numel) in _shapes(_Key(config)).items():
        if precision in ("fp32", "bf16") or not _QUANTISED.fullmatch(name):
            total += numel * (4 if precision == "fp32" else 2)
        elif precision == "fp8":  # one scale for a block of 128 x 128
            total += numel + _SCALE_BYTES * -(-shape[0] // 128) * -(-shape[1] // 128)
        elif precision == "nvfp4":  # half a byte, and an e4m3 scale for every 16
            total += numel / 2 + numel / 16 + _SCALE_BYTES
        else:  # int8: one scale per row
            total += numel + _SCALE_BYTES * shape[0]
    return int(total)


class _Key:
    """A config as a dictionary key: its dataclass holds a dict and cannot be hashed."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self._text = repr(config)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._text == other._text


@cache
def _shapes(key: _Key) -> dict[str, tuple[torch.Size, int]]:
    with torch.device("meta"):
        return {n: (v.shape, v.numel()) for n, v in SanaWMTransformer(key.config.model).state_dict().items()}


@cache
def _state_bytes(key: _Key, dtype: torch.dtype) -> int:
    """Bytes of one slot's state."""
    config, model = key.config, key.config.model
    length = model.text_length if model.caption_channels else 0
    if not is_release_sized(config):  # then a world can be put together on the meta device, and asked
        with torch.device("meta"):
            transformer, vae = build_modules(config)
        world = WorldModel(config, transformer.to(dtype), vae.to(dtype), "")
        return world._empty(1, "meta", length).nbytes
    (rows, columns), size = _token_grid(config), dtype.itemsize
    cache = empty_cache(model, 1, rows * columns, device="meta", dtype=dtype).flat()
    first = model.in_channels * rows * columns * model.patch_size[0] * model.patch_size[1] * size
    # Pose, frame and seed, intrinsics, first latent, text, last frame.
    rest = 16 * 8 + 2 * 8 + 4 * 4 + first + length * (model.caption_channels * size + 1)
    return sum(value.nbytes for value in cache.values()) + _vae(key, dtype)[1] + rest + config.height * config.width * 3


@cache
def _vae(key: _Key, dtype: torch.dtype) -> tuple[int, int, int]:
    """Bytes of the VAE's weights, of one slot's tails, and of decoding one slot's chunk."""
    config = key.config
    if is_release_sized(config):
        wide = dtype.itemsize // 2
        weights = RELEASE_VAE["encoder_parameters"] + RELEASE_VAE["decoder_parameters"]
        tails = RELEASE_VAE["tail_bytes"]
        return weights * dtype.itemsize, tails * wide, (RELEASE_VAE["decode_peak"] - tails) * wide
    with torch.device("meta"):
        vae: Any = build_vae(config.vae).to(dtype)
        values: list[Tensor] = [*vae.parameters(), *vae.buffers()]
        rows, columns = config.height // vae.spatial_stride, config.width // vae.spatial_stride
    # The small VAE refines at latent resolution; its largest tensors are a few copies of the frames.
    frames = config.max_chunk_frames * config.model.temporal_stride * config.height * config.width * 3
    size = sum(value.nbytes for value in vae.init_tails(1, rows, columns, device="meta", dtype=dtype).values())
    return sum(value.nbytes for value in values), size, 4 * frames * dtype.itemsize


def is_release_sized(config: WorldConfig) -> bool:
    """Whether the VAE is the release's at its published frame size, for which figures are kept."""
    return dict(config.vae) == {"kind": "ltx2"} and (config.height, config.width) == (704, 1280)


def _transformer_working(config: WorldConfig, dtype: torch.dtype) -> int:
    """Working memory of the longest call of one slot, scaled from the release's by tokens and width."""
    rows, columns = _token_grid(config)
    frames = config.max_chunk_frames + (config.model.first_chunk == "plus_one")
    width = frames * rows * columns * config.model.hidden_size * dtype.itemsize
    return RELEASE_TRANSFORMER_WORKING * width // _RELEASE_WIDTH


def _token_grid(config: WorldConfig) -> tuple[int, int]:
    """Rows and columns of tokens."""
    stride = 32 if config.vae.get("kind") == "ltx2" else _tiny_stride(_Key(config))
    return config.height // (stride * config.model.patch_size[0]), config.width // (stride * config.model.patch_size[1])


@cache
def _tiny_stride(key: _Key) -> int:
    with torch.device("meta"):
        vae: Any = build_vae(key.config.vae)
    return int(vae.spatial_stride)
