"""Sizes of the refiner's networks, and how a stream of blocks is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sanawm_env.world.schedules import check_sigmas

__all__ = ["SIGMAS", "ConnectorConfig", "RefinerConfig", "StreamSettings"]

SIGMAS = (0.909375, 0.725, 0.421875, 0.0)
"""Noise levels of the released refiner, Lightricks' list for a second stage."""


@dataclass(frozen=True)
class RefinerConfig:
    """The video part of an LTX-2 transformer; the defaults are the 19B model's."""

    channels: int = 128
    """Of a latent."""
    layers: int = 48
    """Transformer blocks."""
    heads: int = 32
    """Attention heads."""
    head_dim: int = 128
    """Channels of a head."""
    caption_channels: int = 3840
    """Of a text token, as the connectors give it."""
    norm_eps: float = 1e-6
    """Of every norm."""
    rope_theta: float = 1e4
    """Ratio of the slowest to the fastest rotation."""
    extent: tuple[float, float, float] = (20.0, 2048.0, 2048.0)
    """Seconds, rows and columns of pixels that stand for a whole rotation range."""
    scales: tuple[int, int, int] = (8, 32, 32)
    """Pixel frames, rows and columns of a latent."""
    causal_offset: int = 1
    """Pixel frames of the first latent."""
    timestep_scale: float = 1000.0
    """Timestep at noise level 1."""

    @property
    def width(self) -> int:
        """Channels of a token inside."""
        return self.heads * self.head_dim

    @classmethod
    def from_diffusers(cls, values: Mapping[str, Any]) -> RefinerConfig:
        """From the `config.json` of `LTX2VideoTransformer3DModel`; what concerns sound is not looked at.

        Raises:
            ValueError: Another generation of LTX, or a layout that is not computed here.
        """
        _refuse(values, {"gated_attn": False, "cross_attn_mod": False}, "is of LTX-2.3 or later")
        plain = {
            "patch_size": 1,
            "patch_size_t": 1,
            "rope_type": "split",
            "rope_double_precision": True,
            "norm_elementwise_affine": False,
            "attention_bias": True,
            "attention_out_bias": True,
            "activation_fn": "gelu-approximate",
            "qk_norm": "rms_norm_across_heads",
            "use_prompt_embeddings": True,
        }
        _refuse(values, plain, "has another layout than LTX-2's 19B model")
        got = {ours: values[theirs] for theirs, ours in _NAMES.items() if theirs in values}
        default = cls()
        extent = (
            values.get("pos_embed_max_pos", default.extent[0]),
            values.get("base_height", default.extent[1]),
            values.get("base_width", default.extent[2]),
        )
        scales = tuple(values.get("vae_scale_factors", default.scales))
        made = cls(**got, extent=extent, scales=scales)
        widths = {"cross_attention_dim": made.width, "out_channels": made.channels}
        _refuse(values, {name: size for name, size in widths.items() if values.get(name) is not None}, "has odd widths")
        return made


_NAMES = {
    "in_channels": "channels",
    "num_layers": "layers",
    "num_attention_heads": "heads",
    "attention_head_dim": "head_dim",
    "caption_channels": "caption_channels",
    "norm_eps": "norm_eps",
    "rope_theta": "rope_theta",
    "causal_offset": "causal_offset",
    "timestep_scale_multiplier": "timestep_scale",
}


