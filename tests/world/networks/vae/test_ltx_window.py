"""The decoder that remembers latents alone gives the frames of the one that remembers every layer's input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.world.networks.vae.ltx_config import LTXVAEConfig
from sanawm_env.world.networks.vae.ltx_window import LATENTS, SEEN, context
from tests.world.networks.vae.test_ltx import CONFIG, H, W, build, latents

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def vae():
    return build().double()


def start(vae, slots=1, **kind):
    return vae.init_tails(slots, H, W, **kind)


def test_context_of_the_release():
    from sanawm_env.world.networks.vae.ltx import LTXVideoVAE

    with torch.device("meta"):
        decoder = LTXVideoVAE(LTXVAEConfig()).decoder
    # By hand, from the end, two frames a convolution: ten of residual blocks and the last; three times an upsampler,
    # which halves the frames, its own and ten more; the first.
    need = 2 * 11
    for _ in range(3):
        need = -(-need // 2) + 2 * 11
    assert context(decoder) == need + 2 == 44


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=6))
def test_any_partition_gives_the_frames_of_the_stream(vae, pieces):
    """Also past the context (14 latents here), where no piece can see the stream's first frame any more."""
    pieces = [*pieces, 14, 2]
    given_latents = latents(1, sum(pieces)).double()
    kept, compact = start(vae), start(vae, compact=True)
    size = {name: value.shape for name, value in compact.items()}
    for piece in given_latents.split(pieces, dim=2):
        expected, kept = vae.decode(piece, kept)
        found, compact = vae.decode(piece, compact)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert {name: value.shape for name, value in compact.items()} == size
    assert torch.equal(compact[LATENTS], given_latents[:, :, -context(vae.decoder) :])
    assert compact[SEEN].tolist() == [sum(pieces)]


def test_slots_of_different_age_decode_side_by_side(vae):
    first, second = latents(1, 6, 2).double(), latents(1, 6, 3).double()
    alone = []
    for slot, pieces in ((first, (4, 2)), (second, (1, 3, 2))):
        tails = start(vae, compact=True)
        for piece in slot.split(pieces, dim=2):
            before, (frames, tails) = tails, vae.decode(piece, tails)
        alone.append((before, frames))
    both = {name: torch.cat([before[name] for before, _ in alone]) for name in alone[0][0]}
    copies = {name: value.clone() for name, value in both.items()}
    found, _ = vae.decode(torch.cat((first, second))[:, :, 4:], both)
    assert torch.equal(found, torch.cat([frames for _, frames in alone]))
    assert all(torch.equal(value, copies[name]) for name, value in both.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tails: tails | {SEEN: torch.tensor([0, 3])}, "start of their stream"),
        (lambda tails: tails | {LATENTS: tails[LATENTS][:, :, 1:]}, "last latents are"),
        (lambda tails: tails | {LATENTS: tails[LATENTS].float()}, "last latents are"),
        (lambda tails: {LATENTS: tails[LATENTS]}, "another kind"),
    ],
)
def test_bad_memory_gives_one_error(vae, change, message):
    with pytest.raises(ValueError, match=message):
        vae.decode(latents(2, 1).double(), change(start(vae, 2, compact=True)))


def test_other_architectures():
    config = LTXVAEConfig.from_dict(
        CONFIG.to_diffusers() | {"decoder_layers_per_block": (2, 1, 1, 2), "upsample_residual": (False, True, False)}
    )
    vae = build(config).double()
    kept, compact = start(vae), start(vae, compact=True)
    for piece in latents(1, 24).double().split((4, 3, 15, 2), dim=2):
        expected, kept = vae.decode(piece, kept)
        found, compact = vae.decode(piece, compact)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
