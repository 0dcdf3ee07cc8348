"""Latents of posed clips: coded once, cut anywhere, and the same as those of the piece itself."""

import numpy as np
import pytest
import torch

from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import prepare_clips
from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.clips import coded
from sanawm_env.training.clips.coded import CodedClips
from sanawm_env.training.clips.data import DataConfig, LatentPool
from sanawm_env.training.clips.posed import PosedConfig
from sanawm_env.training.clips.variants import code_variants
from sanawm_env.training.stages.vae import fit_transform
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig

HEIGHT, WIDTH, LATENTS = 32, 64, 2


@pytest.fixture(scope="module")
def vae():
    vae = TinyVAE(TinyVAEConfig(channels=6, width=0))
    rgb = make_clips(range(2), 9, HEIGHT, WIDTH).rgb
    fit_transform(vae, [rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1])
    return vae


def opened(dataset, weight=0.5):
    config = PosedConfig(data=dataset, data_weight=weight)
    return config.open(HEIGHT, WIDTH, 1 + 4 * LATENTS, seed=0)


def test_a_piece_has_the_code_of_its_own_frames(dataset, vae, tmp_path, monkeypatch):
    clips = opened(dataset)
    latents = CodedClips(clips, vae, tmp_path)
    blocks = latents.take(3)
    pick = opened(dataset).take(3)  # not the same pieces: these begin at any frame
    for number, block in enumerate(blocks):
        assert block.motion.shape == (3, 6, LATENTS, 2, 4) and block.c2w.shape[1] == 1 + 4 * LATENTS
        assert block.images.shape == (3, LATENTS, HEIGHT, WIDTH, 3) and block.motion.dtype == torch.float16
        if number == 0:
            assert pick.rgb.shape[1] == block.c2w.shape[1]
    # All frames of the piece, from the images of both directions: each still is where a latent begins.
    forwards, backwards, mirrored, _ = blocks
    assert torch.equal(forwards.images[:, 1:], backwards.images.flip(1)[:, :-1])
    assert torch.equal(mirrored.images, forwards.images.flip(3))
    assert torch.equal(backwards.c2w, forwards.c2w.flip(1))
    again = vae.encode_pooled(
        vae.shrink(forwards.images.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).repeat_interleave(4, dim=2)
    )
    assert torch.allclose(again, forwards.stills.float(), atol=0.02)

    def never(*args):
        raise AssertionError("coded before")

    monkeypatch.setattr(coded, "fit_clip", never)
    for block, same in zip(blocks, CodedClips(opened(dataset), vae, tmp_path).take(3), strict=True):
        assert torch.equal(block.motion, same.motion) and torch.equal(block.c2w, same.c2w)
    other = TinyVAE(TinyVAEConfig(channels=6, width=0))
    with pytest.raises(AssertionError, match="coded before"):  # another VAE has another code
        CodedClips(opened(dataset), other, tmp_path).take(1)


def test_whole_clips_are_coded_as_rendered_ones(dataset, vae, tmp_path):
    clips = PosedConfig(data=dataset).open(HEIGHT, WIDTH, 17, seed=0)
    blocks = CodedClips(clips, vae, tmp_path).take(2)
    pick = PosedConfig(data=dataset).open(HEIGHT, WIDTH, 17, seed=0).take(2)
    for block, direct in zip(blocks, code_variants(vae, pick.rgb, pick.c2w, pick.intrinsics), strict=True):
        for name in ("motion", "stills", "c2w", "intrinsics", "images"):
            assert torch.allclose(getattr(block, name).float(), getattr(direct, name).float(), atol=2e-3), name


def test_a_clip_with_other_poses_is_coded_again(write, vae, tmp_path):
    ds = tmp_path / "ds"
    write(prepare_clips(ds) / "a", 0, figures={"held_out": False})
    clips = PosedConfig(data=ds).open(HEIGHT, WIDTH, 17, seed=0)
    first = CodedClips(clips, vae, tmp_path / "cache").take(1)[0]
    still = np.tile(np.eye(4), (17, 1, 1))
    write(ds / "clips" / "a", 0, c2w=still)
    clips = PosedConfig(data=ds).open(HEIGHT, WIDTH, 17, seed=0)
    again = CodedClips(clips, vae, tmp_path / "cache").take(1)[0]
    assert torch.equal(again.motion, first.motion) and not torch.equal(again.c2w, first.c2w)
    assert torch.equal(again.c2w[0], torch.eye(4).expand(17, 4, 4))


def test_a_damaged_file_is_named(dataset, vae, tmp_path):
    latents = CodedClips(opened(dataset), vae, tmp_path)
    latents.take(4)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="delete it"):
        latents.take(1)


def test_a_pool_mixes_both_by_weight(dataset, vae, monkeypatch, tmp_path):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path))
    config = DataConfig(height=HEIGHT, width=WIDTH, clip_latents=LATENTS, pool=128, origin_jitter=0, time_jitter=0)
    pool = LatentPool(config, vae, (1, 1), scenes=SceneSeeds(0), posed=opened(dataset, 0.5))
    pool.fill(128)
    assert pool.scenes.next_seed == 16, "two of four blocks of eight are rendered"
    names = {path.name.rpartition("-")[0] for path in (tmp_path / "latents").iterdir()}
    assert names == {"good-0", "good-1", "good-2", "no-depth"}
    assert pool.sample(4, LATENTS + 1).latents.shape == (4, 6, LATENTS + 1, 2, 4)
    # A walk may turn round anywhere: an entry and its twin show the same poses.
    for entry in range(0, 128, 9):
        assert torch.equal(pool.c2w[entry], pool.c2w[pool.reversed_of(entry)].flip(0))
