"""A world with coarse tokens becomes the start of one with finer tokens."""

import pytest
import torch

from sanawm_env.scenes import make_clips
from sanawm_env.training.stages.finer import finer_tokens
from sanawm_env.training.stages.vae import fit_transform
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig


@pytest.fixture
def small(network):
    return network.config


def fitted(channels, **sizes):
    vae = TinyVAE(TinyVAEConfig(channels=channels, width=0, **sizes))
    rgb = make_clips(range(4), 9, 64, 64).rgb
    fit_transform(vae, [rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1])
    return vae


@pytest.fixture(scope="module")
def vaes():
    return fitted(8), fitted(12)


def test_the_same_sizes_change_nothing(network, small, vaes):
    weights = network.state_dict()
    same = finer_tokens(weights, small, small, vaes[0], vaes[0])
    for name, value in weights.items():
        torch.testing.assert_close(same[name], value, atol=1e-5, rtol=1e-5)


def test_more_channels_keep_what_the_network_says(network, small, vaes):
    """With the same patches: fed the same picture in the richer code, it answers the same picture."""
    old, new = vaes
    config = small.replace(in_channels=12)
    other = SanaWMTransformer(config)
    other.load_state_dict(finer_tokens(network.state_dict(), small, config, old, new))
    latents = torch.randn(1, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    level = torch.full((1, 2), 1000.0)
    to_new = new.analysis @ old.synthesis
    said, _ = network(latents, level)
    again, _ = other(torch.einsum("no,bothw->bnthw", to_new, latents), level)
    torch.testing.assert_close(again, torch.einsum("no,bothw->bnthw", to_new, said), atol=1e-4, rtol=1e-3)


def test_finer_patches_have_the_shapes_of_the_finer_model(network, small, vaes):
    config = small.replace(patch_size=(1, 1), in_channels=12)
    finer = SanaWMTransformer(config)
    weights = finer_tokens(network.state_dict(), small, config, *vaes)
    finer.load_state_dict(weights)
    # A picture of one colour looks alike to both, up to the factor between sum and mean.
    still = torch.ones(1, 8, 1, 4, 4)
    told = torch.einsum("no,bothw->bnthw", vaes[1].analysis @ vaes[0].synthesis, still)
    bias = network.x_embedder.proj.bias
    coarse = network.x_embedder(still)[0, 0, 0] - bias
    fine = finer.x_embedder(told)[0, 0, 0] - bias
    torch.testing.assert_close(2 * fine, coarse, atol=1e-4, rtol=1e-3)


def test_what_cannot_be_converted_is_refused(network, small, vaes):
    with pytest.raises(ValueError, match="cannot be cut"):
        finer_tokens(network.state_dict(), small, small.replace(patch_size=(3, 1)), vaes[0], vaes[0])
    with pytest.raises(ValueError, match="other sizes"):
        finer_tokens(network.state_dict(), small, small, vaes[0], fitted(8, block=4))
