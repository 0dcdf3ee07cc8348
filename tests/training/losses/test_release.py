"""Chunks and noise levels of the release's own training."""

import pytest
import torch

from sanawm_env.training.losses.release import ReleaseNoise, chunk_indices, frame_levels
from sanawm_env.world.schedules import RELEASE_SIGMAS


def test_levels_are_those_the_sampler_meets():
    chunks = chunk_indices(8, 3)
    assert chunks == [0, 0, 0, 0, 1, 1, 1, 1] and chunk_indices(7, 3) == [0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="4 latent frames or more"):
        chunk_indices(3, 3)
    generator = torch.Generator().manual_seed(0)
    levels = frame_levels(ReleaseNoise(), chunks, 200, generator, RELEASE_SIGMAS)
    assert (levels[:, 0] == 0).all() and (levels[:, 1] == levels[:, 3]).all()
    assert {round(float(level), 3) for level in levels.unique()} == {round(sigma, 3) for sigma in RELEASE_SIGMAS}
    free = frame_levels(ReleaseNoise(), chunks, 200, generator)
    assert len(free.unique()) > 100 and free.max() < 1
    with pytest.raises(ValueError, match="must be 1"):
        ReleaseNoise(same=0.9)
