"""What a world needs of memory, asked of the world itself on torch's meta device: no weights, no GPU, no download.

Weights and states are exact: those of the modules and of the state that would be loaded. Activations are traced figures
(`benchmarks/worlds/memory_trace.py`) times a margin.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.accel.device import PRECISIONS, Precision
from sanawm_env.world.accel.precision import ALIGNMENT, scope
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import build_vae
from sanawm_env.world.state.empty import EIGHT_BITS, check_state_precision, empty_state

__all__ = ["BASIS", "MemoryPlan", "most_slots", "plan_memory", "weight_bytes"]

TEXT_ENCODER_PARAMETERS = 2_614_341_888
"""Of gemma-2-2b-it, from its shapes: vocabulary 256000, width 2304, 26 layers."""
RELEASE_VAE = {"parameters": 694_098_881 + 528_380_720, "tails": 595_189_760 // 2 // 880, "context": 44}
"""Of the LTX-2 VAE: parameters, numbers in the decoder's tails for each latent cell, and latents of its compact memory.
Kept here, and held against diffusers by a test, because a plan must not need diffusers."""
RELEASE_WORKING = {"transformer": 1_135_901_784, "decode": 1_765_615_616, "compact decode": 3_193_749_504}
"""Live bytes of one chunk of the release in bfloat16 at 704x1280, beside weights and states (`memory_trace`)."""
_RELEASE_CALL, _RELEASE_CELLS = 4 * 880 * 2240, 880
"""Numbers in the tokens of the longest call those were traced with, and latent cells of a frame."""
MARGIN = 1.25
"""On traced memory: fragmentation of the allocator, workspaces of convolutions and matrix products."""
CUDA_RESERVE = 700_000_000
"""CUDA context and loaded kernels; an assumption, commonly 0.4 to 0.8 GB."""
STATES_MADE = 2.8
"""States per slot that a step makes beside the present one, at its peak: the next one, copies that own their memory,
and, where slots begin anew in the same step, their first states. 2.4 to 2.8 were traced; a test traces a step again."""

BASIS = {
    "weights, VAE, state": f"exact, from shapes; a step makes up to {STATES_MADE} states more beside the present one",
    "working": f"estimate: live tensors of one chunk traced without a GPU, times {MARGIN}",
    "text enc": "exact: gemma-2-2b-it in bfloat16, freed after encoding; stage 2's own encoder is not counted",
    "needed": f"while stepping or encoding, {CUDA_RESERVE / 1e9} GB for CUDA (assumed) among it",
}


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a world needs on its device."""

    precision: Precision
    """Of the weights."""
    state_precision: str | None
    """Of the states; None is that of the activations."""
    slots: int
    """Rollouts."""
    weights: int
    """Transformer."""
    vae: int
    """Encoder and decoder."""
    state_per_slot: int
    """What one rollout remembers."""
    denoising: int
    """Activations of one slot while the transformer works."""
    decoding: int
    """Activations of one slot while the VAE does."""
    text_encoder: int
    """While a prompt is encoded; 0 for a model without text."""
    reserve: int
    """Of the device's own software."""
    together: bool
    """Whether slots share one forward; on the CPU they take turns and so share working memory."""
    decode_together: bool
    """The same of the decoder, which takes turns where it remembers latents alone."""
    refiner: int = 0
    """Weights of stage 2; 0 without it."""
    refiner_state: int = 0
    """Its keys and values of one slot. A step makes the next ones beside them; copies share them."""

    @property
    def working(self) -> int:
        """Activations of all slots at their peak."""
        denoising = self.denoising * (self.slots if self.together else 1)
        return max(denoising, self.decoding * (self.slots if self.decode_together else 1))

    @property
    def running(self) -> int:
        """While stepping: the state before, what a step makes of states, and the activations."""
        states = int((1 + STATES_MADE) * self.slots * self.state_per_slot) + 2 * self.slots * self.refiner_state
        return self.weights + self.vae + self.refiner + self.reserve + states + self.working

    @property
    def encoding(self) -> int:
        """While a prompt is encoded on the same device, the world loaded; 0 without text."""
        states = self.slots * (self.state_per_slot + self.refiner_state)
        loaded = self.weights + self.vae + self.refiner + self.reserve
        return self.text_encoder and loaded + states + self.text_encoder

    @property
    def needed(self) -> int:
        """The larger of the two."""
        return max(self.running, self.encoding)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, sums included."""
        return asdict(self) | {name: getattr(self, name) for name in ("working", "running", "encoding", "needed")}


def plan_memory(
    config: WorldConfig,
    precision: str,
    slots: int = 1,
    *,
    gpu: bool,
    state_precision: str | None = None,
    refiner: bool = False,
) -> MemoryPlan:
    """Plan the memory of a world; `dataclasses.replace(plan, slots=n)` is the plan of more slots.

    Args:
        config: The world.
        precision: Of the weights; activations are bfloat16, or float32 with `fp32`.
        slots: Number of rollouts B.
        gpu: On a GPU slots run together, and CUDA itself takes a share.
        state_precision: As in `WorldModel.load`.
        refiner: With stage 2, streaming, in the type of the activations.

    Raises:
        ValueError: Unknown precision, slots below 1, or stage 2 for a world whose VAE is not the release's.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}.")
    if slots < 1:
        raise ValueError(f"slots must be at least 1; got {slots}.")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    kept = check_state_precision(state_precision, dtype)
    model, vae = config.model, _vae(config, dtype)
    rows, columns = config.height // vae.spatial_stride, config.width // vae.spatial_stride
    length = model.text_length if model.caption_channels else 0
    state = empty_state(
        config, vae, "", 1, device="meta", dtype=dtype, text_length=length, state_precision=kept
    )  # fmt: skip
    frames = config.max_chunk_frames + (model.first_chunk == "plus_one")
    call = frames * rows * columns * model.hidden_size // (model.patch_size[0] * model.patch_size[1])
    wide, compact = MARGIN * dtype.itemsize / 2, isinstance(vae, _ReleaseVAE) and kept in EIGHT_BITS
    if isinstance(vae, _ReleaseVAE):
        decode = RELEASE_WORKING["compact decode" if compact else "decode"] * rows * columns / _RELEASE_CELLS
    else:  # the small VAE works at latent resolution; its largest tensors are a few copies of the frames
        decode = 4 * config.max_chunk_frames * vae.temporal_stride * config.height * config.width * 3 * 2
    second = _refiner(vae, rows * columns, dtype) if refiner else (0, 0, 0)
    return MemoryPlan(
        precision=PRECISIONS[PRECISIONS.index(precision)],
        state_precision=kept,
        slots=slots,
        weights=weight_bytes(config, precision),
        vae=sum(value.nbytes for value in (*vae.parameters(), *vae.buffers())),
        state_per_slot=state.nbytes,
        denoising=max(int(wide * RELEASE_WORKING["transformer"] * call / _RELEASE_CALL), int(MARGIN * second[2])),
        decoding=int(wide * decode),
        text_encoder=TEXT_ENCODER_PARAMETERS * 2 if length else 0,
        reserve=CUDA_RESERVE if gpu else 0,
        together=gpu,
        decode_together=gpu and not compact,
        refiner=second[0],
        refiner_state=second[1],
    )


