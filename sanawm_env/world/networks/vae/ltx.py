"""The release's VAE: causal LTX-2 video autoencoder, with a decoder whose streaming state is a value.

The network is diffusers' `AutoencoderKLLTX2Video` (extra `release`), imported when a VAE is built and not
before. Upstream's own class is `AutoencoderKLCausalLTX2Video` in NVlabs/Sana
`diffusion/model/ltx2/causal_vae.py`, with the same state-dict keys. Facts: docs/model.md,
"Video autoencoder".
"""

from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sanawm_env.world.networks.vae.ltx_config import LTXVAEConfig, Tiling
from sanawm_env.world.networks.vae.ltx_stream import Tails, check_tails, decoder_strides, empty_tails, stream_decode
from sanawm_env.world.networks.vae.ltx_window import LATENTS, decode_windows, empty_window


class LTXVideoVAE(nn.Module):
    """Causal LTX-2 video VAE: pixels in [-1, 1] <-> normalised latents, decoding without hidden state.

    Weights start untrained, frozen and in eval mode; load them with `load_state_dict` or `from_files`.
    State-dict keys and shapes equal diffusers' `AutoencoderKLLTX2Video`.

    On the CPU slots run one after another: a batched convolution may choose another summation order than a
    batch of one, and a slot's frames must not depend on how many neighbours it has. On other devices slots
    run together and agree with a batch of one up to rounding.
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: LTXVAEConfig | None = None, tiling: Tiling | None = None) -> None:
        """Build the network.

        Args:
            config: Architecture; None is the release's.
            tiling: How `encode` cuts large frames; None is the release's 512/448 px.

        Raises:
            ImportError: diffusers is not installed.
            ValueError: The config's compression ratios or the tiling contradict the layers.
        """
        super().__init__()
        self.config = config or LTXVAEConfig()
        self.tiling = tiling or Tiling()
        network = _diffusers_class()(**self.config.to_diffusers())
        self.encoder: Any = network.encoder
        self.decoder: Any = network.decoder
        self.register_buffer("latents_mean", network.latents_mean)
        self.register_buffer("latents_std", network.latents_std)

        self.latent_channels: int = self.config.latent_channels
        """C of the latents."""
        self.temporal_stride: int
        """Pixel frames per latent frame, after the first."""
        self.spatial_stride: int
        """Pixels per latent cell side."""
        self.temporal_stride, self.spatial_stride = decoder_strides(self.decoder)
        self._check_ratios()
        # Never trained here; with gradients on, tails would hold the graph of the whole episode.
        self.requires_grad_(False).eval()

    @classmethod
    def from_files(
        cls,
        config: str | PathLike[str],
        weights: str | PathLike[str],
        tiling: Tiling | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> "LTXVideoVAE":
        """Load `config.json` and a safetensors file as diffusers writes them.

        Args:
            config: The JSON file.
            weights: The safetensors file.
            tiling: See `__init__`.
            dtype: Type of the weights; None keeps the file's.
            device: Where the weights go.

        Raises:
            ValueError: Unknown config key, unreadable weights, or weights of another architecture.
        """
        with torch.device("meta"):  # no time and memory for an initialisation that the file replaces
            vae = cls(LTXVAEConfig.from_json(config), tiling)
        try:
            state = load_file(weights, device=str(device))
        except SafetensorError as error:
            raise ValueError(f"{weights} is not a whole safetensors file: {error}") from error
        expected = vae.state_dict()
        wrong = sorted(
            name
            for name in expected.keys() | state.keys()
            if name not in expected or name not in state or expected[name].shape != state[name].shape
        )
        if wrong:
            raise ValueError(
                f"{weights} holds the weights of another LTX-2 VAE than {config} describes: {len(wrong)} "
                f"tensors are missing, unknown or of another shape, the first are {wrong[:3]}"
            )
        vae.load_state_dict(state, assign=True)
        return vae.requires_grad_(False).to(dtype=dtype)

    def encode(self, frames: Tensor) -> Tensor:
        """Encode a clip, or one image as a clip of one frame, to the posterior's mode.

        Args:
            frames: (B, 3, F, H, W) float in [-1, 1]; F = 1 + temporal_stride * k, H and W multiples of
                spatial_stride. Frames larger than `tiling.size` are encoded in tiles.

        Returns:
            Normalised latents (B, C, k + 1, H / spatial_stride, W / spatial_stride).

        Raises:
            ValueError: Any other shape or type.
        """
        return self.normalize(self.encode_moments(frames)[:, : self.latent_channels])

    def encode_moments(self, frames: Tensor) -> Tensor:
        """Return the posterior (B, 2C, T, h, w), mean then log-variance, raw; arguments as `encode`."""
        self._check_frames(frames)
        frames = frames.to(self._weight.device, self._weight.dtype)
        return torch.cat([self._encode_slots(slots) for slots in frames.split(self._slots_per_run(frames))])

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
        """Make the decoder state of streams that have not begun.

        Args:
            batch: Number of slots.
            height: Rows of the latent grid.
            width: Columns of the latent grid.
            device: None is the weights' device.
            dtype: None is the weights' type. `decode` accepts only that type.
            compact: Remember the last latents in place of the layers' inputs, which every decode then computes again
                (`ltx_window`): 10 MB in place of 595.

        Returns:
            Per causal convolution a zero tensor (batch, C_in, k_t - 1, rows, columns), and `started` (batch,)
            bool. Shapes, and so bytes, stay the same for the whole stream: 595 MB per slot for the release at
            704x1280 in bfloat16.

        Raises:
            ValueError: A size that the decoder cannot run at.
        """
        # Reflection at the border mirrors one cell, so one row alone has nothing to mirror.
        smallest = 2 if self.config.decoder_spatial_padding_mode == "reflect" else 1
        if batch < 1 or min(height, width) < smallest:
            raise ValueError(
                f"cannot make tails for {batch} slots of {height}x{width} latents: "
                f"at least 1 slot and a {smallest}x{smallest} grid are needed"
            )
        weight, make = self._weight, empty_window if compact else empty_tails
        return make(self.decoder, batch, height, width, device or weight.device, dtype or weight.dtype)

    def decode(self, latents: Tensor, tails: Tails) -> tuple[Tensor, Tails]:
        """Decode the next piece of each slot's stream. Pure: the same arguments give the same frames.

        Args:
            latents: (B, C, T, H, W) normalised, T >= 1. Pieces may have any length.
            tails: Of `init_tails` or of the decode before; not modified. All slots must be at the start of
                their stream, or all within it.

        Returns:
            Frames (B, 3, F, H * spatial_stride, W * spatial_stride), nominally in [-1, 1] and not clamped,
            with F = 1 + temporal_stride * (T - 1) for the first piece and temporal_stride * T afterwards; and
            the tails that continue the stream.

        Raises:
            ValueError: Wrong shape of the latents, tails that do not fit them, or slots in both phases.
        """
        if latents.ndim != 5 or latents.shape[1] != self.latent_channels or latents.numel() == 0:
            raise ValueError(
                f"latents must be (B, {self.latent_channels}, T, H, W) with B, T, H, W >= 1, got {tuple(latents.shape)}"
            )
        if not latents.is_floating_point():
            raise ValueError(f"latents must be floating point, got {latents.dtype}")
        if LATENTS in tails:
            return decode_windows(self, latents.to(self._weight), tails)
        started = check_tails(self.decoder, latents, tails)
        latents = self.denormalize(latents.to(self._weight.device)).to(self._weight.dtype)
        n = self._slots_per_run(latents)
        runs = []
        for i in range(0, len(latents), n):
            slots = {name: tail[i : i + n] for name, tail in tails.items()}
            runs.append(stream_decode(self.decoder, latents[i : i + n], slots, started))
        if len(runs) == 1:
            return runs[0]
        return torch.cat([frames for frames, _ in runs]), {
            name: torch.cat([after[name] for _, after in runs]) for name in runs[0][1]
        }

    def normalize(self, latents: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (latents - mean) * scaling_factor / std, per channel; float32 inside."""
        mean, std = self._statistics()
        return ((latents.float() - mean) * self.config.scaling_factor / std).to(latents.dtype)

    def denormalize(self, latents: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        mean, std = self._statistics()
        return (latents.float() * std / self.config.scaling_factor + mean).to(latents.dtype)

    @property
    def _weight(self) -> Tensor:
        return self.decoder.conv_in.conv.weight

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and std as float32 (1, C, 1, 1, 1)."""
        shape = (1, -1, 1, 1, 1)
        return self.latents_mean.float().view(shape), self.latents_std.float().view(shape)

    @staticmethod
    def _slots_per_run(batch: Tensor) -> int:
        return 1 if batch.device.type == "cpu" else len(batch)

    def _encode_slots(self, frames: Tensor) -> Tensor:
        if max(frames.shape[-2:]) <= self.tiling.size:
            return self.encoder(frames, causal=True)
        size, stride = self.tiling.size, self.tiling.stride
        keep, overlap = stride // self.spatial_stride, (size - stride) // self.spatial_stride
        above: list[Tensor] = []
        strips = []
        for y in range(0, frames.shape[-2], stride):
            row: list[Tensor] = []
            for x in range(0, frames.shape[-1], stride):
                tile = self.encoder(frames[..., y : y + size, x : x + size], causal=True)
                if above:
                    tile = _blend(above[len(row)], tile, overlap, dim=-2)
                if row:
                    tile = _blend(row[-1], tile, overlap, dim=-1)
                row.append(tile)
            strips.append(torch.cat([tile[..., :keep, :keep] for tile in row], dim=-1))
            above = row
        return torch.cat(strips, dim=-2)

    def _check_ratios(self) -> None:
        for name, actual in (
            ("spatial_compression_ratio", self.spatial_stride),
            ("temporal_compression_ratio", self.temporal_stride),
        ):
            stated = getattr(self.config, name)
            if stated is not None and stated != actual:
                raise ValueError(f"config says {name}={stated}, its decoder layers give {actual}")
        for name in ("size", "stride"):
            if getattr(self.tiling, name) % self.spatial_stride:
                raise ValueError(f"tiling {name} must be a multiple of {self.spatial_stride} px: {self.tiling}")

    def _check_frames(self, frames: Tensor) -> None:
        if not frames.is_floating_point():
            raise ValueError(f"frames must be float in [-1, 1], not {frames.dtype}; for uint8 use x / 127.5 - 1")
        r, s, channels = self.temporal_stride, self.spatial_stride, self.config.in_channels
        if (
            frames.ndim != 5
            or frames.numel() == 0
            or frames.shape[1] != channels
            or frames.shape[2] % r != 1 % r
            or frames.shape[3] % s
            or frames.shape[4] % s
        ):
            raise ValueError(
                f"frames must be (B, {channels}, 1 + {r}k, H, W) with H and W multiples of {s}, "
                f"got {tuple(frames.shape)}"
            )


def _blend(before: Tensor, after: Tensor, overlap: int, dim: int) -> Tensor:
    """Fade from the end of one tile to the beginning of its neighbour; (B, C, T, h, w), `dim` -2 or -1."""
    n = min(overlap, before.shape[dim], after.shape[dim])
    # 0, 1/n, .. (n-1)/n: the first shared cell is all of the earlier tile (diffusers' blend_v and blend_h).
    ramp = torch.arange(n, device=after.device, dtype=after.dtype) / max(n, 1)
    ramp = ramp if dim == -1 else ramp[:, None]
    end = before.narrow(dim, before.shape[dim] - n, n)
    begin, rest = after.narrow(dim, 0, n), after.narrow(dim, n, after.shape[dim] - n)
    return torch.cat([end * (1 - ramp) + begin * ramp, rest], dim=dim)


def _diffusers_class() -> Any:
    """Import diffusers' class on first use: the built-in world must not pay for it, or need it."""
    try:
        from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
    except ImportError as error:
        raise ImportError(
            'the LTX-2 video VAE of the release needs diffusers: pip install "sanawm_env[release]"'
        ) from error
    return AutoencoderKLLTX2Video
