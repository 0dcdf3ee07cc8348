"""The published SANA-WM checkpoints: repositories, revisions, and the switches that belong to each.

Facts: docs/model.md, "Generations", "Samplers" and "Files of a release". The same 872 tensors can be run in several
ways, because three generations of upstream's code disagree; a `Preset` names one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.config import RELEASE, RELEASE_BIDIRECTIONAL, Mode, SanaWMConfig
from sanawm_env.world.schedules import RELEASE_SIGMAS, euler_sigmas

__all__ = ["PRESETS", "RELEASES", "TEXT_ENCODER", "VAE_REPO", "Preset", "Release", "frame_size", "release_config"]

ORGANISATION = "Efficient-Large-Model"
VAE_REPO = f"{ORGANISATION}/SANA-WM_streaming"
"""The repository whose VAE decodes causally, which is what stepping needs."""
TEXT_ENCODER = f"{ORGANISATION}/gemma-2-2b-it"
"""Stage 1's text encoder, a repository of its own (Google's `gemma-2-2b-it`, mirrored)."""


@dataclass(frozen=True)
class Preset:
    """One way to run the released weights."""

    name: str
    """Name to choose it by, and of the world."""
    trained_for: Mode
    """How the weights were trained to see time; `WorldModel` always streams."""
    switches: Mapping[str, Any]
    """Fields of `SanaWMConfig` that decide the arithmetic, not the sizes."""
    sigmas: tuple[float, ...]
    """Noise levels of the sampler."""

    def config(
        self, sizes: Mapping[str, Any], image_size: int = 720, vae: Mapping[str, Any] | None = None
    ) -> WorldConfig:
        """A `WorldConfig` of this preset.

        Args:
            sizes: Fields of `SanaWMConfig` that the weights' shapes decide.
            image_size: Nominal height as in the release's configs, pixels.
            vae: Settings of the VAE without `kind`; None is the release's.
        """
        height, width = frame_size(image_size)
        # What the release stores and never reads is left in the file: 0.1 % of it, but one rule for all layouts.
        model = SanaWMConfig(**{**sizes, **self.switches, "release_buffers": False, "pos_embed_tokens": 0})
        return WorldConfig(
            model=model,
            vae={"kind": "ltx2", **(vae or {})},
            height=height,
            width=width,
            sigmas=self.sigmas,
            chunk_frames=model.chunk_frames,
            max_chunk_frames=model.chunk_frames,
            name=self.name,
        )


def frame_size(image_size: int) -> tuple[int, int]:
    """Height and width of the 16:9 bucket of a nominal height: both cut to multiples of 32 px; 720 is 704x1280.

    Raises:
        ValueError: Not a positive whole number of at least 64.
    """
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 64:
        raise ValueError(f"image_size must be a whole number of at least 64 px; got {image_size!r}.")
    return image_size // 32 * 32, image_size * 16 // 9 // 32 * 32


def _switches(config: SanaWMConfig) -> dict[str, Any]:
    names = ("softmax_scale", "camera_softmax_scale", "camera_conv_tail", "camera_downscale")
    # Softmax attention runs in bfloat16 in every release, whatever the weights are.
    return {name: getattr(config, name) for name in names} | {"attention_dtype": "bfloat16"}


_G2 = _switches(RELEASE) | {"softmax_scale": "head", "camera_softmax_scale": "head", "camera_conv_tail": True}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        # As the code that came with the weights ran them (generation G1).
        Preset("streaming", "streaming", _switches(RELEASE), RELEASE_SIGMAS),
        # As upstream's present code runs the same weights (G2). Which one they were trained with is not known.
        Preset("streaming-g2", "streaming", _G2, RELEASE_SIGMAS),
        # The many-step teacher was published with G2. Offline it sees all earlier chunks; stepping keeps the
        # student's window, so that memory stays constant.
        Preset("chunk_causal", "chunk_causal", _G2, euler_sigmas(60, 9.8)),
        # NVlabs' Triton path: no UCPE downscale.
        Preset(
            "bidirectional",
            "bidirectional",
            _switches(RELEASE_BIDIRECTIONAL) | {"camera_downscale": False},
            euler_sigmas(60, 9.8),
        ),
        Preset("bidirectional-diffusers", "bidirectional", _switches(RELEASE_BIDIRECTIONAL), euler_sigmas(60, 9.8)),
    )
}


@dataclass(frozen=True)
class Release:
    """A repository of the Hub."""

    repo: str
    """Its id."""
    preset: str
    """Name in `PRESETS`."""
    revision: str = "main"
    """Commit that is loaded unless another is asked for."""
    gigabytes: Mapping[str, float] = field(default_factory=dict)
    """About what a download takes, by folder."""


# Commits as public projects that pin them list them (two sources each); not checked against the Hub from here.
# For the other two repositories no commit was found, so they follow their main branch.
RELEASES: dict[str, Release] = {
    release.repo: release
    for release in (
        Release(
            VAE_REPO,
            "streaming",
            "c7694938c854b1fcc29468e9514f1ea2d0c4ba8e",
            {"sana_dit": 32.0, "ltx2_causal_vae": 5.0},
        ),
        Release(
            f"{ORGANISATION}/SANA-WM_bidirectional",
            "bidirectional",
            "90e0ff3b8f1f9b54a92b4b707edeaa27073aec84",
            {"dit": 10.7, "vae": 2.4},
        ),
        Release(f"{ORGANISATION}/SANA-WM_chunk_causal", "chunk_causal", gigabytes={"dit": 10.7}),
        Release(f"{ORGANISATION}/SANA-WM_bidirectional-diffusers", "bidirectional-diffusers"),
    )
}


def release_config(preset: str = "streaming") -> WorldConfig:
    """The world of a release at its true size, without any file: for plans, benchmarks and shapes.

    Args:
        preset: Name in `PRESETS`, or id of a repository in `RELEASES`.

    Raises:
        ValueError: No such preset.
    """
    name = RELEASES[preset].preset if preset in RELEASES else preset
    if name not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; known presets: {', '.join(PRESETS)}.")
    return PRESETS[name].config({})