def _refiner(vae: Any, tokens: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Bytes of stage 2: weights, one slot's memory, activations (a few tensors of a block's feed-forward)."""
    from sanawm_env.world.networks.refiner.config import RefinerConfig, StreamSettings
    from sanawm_env.world.networks.refiner.transformer import RefinerTransformer

    config, settings = RefinerConfig(), StreamSettings()
    if not isinstance(vae, _ReleaseVAE):
        raise ValueError(
            "stage 2 refines latents of the release's VAE, which this world has not; leave out the refiner."
        )
    with torch.device("meta"):
        weights = sum(value.numel() for value in RefinerTransformer(config).state_dict().values()) * dtype.itemsize
    working = 4 * settings.block_frames * tokens * 4 * config.width * dtype.itemsize
    return weights, settings.nbytes(config, tokens, dtype), working


def weight_bytes(config: WorldConfig, precision: str) -> int:
    """Bytes of the transformer's weights in a precision, scales of quantised layers included."""
    net, wide = _transformer(config.model), 4 if precision == "fp32" else 2
    total = wide * sum(value.numel() for value in net.state_dict().values())
    if precision in ("fp32", "bf16"):
        return total
    for layer in scope(net).values():
        weight = layer.get_parameter("weight")
        (rows, columns), count = weight.shape[:2], weight.numel()  # 1x1 convolutions become linears
        if precision == "int8":  # one scale per row
            total += count + 4 * rows - wide * count
        elif rows % ALIGNMENT == 0 and columns % ALIGNMENT == 0:  # others keep their type
            # Half a byte and an e4m3 scale for every 16; or a byte and a scale per row.
            total += (count // 2 + count // 16 + 4 if precision == "nvfp4" else count + 4 * rows) - wide * count
    return total


def most_slots(plan: MemoryPlan, memory: int) -> int:
    """Largest number of slots that fits, 0 if none does."""
    most = 0
    for step in (1024, 128, 16, 1):  # memory grows with slots
        while most < 2**20 and replace(plan, slots=most + step).needed <= memory:
            most += step
    return most


@lru_cache(maxsize=4)
def _transformer(config: SanaWMConfig) -> SanaWMTransformer:
    with torch.device("meta"):
        return SanaWMTransformer(config)


class _ReleaseVAE:
    """The release's VAE as far as a plan needs it."""

    spatial_stride, temporal_stride = 32, 8

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        self.channels, self.dtype = channels, dtype

    def parameters(self) -> list[Tensor]:
        return [torch.empty(RELEASE_VAE["parameters"], device="meta", dtype=self.dtype)]

    def buffers(self) -> list[Tensor]:
        return [torch.empty(2 * self.channels, device="meta", dtype=self.dtype)]

    def init_tails(
        self, batch: int, height: int, width: int, *, compact: bool = False, **where: Any
    ) -> dict[str, Tensor]:
        cells = self.channels * RELEASE_VAE["context"] if compact else RELEASE_VAE["tails"]
        count = torch.empty(batch, device="meta", dtype=torch.int64 if compact else torch.bool)
        return {"remembered": torch.empty(batch, cells, height, width, **where), "count": count}


def _vae(config: WorldConfig, dtype: torch.dtype) -> Any:
    if dict(config.vae) == {"kind": "ltx2"}:
        return _ReleaseVAE(config.model.in_channels, dtype)
    with torch.device("meta"):
        vae: Any = build_vae(config.vae)
    return vae.to(dtype)
