"""The video VAE protocol, and the small VAE of the built-in world.

Both VAEs of this project (this one and the release's, `ltx_vae`) decode as a pure function: what a decoder
remembers between chunks is passed in and handed back, with a leading slot axis.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tails = dict[str, Tensor]


class VideoVAE(Protocol):
    """What `WorldModel` needs of a video VAE."""

    latent_channels: int
    temporal_stride: int
    spatial_stride: int

    def encode(self, frames: Tensor) -> Tensor:
        """`(B, 3, F, H, W)` in [-1, 1] to `(B, C, T, h, w)`, F = 1 + stride*(T-1)."""
        ...

    def init_tails(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        compact: bool = False,
    ) -> Tails:
        """Decoder memory at the start of a stream, for a latent grid `height` x `width`; `compact` is the least."""
        ...

    def decode(self, latents: Tensor, tails: Tails) -> tuple[Tensor, Tails]:
        """`(B, C, T, h, w)` to frames `(B, 3, F, H, W)`, about [-1, 1], and the memory afterwards."""
        ...


@dataclass(frozen=True)
class TinyVAEConfig:
    """Sizes of `TinyVAE`."""

    channels: int = 32
    """Latent channels."""
    pool: int = 2
    """Frames are averaged over pool x pool pixels before the block transform."""
    block: int = 8
    """Pooled pixels per latent, each way."""
    frames: int = 4
    """Pixel frames per latent after the first."""
    whiten: float = 0.5
    """Latent channel i is divided by its standard deviation to this power: 0 keeps the spectrum of images
    (fine channels drown in noise first), 1 makes all channels equally loud."""
    width: int = 64
    """Channels of the decoder's refinement network at latent resolution; 0 leaves the decoder linear."""
    anchor: bool = False
    """The refinement network also sees the given image warped to each frame (`anchor.views`), and may copy it."""


