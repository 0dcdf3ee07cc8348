"""Flow matching for the released models, as they were trained (docs/model.md, "Training").

Latents x0, noise e, level s: x = (1-s) x0 + s e, and the network answers the velocity e - x0. Frame 0 is the given
image: clean, and without loss. The first chunk is frame 0 and one whole chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sanawm_env.training.losses.flow import NoiseConfig, draw_levels

__all__ = ["ReleaseNoise", "chunk_indices", "frame_levels"]


@dataclass(frozen=True)
class ReleaseNoise:
    """How noise levels are drawn."""

    shift: float = 9.95
    """Timestep shift of levels between 0 and 1."""
    same: float = 0.2
    """Share of clips with one level for all chunks."""
    incremental: float = 0.4
    """Share with levels that do not fall over the chunks."""
    clean_prefix: float = 0.4
    """Share with a clean prefix of random length and one level for the rest."""
    caption_dropout: float = 0.1
    """Share of clips that are shown the empty prompt."""

    def __post_init__(self) -> None:
        self.levels()  # raises where shares are off
        if not 0 <= self.caption_dropout <= 1:
            raise ValueError(f"caption_dropout must lie in [0, 1]; got {self.caption_dropout}.")

    def levels(self) -> NoiseConfig:
        """The part that `flow.draw_levels` takes."""
        return NoiseConfig(self.shift, True, 0.0, self.same, self.incremental, self.clean_prefix)


def chunk_indices(frames: int, chunk_frames: int) -> list[int]:
    """Chunk index of every latent frame: the first chunk has one more; a short rest belongs to the last.

    Raises:
        ValueError: Not even one whole chunk.
    """
    if frames < chunk_frames + 1:
        raise ValueError(f"a clip needs {chunk_frames + 1} latent frames or more; got {frames}.")
    whole = (frames - 1) // chunk_frames
    return [0] + [min(index // chunk_frames, whole - 1) for index in range(frames - 1)]


def frame_levels(
    noise: ReleaseNoise,
    chunks: Sequence[int],
    count: int,
    generator: torch.Generator,
    sigmas: Sequence[float] | None = None,
) -> Tensor:
    """Noise level of every frame, `(count, T)`; 0 is clean, and frame 0 always is.

    Args:
        noise: How they are drawn.
        chunks: Chunk index of every frame.
        count: Clips.
        generator: Of the random numbers.
        sigmas: Noise levels of the sampler; levels are rounded up to the next of them, for a model that was distilled
            to these and will meet no others. None leaves them between 0 and 1.
    """
    drawn = draw_levels(noise.levels(), count, chunks[-1] + 1, generator)
    if sigmas is not None:
        steps = torch.tensor(sorted(sigmas), dtype=drawn.dtype)
        drawn = steps[torch.searchsorted(steps, drawn.contiguous()).clamp(max=len(steps) - 1)]
    levels = drawn[:, torch.tensor(list(chunks))].clone()
    levels[:, 0] = 0
    return levels