@dataclass(frozen=True)
class ConnectorConfig:
    """What stands between the text encoder and the transformer; the defaults are the 19B model's."""

    channels: int = 3840
    """Of the text encoder and of the answer."""
    states: int = 49
    """Hidden states of the text encoder that are stacked."""
    heads: int = 30
    """Attention heads; times `head_dim` they are the channels."""
    head_dim: int = 128
    """Channels of a head."""
    layers: int = 2
    """Transformer blocks."""
    registers: int = 128
    """Learned tokens that take the place of padding."""
    rope_theta: float = 1e4
    """As in `RefinerConfig`."""
    rope_length: int = 4096
    """Tokens that stand for a whole rotation range."""

    @classmethod
    def from_diffusers(cls, values: Mapping[str, Any]) -> ConnectorConfig:
        """From the `config.json` of `LTX2TextConnectors`; what concerns sound is not looked at.

        Raises:
            ValueError: Another generation of LTX, or a layout that is not computed here.
        """
        later = {"per_modality_projections": False, "video_gated_attn": False, "proj_bias": False}
        _refuse(values, later, "is of LTX-2.3 or later")
        plain = {"rope_type": "split", "rope_double_precision": True, "causal_temporal_positioning": False}
        _refuse(values, plain, "has another layout than LTX-2's 19B model")
        names = {
            "caption_channels": "channels",
            "text_proj_in_factor": "states",
            "video_connector_num_attention_heads": "heads",
            "video_connector_attention_head_dim": "head_dim",
            "video_connector_num_layers": "layers",
            "video_connector_num_learnable_registers": "registers",
            "rope_theta": "rope_theta",
            "connector_rope_base_seq_len": "rope_length",
        }
        made = cls(**{ours: values[theirs] for theirs, ours in names.items() if theirs in values})
        if made.heads * made.head_dim != made.channels:
            raise ValueError(
                f"the refiner's connectors are {made.heads} heads of {made.head_dim} on {made.channels} channels, "
                "which do not fit; this is no connector of LTX-2's 19B model. Use the release's own."
            )
        return made


@dataclass(frozen=True)
class StreamSettings:
    """How blocks are refined one after another; the defaults are the release's."""

    block_frames: int = 3
    """Latent frames of a block; the last of a clip may be shorter."""
    sink_frames: int = 1
    """Raw first latent frames that every block sees."""
    kv_max_frames: int = 11
    """Latent frames that are remembered, sink included; at most `sink_frames` remembers no history."""
    sigmas: tuple[float, ...] = SIGMAS
    """Noise levels, descending to 0."""
    fps: float = 16.0
    """Pixel frames per second."""
    kv_dtype: torch.dtype | None = None
    """Type in which keys and values are kept; None is that of the weights, `torch.float8_e4m3fn` halves bfloat16."""
    commit: Literal["exact", "last_predict"] = "exact"
    """`exact` writes the history from the refined block, by a forward of its own; `last_predict` keeps what the last
    denoising forward saw, which saves a quarter of the work and is another answer."""
    history_layers: tuple[int, ...] | None = None
    """Layers that see the history; None is all. The others see the sink right before the block."""

    def __post_init__(self) -> None:
        if self.block_frames < 1 or self.sink_frames < 1 or self.kv_max_frames < 1:
            raise ValueError(
                f"block_frames, sink_frames and kv_max_frames must be at least 1; got {self.block_frames}, "
                f"{self.sink_frames} and {self.kv_max_frames}."
            )
        if not self.fps > 0:
            raise ValueError(f"fps must be positive; got {self.fps}.")
        if self.commit not in ("exact", "last_predict"):
            raise ValueError(f"commit must be 'exact' or 'last_predict'; got {self.commit!r}.")
        object.__setattr__(self, "sigmas", check_sigmas(self.sigmas))

    @property
    def history_frames(self) -> int:
        """Latent frames of history in a full window."""
        return max(0, self.kv_max_frames - self.sink_frames)

    def layers_with_history(self, layers: int) -> tuple[int, ...]:
        """Layers that have a history, of so many."""
        return tuple(range(layers)) if self.history_layers is None else self.history_layers

    def nbytes(self, config: RefinerConfig, tokens: int, dtype: torch.dtype) -> int:
        """Bytes of one slot's keys and values, from its first block on.

        Args:
            config: The network's.
            tokens: Of a latent frame.
            dtype: Of the weights.
        """
        layers = config.layers * self.sink_frames
        layers += len(self.layers_with_history(config.layers)) * self.history_frames
        return 2 * layers * tokens * config.width * (self.kv_dtype or dtype).itemsize


def _refuse(values: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    """Refuse settings that are there and not as wanted."""
    wrong = {name: values[name] for name, value in wanted.items() if name in values and values[name] != value}
    if wrong:
        given = ", ".join(f"{name} {value!r} (not {wanted[name]!r})" for name, value in wrong.items())
        raise ValueError(
            f"the refiner's config {what}: {given}. Use the refiner of a SANA-WM release, an LTX-2 19B model."
        )