class TinyVAE(nn.Module):
    """A linear block transform as encoder and a small convolutional decoder.

    The encoder projects blocks of `frames x block x block` pooled pixels on the leading eigenvectors of their
    covariance (a Karhunen-Loève transform): optimal among linear codes, fitted in a minute, and without
    channels that look like noise. The first image is coded as a block of equal frames, so that a still and a
    moving latent mean the same. The decoder adds to the linear synthesis what a small network predicts from
    this latent and the one before, which is the decoder's only memory.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.channels
        self.temporal_stride = config.frames
        self.spatial_stride = config.pool * config.block
        size = 3 * config.frames * config.block**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("analysis", torch.zeros(config.channels, size))
        self.register_buffer("synthesis", torch.zeros(size, config.channels))
        self.refine = Refine(config) if config.width else None

    def encode(self, frames: Tensor) -> Tensor:
        """Code frames; the first becomes latent 0, every later group of `temporal_stride` one latent.

        Args:
            frames: `(B, 3, F, H, W)` in [-1, 1], F = 1 + temporal_stride * n.

        Returns:
            `(B, channels, 1 + n, H / spatial_stride, W / spatial_stride)`.

        Raises:
            ValueError: Frame count or size does not fit the strides.
        """
        stride, space = self.temporal_stride, self.spatial_stride
        count, height, width = frames.shape[2:]
        if (count - 1) % stride or height % space or width % space:
            raise ValueError(
                f"Frames must number 1 + {stride}n and be multiples of {space} px; got {count} of {height}x{width}."
            )
        still = frames[:, :, :1].expand(-1, -1, stride, -1, -1)
        return self.encode_blocks(torch.cat((still, frames[:, :, 1:]), dim=2))

    def encode_blocks(self, frames: Tensor) -> Tensor:
        """Code whole groups `(B, 3, stride*n, H, W)` to `(B, channels, n, h, w)`."""
        return self.encode_pooled(self.shrink(frames))

    def encode_pooled(self, frames: Tensor) -> Tensor:
        """Code whole groups of frames that `shrink` has pooled."""
        return ((self.patches(frames) - self.mean) @ self.analysis.T).permute(0, 4, 1, 2, 3)

    def shrink(self, frames: Tensor) -> Tensor:
        """Average `(B, 3, F, H, W)` over pool x pool pixels."""
        pool = self.config.pool
        if pool == 1:
            return frames
        # avg_pool3d has no bfloat16 kernel on CPU.
        return frames.unflatten(4, (-1, pool)).unflatten(3, (-1, pool)).float().mean((4, 6)).to(frames.dtype)

    def patches(self, frames: Tensor) -> Tensor:
        """Cut pooled frames `(B, 3, stride*n, h*block, w*block)` into blocks `(B, n, h, w, values)`."""
        c = self.config
        batch, _, count, height, width = frames.shape
        x = frames.reshape(batch, 3, count // c.frames, c.frames, height // c.block, c.block, width // c.block, c.block)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)

    def unpatch(self, x: Tensor) -> Tensor:
        """Inverse of `patches` up to the pooling: `(B, n, h, w, values)` to `(B*n, 3*stride, H/pool, W/pool)`."""
        c = self.config
        batch, count, height, width, _ = x.shape
        x = x.reshape(batch * count, height, width, 3, c.frames, c.block, c.block)
        return x.permute(0, 3, 4, 1, 5, 2, 6).reshape(batch * count, 3 * c.frames, height * c.block, width * c.block)

    def init_tails(
        self,
        batch: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        compact: bool = False,
    ) -> Tails:
        """Empty memory: the latent before, and whether there was one. It is `compact` as it is."""
        device = device if device is not None else self.mean.device
        dtype = dtype if dtype is not None else self.mean.dtype
        return {
            "latent": torch.zeros(batch, self.latent_channels, height, width, device=device, dtype=dtype),
            "started": torch.zeros(batch, dtype=torch.bool, device=device),
        }

    def decode(self, latents: Tensor, tails: Tails, views: Tensor | None = None) -> tuple[Tensor, Tails]:
        """Decode the next latents of a stream.

        Args:
            latents: `(B, channels, T, h, w)`.
            tails: From `init_tails` or the call before; all slots at the start of a stream, or none.
            views: `(B, 4, stride*T, H, W)` of `anchor.anchor_views`; with `config.anchor` only. None
                is an anchor that shows nothing.

        Returns:
            Frames `(B, 3, F, H, W)`, F = stride*T, or 1 + stride*(T-1) at the start of a stream; new tails.

        Raises:
            ValueError: Wrong channels, or slots in different phases.
        """
        if latents.ndim != 5 or latents.shape[1] != self.latent_channels:
            raise ValueError(f"Expected latents (B, {self.latent_channels}, T, h, w), got {tuple(latents.shape)}.")
        started = tails["started"]
        first = not bool(started.any())
        if not first and not bool(started.all()):
            raise ValueError("All slots of one decode call must be at the start of their stream, or none.")
        previous = latents[:, :, :1] if first else tails["latent"].unsqueeze(2).to(latents.dtype)
        before = torch.cat((previous, latents[:, :, :-1]), dim=2)
        frames = self.decode_blocks(latents, before, views)
        if first:
            frames = frames[:, :, self.temporal_stride - 1 :]
        return frames, {"latent": latents[:, :, -1].clone(), "started": torch.ones_like(started)}

    def decode_blocks(self, latents: Tensor, before: Tensor, views: Tensor | None = None) -> Tensor:
        """Decode latents `(B, C, n, h, w)` given their predecessors (and see `decode`), to `(B, 3, stride*n, H, W)`."""
        batch, _, count = latents.shape[:3]
        linear = self.unpatch(latents.permute(0, 2, 3, 4, 1) @ self.synthesis.T + self.mean)
        if self.refine is not None:
            both = torch.cat((latents, before), dim=1).transpose(1, 2).flatten(0, 1)
            seen = None
            if self.config.anchor:
                if views is None:
                    size = (side * self.config.pool for side in linear.shape[2:])
                    views = latents.new_zeros(batch, 4, count * self.temporal_stride, *size)
                # (B, 4, n*stride, H, W) to (B*n, 4*stride, H, W): every latent's frames, colour by colour.
                seen = views.to(latents.dtype).unflatten(2, (count, -1)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
            image = self.refine(both, linear, seen)
        else:
            image = (
                F.interpolate(linear, scale_factor=self.config.pool, mode="bilinear")
                if self.config.pool > 1
                else linear
            )
        return image.unflatten(0, (batch, count)).unflatten(2, (3, -1)).transpose(1, 2).flatten(2, 3)


class Refine(nn.Module):
    """Removes block edges and sharpens: latent features upsampled, joined with the linear synthesis."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        width, images = config.width, 3 * config.frames
        fold = 4  # the network works on 4x4 px cells of the pooled image
        self.fold, self.pool = fold, config.pool
        up = config.block // fold
        self.head = nn.Sequential(
            nn.Conv2d(2 * config.channels, 2 * width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, width * up**2, 3, padding=1), nn.PixelShuffle(up),
        )  # fmt: skip
        self.mix = nn.Conv2d(width + (images + (4 * config.frames if config.anchor else 0)) * fold**2, width, 1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(2)
        )
        out = images * (fold * config.pool) ** 2
        self.tail = nn.Conv2d(width, out, 3, padding=1)
        if config.anchor:
            self.copy = nn.Conv2d(width, config.frames * (fold * config.pool) ** 2, 3, padding=1)
        with torch.no_grad():  # start as the linear decoder
            for p in (*self.tail.parameters(), *(self.copy.parameters() if config.anchor else ())):
                p.zero_()

    def forward(self, latents: Tensor, linear: Tensor, views: Tensor | None = None) -> Tensor:
        """Latent pairs `(N, 2C, h, w)` and linear frames `(N, 3*stride, H/pool, W/pool)` to `(N, 3*stride, H, W)`.

        With an anchor, `views` `(N, 4*stride, H, W)`: red, green, blue and seen, each of all frames.
        """
        known = linear if views is None else torch.cat((linear, F.avg_pool2d(views, self.pool)), dim=1)
        x = self.mix(torch.cat((self.head(latents), F.pixel_unshuffle(known, self.fold)), dim=1))
        for block in self.body:
            x = x + block(F.silu(x))
        base = F.interpolate(linear, scale_factor=self.pool, mode="bilinear") if self.pool > 1 else linear
        if views is not None:  # how much of each pixel is the warped one
            colour, seen = views[:, : linear.shape[1]], views[:, linear.shape[1] :]
            share = seen * F.pixel_shuffle(self.copy(F.silu(x)), self.fold * self.pool)
            base = base + share.repeat(1, 3, 1, 1) * (colour - base)
        return base + F.pixel_shuffle(self.tail(F.silu(x)), self.fold * self.pool)


def build_vae(settings: dict[str, Any]) -> nn.Module:
    """Build the VAE that a checkpoint names: `{"kind": "tiny" | "ltx2", ...}`.

    Raises:
        ValueError: Unknown kind or setting.
    """
    settings = dict(settings)
    kind = settings.pop("kind", None)
    if kind == "tiny":
        known = {field.name for field in dataclasses.fields(TinyVAEConfig)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"Unknown TinyVAE settings {unknown}; was the checkpoint written by a newer version?")
        return TinyVAE(TinyVAEConfig(**settings))
    if kind == "ltx2":
        from sanawm_env.world.networks.vae.ltx import LTXVAEConfig, LTXVideoVAE

        return LTXVideoVAE(LTXVAEConfig.from_dict(settings))
    raise ValueError(f"Unknown VAE kind {kind!r}; known: 'tiny', 'ltx2'.")
