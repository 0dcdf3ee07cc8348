"""Noise levels and the flow-matching loss."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.training.losses.flow import NoiseConfig, draw_chunks, draw_levels, flow_loss, own_context


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 2**31), chunks=st.integers(1, 6), shift=st.floats(1, 12))
@settings(max_examples=30, deadline=None)
def test_levels_lie_in_the_unit_interval(seed, chunks, shift):
    levels = draw_levels(NoiseConfig(shift=shift), 16, chunks, generator(seed))
    assert levels.shape == (16, chunks)
    assert ((levels >= 0) & (levels <= 1)).all()
    assert (levels[:, -1] > 0).all(), "a clip without noise would train nothing"


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        ("same", lambda s: (s == s[:, :1]).all()),
        ("incremental", lambda s: (s.diff(dim=1) >= 0).all() and (s.diff(dim=1) > 0).any()),
        (
            "clean_prefix",
            lambda s: ((s == 0) | (s == s[:, -1:])).all() and (s.diff(dim=1) >= 0).all() and (s == 0).any(),
        ),
    ],
)
def test_mixture_kinds(kind, holds):
    shares = {"same": 0.0, "incremental": 0.0, "clean_prefix": 0.0} | {kind: 1.0}
    assert holds(draw_levels(NoiseConfig(**shares), 256, 4, generator()))


def test_shift_and_pure_noise_raise_the_level():
    def mean(**changes):
        return draw_levels(NoiseConfig(same=1, incremental=0, clean_prefix=0, **changes), 4096, 1, generator()).mean()

    assert mean(shift=1.0, pure_noise=0) < mean(shift=9.95, pure_noise=0) < mean(shift=9.95, pure_noise=0.5)
    assert abs(mean(shift=1.0, pure_noise=0) - 0.5) < 0.02


def test_shares_must_sum_to_one():
    with pytest.raises(ValueError, match="must be 1"):
        NoiseConfig(same=0.5, incremental=0.5, clean_prefix=0.5)


@given(seed=st.integers(0, 1000), frames=st.integers(2, 12), longest=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_chunks_start_with_frame_zero_alone(seed, frames, longest):
    chunks = draw_chunks(frames, longest, generator(seed))
    assert len(chunks) == frames
    assert chunks[0] == 0 and chunks[1] == 1
    assert all(b - a in (0, 1) for a, b in pairwise(chunks))
    assert max(chunks.count(c) for c in set(chunks)) <= longest


class Oracle(torch.nn.Module):
    """Knows the clean latents and answers with the right velocity, spoilt on the frames given."""

    dtype = torch.float32

    def __init__(self, latents, noise, spoil=()):
        super().__init__()
        self.velocity = noise - latents
        self.velocity[:, :, list(spoil)] += 3.0

    def forward(self, x, timesteps, **_):
        self.timesteps = timesteps
        return self.velocity, None


def test_loss_counts_noisy_frames_only():
    latents, noise = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 4, 2, 2)
    levels = torch.tensor([[0, 0, 0.5, 1.0]]).expand(2, -1)

    def loss(model):
        return float(flow_loss(model, latents, levels, noise, [0, 1, 2, 3], preconditioned=False))

    assert loss(Oracle(latents, noise)) == pytest.approx(0, abs=1e-9)
    assert loss(Oracle(latents, noise, spoil=[0, 1])) == pytest.approx(0, abs=1e-9)
    assert loss(Oracle(latents, noise, spoil=[3])) == pytest.approx(9.0 / 2)


def test_preconditioning_leaves_unit_gaussian_data_nothing_linear_to_learn():
    """For unit-variance data the best linear guess is added outside: a zero network has the least loss."""
    latents, noise = torch.randn(64, 4, 2, 8, 8), torch.randn(64, 4, 2, 8, 8)

    class Scaled(torch.nn.Module):
        dtype = torch.float32

        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def forward(self, x, timesteps, **_):
            return self.weight * x, None

    for level in (0.2, 0.6, 1.0):
        levels = torch.full((64, 2), level)
        losses = [
            float(flow_loss(Scaled(w), latents, levels, noise, [0, 1], preconditioned=True)) for w in (-0.1, 0.0, 0.1)
        ]
        assert losses[1] < min(losses[0], losses[2])


def test_own_context_is_the_models_guess():
    latents, noise = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 4, 2, 2)
    oracle = Oracle(latents, noise)
    guess = own_context(oracle, latents, noise, [0, 1, 1, 2], preconditioned=False)
    assert torch.allclose(guess, latents, atol=1e-6), "the right velocity gives back the data"
    assert torch.equal(oracle.timesteps, torch.tensor([[0, 1000, 1000, 1000]] * 2).float())
    wrong = own_context(Oracle(latents, noise, spoil=[2]), latents, noise, [0, 1, 1, 2], preconditioned=False)
    assert not torch.allclose(wrong[:, :, 2], latents[:, :, 2]) and torch.equal(wrong[:, :, 0], latents[:, :, 0])


def test_context_replaces_clean_frames_only():
    latents, noise = torch.randn(1, 2, 3, 2, 2), torch.randn(1, 2, 3, 2, 2)
    levels = torch.tensor([[0.0, 0.0, 0.5]])
    seen = {}

    class Spy(torch.nn.Module):
        dtype = torch.float32

        def forward(self, x, timesteps, **_):
            seen["x"] = x
            return x, None

    context = torch.full_like(latents, 7.0)
    flow_loss(Spy(), latents, levels, noise, [0, 1, 2], preconditioned=False, context=context)
    assert (seen["x"][:, :, :2] == 7).all()
    assert torch.allclose(seen["x"][:, :, 2], 0.5 * (latents + noise)[:, :, 2])
