"""Sizes and switches of the SANA-WM diffusion transformer.

Upstream's three code generations are not numerically identical (docs/model.md, "Generations"). Wherever they
disagree there is a named switch here, so that one class reproduces each of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["streaming", "chunk_causal", "bidirectional"]
SoftmaxScale = Literal["head", "padded"]


@dataclass(frozen=True)
class SanaWMConfig:
    """Everything that decides the shape and the arithmetic of `SanaWMTransformer`."""

    depth: int = 20
    """Number of blocks."""
    hidden_size: int = 2240
    """Width C of the residual stream."""
    head_dim: int = 112
    """Width D of one head, self, camera and cross attention alike; a multiple of 8."""
    in_channels: int = 128
    """Latent channels, in and out."""
    patch_size: tuple[int, int] = (1, 1)
    """Latent rows and columns that make one token."""
    mlp_ratio: float = 3.0
    """Width of the gated feed-forward layer over C."""
    caption_channels: int = 2304
    """Width of the text embeddings; 0 builds a model without text conditioning."""
    text_length: int = 300
    """Number of text tokens, padding included."""
    temporal_stride: int = 8
    """Pixel frames per latent frame; the Plücker input has 6 channels for each."""
    softmax_every_n: int = 4
    """Block i uses softmax attention when (i + 1) % n == 0, a gated delta rule otherwise."""
    conv_kernel_size: int = 4
    """Taps of the temporal short convolution on the keys."""
    pos_embed_tokens: int = 484
    """Length of the vestigial `pos_embed` buffer of the release (unused); 0 leaves it out."""
    release_buffers: bool = True
    """Keep parameters which the release stores but never reads (`raymap_embedder`, `recall_gate`, ...)."""

    # Chunks and the softmax window.
    chunk_frames: int = 3
    """Latent frames per chunk after the first."""
    first_chunk: Literal["plus_one", "alone"] = "plus_one"
    """`plus_one`: the first chunk is frame 0 and one whole chunk (release). `alone`: frame 0 by itself."""
    cached_chunks: int = 2
    """Chunks whose softmax keys stay visible, the sink counted in; used when `window_frames` is 0."""
    sink: bool = True
    """Keep the whole first chunk visible for ever (release). Only with `window_frames` 0."""
    window_frames: int = 0
    """If positive, the window is counted in latent frames instead of chunks: frame 0 and the last n."""
    max_cached_frames: int = 0
    """Capacity of the window in latent frames; 0 computes it. Needed for `cached_chunks=-1` (keep all)."""

    # Where the generations of the reference disagree.
    softmax_scale: SoftmaxScale = "padded"
    """Main softmax logits: D^-0.5 (`head`), or 128^-0.5 from zero padding the head (`padded`)."""
    camera_softmax_scale: SoftmaxScale = "padded"
    """The same for the camera branch."""
    camera_conv_tail: bool = False
    """Carry the camera key convolution across chunks (G2) or isolate each chunk (G1, the golden vectors)."""
    camera_downscale: bool = False
    """Scale UCPE-transformed vectors back to their RMS before the transform (bidirectional release, diffusers)."""
    truncate_timesteps: bool = True
    """Cast timesteps to integer before the sinusoid, as upstream does."""
    chunk_causal_softmax: Literal["full", "window"] = "full"
    """Softmax blocks in `chunk_causal` mode: every frame sees every frame (upstream), or sink and window
    exactly as `streaming` sees them (what our trainer uses, so that training equals streaming)."""
    attention_dtype: Literal["float32", "bfloat16"] = "float32"
    """Cast of q, k and v before softmax attention; upstream ships bfloat16."""
    anchor: bool = False
    """Show the network the given image, warped to where the camera is (`networks.anchor.views`); no release does."""
    keyframes: int = 0
    """Frames of its own that the anchor keeps beside the given image (`networks.anchor.keyframes`)."""
    reflections: int = 0
    """Reflections of the given image that continue the anchor, half on each side (`networks.anchor.reflections`): four
    go all the way round from a field of view of 72 degrees on. They need no training."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.head_dim or self.head_dim % 8:
            raise ValueError(
                f"head_dim {self.head_dim} must be a multiple of 8 that divides hidden_size {self.hidden_size}."
            )
        if self.chunk_frames < 1 or self.depth < 1:
            raise ValueError("chunk_frames and depth must be at least 1.")
        if self.cached_chunks == 0 or self.cached_chunks < -1:
            raise ValueError(f"cached_chunks must be positive, or -1 to keep all; got {self.cached_chunks}.")
        if self.keyframes < 0 or (self.keyframes and not self.anchor):
            raise ValueError(f"keyframes must be 0, or positive in an anchored world; got {self.keyframes}.")
        if self.reflections < 0 or self.reflections % 2 or (self.reflections and (not self.anchor or self.keyframes)):
            raise ValueError(
                f"reflections must be 0, or even and positive in an anchored world without keyframes; got "
                f"{self.reflections}."
            )
        if self.cached_chunks == -1 and not self.window_frames and not self.max_cached_frames:
            raise ValueError("cached_chunks=-1 keeps every chunk: set max_cached_frames to the longest rollout.")

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.hidden_size // self.head_dim

    @property
    def mlp_width(self) -> int:
        """Width of the feed-forward layer after gating."""
        return int(self.hidden_size * self.mlp_ratio)

    @property
    def plucker_channels(self) -> int:
        """Channels of the chunk Plücker input."""
        return 6 * self.temporal_stride

    @property
    def window_capacity(self) -> int:
        """Latent frames held by the softmax window, sink included."""
        if self.max_cached_frames:
            return self.max_cached_frames
        if self.window_frames:
            return 1 + self.window_frames
        first = 1 if self.first_chunk == "alone" else self.chunk_frames + 1
        return first + (self.cached_chunks - 1) * self.chunk_frames

    def is_softmax(self, block: int) -> bool:
        """Whether block `block` (0-based) is a softmax block."""
        return (block + 1) % self.softmax_every_n == 0

    def replace(self, **changes: Any) -> SanaWMConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SanaWMConfig:
        """Build from `to_dict`'s output.

        Raises:
            ValueError: A key is unknown, which means a file of another version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"Unknown model config keys {unknown}; was the file written by a newer version?")
        values = dict(values)
        if "patch_size" in values:
            values["patch_size"] = tuple(values["patch_size"])
        return cls(**values)


RELEASE = SanaWMConfig()
"""The streaming release, `SANA-WM_streaming` (docs/model.md, "Sizes")."""

RELEASE_BIDIRECTIONAL = SanaWMConfig(softmax_scale="head", camera_downscale=True, camera_conv_tail=True)
"""The bidirectional release as diffusers runs it (docs/model.md, "Generations")."""


def padded_head_dim(head_dim: int) -> int:
    """Head width after upstream's zero padding for flash kernels (docs/model.md, "Softmax blocks")."""
    if head_dim in (32, 64, 128, 256):
        return head_dim
    return 128 if head_dim < 128 else 256


def softmax_scale(rule: SoftmaxScale, head_dim: int) -> float:
    """Factor on the attention logits under `rule`."""
    return (head_dim if rule == "head" else padded_head_dim(head_dim)) ** -0.5
