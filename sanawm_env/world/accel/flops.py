"""How much arithmetic a chunk costs, in closed form; the tests hold it against torch's own counter.

A multiplication with its addition counts as two operations. Matrix products and convolutions are counted,
elementwise work (norms, activations, rotary turns, ray matrices) is not: so does torch's `FlopCounterMode`.
Counting one call of the release that way, on the meta device, gives the same number and takes seconds; `sanawm doctor`
asks for a whole clip, and should answer at once.
Symbols as in docs/model.md: T latent frames in the call, S tokens per frame, N = T*S, C width, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from sanawm_env.world.networks.config import SanaWMConfig

__all__ = ["Flops", "chunk_flops", "chunk_lengths", "clip_flops", "forward_flops"]


@dataclass(frozen=True)
class Flops:
    """Operations of one slot, by kind."""

    linear: int = 0
    """Projections, embedders and the feed-forward layer's pointwise and temporal products."""
    depthwise: int = 0
    """The 3x3 convolution."""
    softmax: int = 0
    """Scores and sums of the softmax blocks, main and camera branch."""
    text: int = 0
    """Scores and sums of the cross-attention."""
    delta_rule: int = 0
    """Writes, erasures, scans and reads of the gated delta rule, main and camera branch."""
    rays: int = 0
    """UCPE's 4x4 products."""

    @property
    def total(self) -> int:
        """All kinds together."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __add__(self, other: Flops) -> Flops:
        return Flops(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> Flops:
        return Flops(*(getattr(self, f.name) * times for f in fields(self)))

    def to_dict(self) -> dict[str, int]:
        """JSON-ready, `total` included."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"total": self.total}


def forward_flops(
    config: SanaWMConfig, frames: int, tokens: int, *, text_length: int | None = None, streaming: bool = True
) -> Flops:
    """One call of the transformer for one slot, with camera and (where the model has it) text.

    Args:
        config: The transformer.
        frames: Latent frames T of the call, one chunk.
        tokens: Tokens per frame S, rows times columns.
        text_length: Text tokens; None is the config's.
        streaming: Softmax blocks also see the window, whose empty places are computed and hidden. False is a
            call without a cache (bidirectional).
    """
    c, d, h, m = config.hidden_size, config.head_dim, config.heads, config.mlp_width
    n = frames * tokens
    length = (config.text_length if text_length is None else text_length) if config.caption_channels else 0
    patch = config.in_channels * config.patch_size[0] * config.patch_size[1]
    embedders = 2 * n * c * (patch + config.plucker_channels) + 2 * n * c * patch
    if config.anchor:  # the hint comes in like latents with one more channel, and goes past the blocks to each channel
        embedders += 2 * n * c * (patch + patch // config.in_channels) + 2 * n * c * config.in_channels
    embedders += 2 * frames * c * (256 + c + 6 * c) + 2 * length * c * (config.caption_channels + c)
    total = Flops(linear=embedders)

    # qkv 3, proj, output gate, four of the camera branch, the Plücker projection: all N x C x C.
    linear = 2 * n * c * c * 10
    linear += 2 * n * c * 3 * m + 2 * n * c * 3 * c  # feed-forward: 2M in, M out; three temporal taps
    cross = 0
    if config.caption_channels:
        linear += 2 * n * c * c * 2 + 2 * length * c * 2 * c
        cross = 4 * n * length * c
    # Query, key, value and output: half of every head in groups of four.
    shared = Flops(linear=linear, depthwise=2 * n * 2 * m * 9, text=cross, rays=4 * (2 * n * (c // 2) * 4))

    keys = (frames + (config.window_capacity if streaming else 0)) * tokens
    softmax = Flops(softmax=2 * 4 * n * keys * c)
    # Forwards over T frames, backwards over T - 1 of which the first is a bare write.
    advances = frames + max(frames - 2, 0)
    products = 2 * n * c * d * (3 + 1) + 2 * n * c * 2  # erase, write, normaliser's erase, read; mass and its read
    products += 2 * n * c * d * 3  # camera branch: erase, write, read; it has no normaliser
    scans = advances * 2 * h * d * d * (d + 1 + d)
    gates = 2 * n * c * h + 2 * frames * c * h
    delta = Flops(linear=gates, delta_rule=products + scans)
    for block in range(config.depth):
        total += shared + (softmax if config.is_softmax(block) else delta)
    return total


def chunk_flops(
    config: SanaWMConfig, frames: int, tokens: int, *, steps: int = 4, text_length: int | None = None
) -> Flops:
    """One streaming chunk of one slot: `steps` denoising calls and the call that commits.

    Args:
        config: The transformer.
        frames: Latent frames of the chunk; the first chunk of the release has one more.
        tokens: Tokens per frame.
        steps: Denoising calls.
        text_length: Text tokens; None is the config's.
    """
    return forward_flops(config, frames, tokens, text_length=text_length) * (steps + 1)


def chunk_lengths(config: SanaWMConfig, latent_frames: int) -> Iterator[int]:
    """Latent frames of each chunk of a clip; the last may be short.

    Args:
        config: Decides about the first chunk.
        latent_frames: Of the clip, frame 0 included.
    """
    first = 1 if config.first_chunk == "alone" else config.chunk_frames + 1
    done = min(first, latent_frames)
    yield done
    while done < latent_frames:
        length = min(config.chunk_frames, latent_frames - done)
        yield length
        done += length


def clip_flops(
    config: SanaWMConfig, latent_frames: int, tokens: int, *, steps: int = 4, text_length: int | None = None
) -> Flops:
    """A whole streaming clip of one slot; 121 latent frames are 961 pixel frames, a minute of the release.

    With `first_chunk="alone"` frame 0 is given and only committed.
    """
    total = Flops()
    for index, frames in enumerate(chunk_lengths(config, latent_frames)):
        given = index == 0 and config.first_chunk == "alone"
        calls = 0 if given else steps
        total += chunk_flops(config, frames, tokens, steps=calls, text_length=text_length)
    return total
