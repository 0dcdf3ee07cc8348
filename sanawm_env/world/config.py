"""`WorldConfig`: what turns a transformer and a video autoencoder into one steppable world."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.vae.tiny import build_vae
from sanawm_env.world.schedules import RELEASE_SIGMAS, check_sigmas

__all__ = ["WorldConfig", "check_sigmas", "small_config"]


@dataclass(frozen=True)
class WorldConfig:
    """Sizes, schedule and control limits of a world; stored as the `world` entry of a checkpoint's config."""

    model: SanaWMConfig
    """The transformer."""
    vae: dict[str, Any]
    """`kind` of the video autoencoder and its settings, as `networks.vae.tiny.build_vae` takes them."""
    height: int
    """Frame height, pixels."""
    width: int
    """Frame width, pixels."""
    fps: float = 16.0
    """Pixel frames per second."""
    sigmas: tuple[float, ...] = RELEASE_SIGMAS
    """Noise levels of the sampler: descending, ending in 0; one model call for each but the last."""
    chunk_frames: int = 3
    """Latent frames per step that an environment uses unless told otherwise."""
    max_chunk_frames: int = 3
    """Most latent frames that one step may have."""
    default_fov_deg: float = 75.0
    """Horizontal field of view, degrees, of images that come without intrinsics."""
    max_translation: float = 0.05
    """Camera translation per pixel frame that the action value 1 stands for, metres."""
    max_rotation: float = math.radians(1.2)
    """Camera rotation per pixel frame that the action value 1 stands for, radians."""
    preconditioned: bool = False
    """The network predicts an EDM-like residual instead of the bare velocity, see `sampler.denoise_chunk`."""
    name: str = "untrained"
    """Name shown to people."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or not self.fps > 0:
            raise ValueError(f"height, width and fps must be positive; got {self.height}, {self.width} and {self.fps}.")
        if not 1 <= self.chunk_frames <= self.max_chunk_frames:
            raise ValueError(
                f"chunk_frames {self.chunk_frames} must lie in 1..max_chunk_frames ({self.max_chunk_frames})."
            )
        if not self.model.window_frames and self.max_chunk_frames > self.model.chunk_frames:
            # The softmax window has room for chunks of model.chunk_frames and would drop frames silently.
            raise ValueError(
                f"max_chunk_frames {self.max_chunk_frames} exceeds the model's chunk_frames "
                f"{self.model.chunk_frames}; a window counted in chunks has no room for longer ones. "
                "Lower it, or count the window in frames (model.window_frames)."
            )
        if not 0 < self.default_fov_deg < 180:
            raise ValueError(f"default_fov_deg must lie between 0 and 180; got {self.default_fov_deg}.")
        if not (self.max_translation > 0 and self.max_rotation > 0):
            raise ValueError("max_translation (metres) and max_rotation (radians) must be positive.")
        object.__setattr__(self, "sigmas", check_sigmas(self.sigmas))

    @property
    def reads_text(self) -> bool:
        """Whether the world is conditioned on text."""
        return self.model.caption_channels > 0

    def replace(self, **changes: Any) -> WorldConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dictionary."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"model": self.model.to_dict(), "vae": dict(self.vae), "sigmas": list(self.sigmas)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WorldConfig:
        """Build from `to_dict`'s output.

        Raises:
            ValueError: A key is unknown or a required one is missing: a file of another version.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        unknown, missing = sorted(set(values) - set(fields)), sorted(required - set(values))
        if unknown or missing:
            raise ValueError(
                f"World config has unknown keys {unknown} and lacks {missing}; "
                "was the file written by another version of sanawm_env?"
            )
        return cls(**{**values, "model": SanaWMConfig.from_dict(values["model"])})


TINY_MODEL = SanaWMConfig(
    depth=6,
    hidden_size=240,
    head_dim=48,
    in_channels=32,
    patch_size=(2, 2),
    mlp_ratio=2.0,
    caption_channels=0,
    text_length=0,
    temporal_stride=4,
    softmax_every_n=2,
    pos_embed_tokens=0,
    release_buffers=False,
    chunk_frames=3,
    first_chunk="alone",
    window_frames=12,
    softmax_scale="head",
    camera_softmax_scale="head",
    camera_conv_tail=True,
    truncate_timesteps=False,
    chunk_causal_softmax="window",
)
"""The transformer of the built-in world `tiny`."""


def small_config(*, anchored: bool = False, **changes: Any) -> WorldConfig:
    """A world small enough for unit tests: 64x112 px, four blocks of width 64.

    Args:
        anchored: Keep the given image as an anchor (`networks.anchor.views`), where `model` and `vae` are not given.
        **changes: Fields of `WorldConfig` to set.
    """
    vae = changes.setdefault("vae", {"kind": "tiny", "channels": 8, "width": 16, "anchor": anchored})
    probe: Any = build_vae(vae)
    defaults: dict[str, Any] = {"height": 64, "width": 112}
    if "model" not in changes:
        defaults["model"] = SanaWMConfig(
            depth=4,
            hidden_size=64,
            head_dim=16,
            in_channels=probe.latent_channels,
            temporal_stride=probe.temporal_stride,
            caption_channels=0,
            pos_embed_tokens=0,
            release_buffers=False,
            first_chunk="alone",
            window_frames=6,
            camera_conv_tail=True,
            softmax_scale="head",
            camera_softmax_scale="head",
            chunk_causal_softmax="window",
            anchor=anchored,
        )
    return WorldConfig(**(defaults | changes))
