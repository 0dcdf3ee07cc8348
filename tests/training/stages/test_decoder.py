"""Training a decoder on what its world makes: the anchored one starts as it was and ends otherwise."""

import pytest
import torch

from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.stages.decoder import DecoderTrainConfig, _Pool, train_decoder, with_anchor
from sanawm_env.world.checkpoints.local import load_checkpoint, save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig


def random_vae(**changes):
    torch.manual_seed(0)
    vae = TinyVAE(TinyVAEConfig(**({"channels": 8, "width": 16} | changes)))
    for value in [*vae.buffers(), *vae.parameters()]:
        value.data.normal_(std=0.1)
    return vae.eval()


def test_an_anchor_is_added_without_changing_a_frame():
    old = random_vae()
    new = with_anchor(old)
    latents, views = torch.randn(2, 8, 3, 2, 4), torch.rand(2, 4, 12, 32, 64)
    with torch.inference_mode():
        before, _ = old.decode(latents, old.init_tails(2, 2, 4))
        for given in (views, None):
            after, _ = new.decode(latents, new.init_tails(2, 2, 4), given)
            assert torch.allclose(before, after, atol=1e-5)
    with pytest.raises(ValueError, match="already"):
        with_anchor(new)


def test_the_decoder_copies_where_it_says_so():
    vae = with_anchor(random_vae())
    assert vae.refine is not None
    for p in (*vae.refine.tail.parameters(), vae.refine.copy.weight):
        p.data.zero_()
    vae.refine.copy.bias.data.fill_(1.0)
    latents, colour = torch.randn(1, 8, 2, 2, 4), torch.rand(1, 3, 8, 32, 64)
    seen = (torch.rand(1, 1, 8, 32, 64) < 0.5).float()
    with torch.inference_mode():
        linear = vae.unpatch(latents.permute(0, 2, 3, 4, 1) @ vae.synthesis.T + vae.mean)
        frames = vae.decode_blocks(latents, latents, torch.cat((colour * seen, seen), 1))
    linear = torch.nn.functional.interpolate(linear, scale_factor=2, mode="bilinear")
    linear = linear.unflatten(0, (1, 2)).unflatten(2, (3, 4)).transpose(1, 2).flatten(2, 3)
    assert torch.allclose(frames, torch.where(seen.bool(), colour, linear), atol=1e-5)


@pytest.mark.parametrize("anchored", [True, False])
def test_a_run_trains_the_decoder_alone(tmp_path, anchored):
    settings = small_config(anchored=anchored, height=32, width=64)
    settings = settings.replace(vae=dict(settings.vae) | {"anchor": False})
    world = WorldModel.untrained(settings)
    save_checkpoint(tmp_path / "start", settings, world.transformer.state_dict(), world.vae.state_dict())
    config = DecoderTrainConfig(
        init=str(tmp_path / "start"), out=tmp_path / "run", minutes=0.0001, batch=2, clips=2, clip_latents=3,
        compile_renderer=False, ema=0.0,
    )  # fmt: skip
    train_decoder(config)
    (before, weights, coded, _), (after, same, trained, _) = (
        load_checkpoint(folder) for folder in (tmp_path / "start", tmp_path / "run" / "checkpoint")
    )
    assert before.model == after.model
    assert after.vae["anchor"] == anchored
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    assert all(torch.equal(coded[name], trained[name]) for name in ("mean", "analysis", "synthesis"))
    assert not torch.equal(coded["refine.tail.weight"], trained["refine.tail.weight"])
    WorldModel.load(tmp_path / "run" / "checkpoint")


def test_a_linear_decoder_is_refused(tmp_path):
    settings = small_config(height=32, width=64)
    settings = settings.replace(vae=dict(settings.vae) | {"width": 0})
    world = WorldModel.untrained(settings)
    save_checkpoint(tmp_path / "start", settings, world.transformer.state_dict(), world.vae.state_dict())
    with pytest.raises(ValueError, match=r"vae\.width 0"):
        train_decoder(DecoderTrainConfig(init=str(tmp_path / "start"), out=tmp_path / "run"))


def test_the_pool_holds_what_stepping_makes():
    world = WorldModel.untrained(small_config(anchored=True, height=32, width=64), seed=2)
    config = DecoderTrainConfig(clips=1, clip_latents=6, compile_renderer=False, idle=0.0)
    pool = _Pool(config, world, SceneSeeds(7_000_600))
    pool._roll_out()
    assert len(pool.kept) == 6
    latents, before, views, target = (torch.stack(parts).float() for parts in zip(*pool.kept, strict=True))
    assert torch.equal(before[1:], latents[:-1])
    # The frames that stepping shows are the decoder's of these very latents.
    from sanawm_env.scenes import make_clips

    clip = make_clips([7_000_600], 25, 32, 64)
    state, _ = world.start(clip.rgb[:, 0].numpy(), clip.intrinsics.numpy(), [7_000_600])
    c2w = torch.linalg.solve(clip.c2w[:, :1].double(), clip.c2w.double()).numpy()
    shown = []
    for first in (1, 13):
        state, frames = world.step(state, c2w[:, first : first + 12])
        shown.append(torch.from_numpy(frames[0]))
    with torch.inference_mode():
        decoded = world.vae.decode_blocks(latents, before, views)
    ours = decoded.add(1).mul(127.5).clamp(0, 255).permute(0, 2, 3, 4, 1).flatten(0, 1)
    assert (ours - torch.cat(shown).float()).abs().max() < 4, "half precision"
    assert torch.equal(target.byte().permute(0, 2, 3, 4, 1).flatten(0, 1), clip.rgb[0, 1:])
