"""Settings of the release's VAE: the network's sizes, and the tiles that large frames are encoded in."""

import json
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

_UPSTREAM_NAMES = {"decoder_upsample_type": "upsample_type"}
_NOT_ARCHITECTURE = {"gradient_checkpointing"}


@dataclass(frozen=True)
class LTXVAEConfig:
    """Constructor arguments of the LTX-2 VAE; the defaults are the release's.

    Names are diffusers'; the values: docs/model.md, "Video autoencoder".
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 128
    block_out_channels: tuple[int, ...] = (256, 512, 1024, 2048)
    """Encoder width after each of its blocks."""
    decoder_block_out_channels: tuple[int, ...] = (256, 512, 1024)
    """Decoder widths, listed from pixels to latents."""
    layers_per_block: tuple[int, ...] = (4, 6, 6, 2, 2)
    """Residual blocks per encoder block, the middle block last."""
    decoder_layers_per_block: tuple[int, ...] = (5, 5, 5, 5)
    spatio_temporal_scaling: bool | tuple[bool, ...] = (True, True, True, True)
    decoder_spatio_temporal_scaling: bool | tuple[bool, ...] = (True, True, True)
    decoder_inject_noise: bool | tuple[bool, ...] = False
    downsample_type: tuple[str, ...] = ("spatial", "temporal", "spatiotemporal", "spatiotemporal")
    upsample_type: tuple[str, ...] | None = None
    """Per decoder block; None means "spatiotemporal" everywhere."""
    upsample_residual: bool | tuple[bool, ...] = (True, True, True)
    upsample_factor: tuple[int, ...] = (2, 2, 2)
    down_block_types: tuple[str, ...] | None = None
    """Per encoder block; None means diffusers' only type everywhere."""
    timestep_conditioning: bool = False
    patch_size: int = 4
    patch_size_t: int = 1
    resnet_norm_eps: float = 1e-6
    scaling_factor: float = 1.0
    encoder_causal: bool = True
    decoder_causal: bool = True
    encoder_spatial_padding_mode: str = "zeros"
    decoder_spatial_padding_mode: str = "reflect"
    spatial_compression_ratio: int | None = None
    """Pixels per latent cell side. Derived from the layers; if given, it must agree with them."""
    temporal_compression_ratio: int | None = None
    """Pixel frames per latent frame. Derived from the layers; if given, it must agree with them."""

    def __post_init__(self) -> None:
        """Reject what cannot stream.

        Raises:
            ValueError: A non-causal half, timestep conditioning, noise injection or temporal patches.
        """
        for name in ("encoder_causal", "decoder_causal"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name}=False: a VAE that looks at later frames cannot stream. The release's causal one "
                    "is the folder ltx2_causal_vae of SANA-WM_streaming."
                )
        noise = self.decoder_inject_noise
        if self.timestep_conditioning or noise is True or (noise and any(noise)):
            raise ValueError("timestep_conditioning and decoder_inject_noise are not supported (the release has none).")
        if self.patch_size_t != 1:
            raise ValueError(f"patch_size_t={self.patch_size_t}: only 1 is supported (the release's value).")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LTXVAEConfig":
        """Read a config in diffusers' or upstream's spelling; keys that begin with `_` are ignored.

        Raises:
            ValueError: A key that is no constructor argument of the LTX-2 VAE.
        """
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {}
        for key, value in values.items():
            name = _UPSTREAM_NAMES.get(key, key)
            if key.startswith("_") or key in _NOT_ARCHITECTURE:
                continue
            if name not in known:
                raise ValueError(f"unknown LTX-2 VAE config key '{key}'; known keys: {', '.join(sorted(known))}")
            kept[name] = tuple(value) if isinstance(value, list) else value
        return cls(**kept)

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> "LTXVAEConfig":
        """Read a `config.json` as diffusers writes it; errors as `from_dict`."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def to_diffusers(self) -> dict[str, Any]:
        """Return the keyword arguments of diffusers' `AutoencoderKLLTX2Video`."""
        values = asdict(self)
        if self.upsample_type is None:
            values["upsample_type"] = ("spatiotemporal",) * len(self.decoder_block_out_channels)
        if self.down_block_types is None:
            values["down_block_types"] = ("LTX2VideoDownBlock3D",) * len(self.block_out_channels)
        return values


@dataclass(frozen=True)
class Tiling:
    """Square encoder tiles for frames larger than one tile, blended linearly where they overlap.

    The release encodes its 704x1280 first frame this way, so another tiling gives other latents.
    """

    size: int = 512
    """Side of a tile, pixels."""
    stride: int = 448
    """Distance between neighbouring tiles, pixels; `size - stride` is the overlap."""

    def __post_init__(self) -> None:
        """Check the order of the two lengths; ValueError if stride is not in 1..size."""
        if not 0 < self.stride <= self.size:
            raise ValueError(f"tiling stride {self.stride} px must lie in 1..size ({self.size} px)")
