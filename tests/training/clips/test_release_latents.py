"""Clips that a release is fine-tuned on: the same by index, coded once, with the release's camera inputs."""

import numpy as np
import pytest
import torch

from sanawm_env.training.clips.release_latents import Clip, ReleaseClips, posed, procedural, store_clips

FRAMES, HEIGHT, WIDTH = 9, 32, 64


class Halves(torch.nn.Module):
    """Stands in for the VAE: every eighth frame, shrunk."""

    def __init__(self):
        super().__init__()
        self.register_buffer("latents_mean", torch.zeros(3))
        self.calls = 0

    def encode(self, pixels):
        self.calls += 1
        assert pixels.shape == (1, 3, FRAMES, HEIGHT, WIDTH) and pixels.abs().max() <= 1
        return pixels[:, :, ::8, ::16, ::16]


@pytest.fixture
def source():
    def clip(index):
        rng = np.random.default_rng(index)
        c2w = np.tile(np.eye(4), (FRAMES, 1, 1))
        c2w[:, :3, 3] = 5 + 0.1 * np.arange(FRAMES)[:, None]
        pixels = torch.from_numpy(rng.integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8))
        return Clip(pixels, torch.from_numpy(c2w), torch.tensor([40.0, 40.0, 32.0, 16.0]))

    return clip


def test_clips_are_coded_once_and_more_may_follow(source, tmp_path):
    vae = Halves()
    for count in (2, 2, 3):
        store_clips(tmp_path, count, source, vae, {"data": None}, torch.float32)
    assert vae.calls == 3 and len(list(tmp_path.glob("*.safetensors"))) == 3
    with pytest.raises(ValueError, match="clips of other settings"):
        store_clips(tmp_path, 3, source, vae, {"data": "other"}, torch.float32)


def test_samples_have_cameras_relative_to_frame_0(source, tmp_path):
    store_clips(tmp_path, 3, source, Halves(), {}, torch.float32)
    clips = ReleaseClips(tmp_path, (HEIGHT, WIDTH), (2, 4), 8, seed=0)
    latents, camera = clips.sample(3, "cpu")
    assert latents.shape == (3, 3, 2, 2, 4) and len(latents.unique(dim=0)) == 3
    assert camera["raymap"].shape == (3, 2, 20) and camera["plucker"].shape == (3, 48, 2, 2, 4)
    poses = camera["raymap"][..., :16].unflatten(-1, (4, 4))
    torch.testing.assert_close(poses[:, 0], torch.eye(4).expand(3, 4, 4))
    torch.testing.assert_close(poses[:, 1, :3, 3], torch.full((3, 3), 0.8))
    torch.testing.assert_close(camera["raymap"][0, 0, 16:], torch.tensor([2.5, 2.5, 2.0, 1.0]))


def test_procedural_clips_are_named_by_their_index():
    clip = procedural(2, HEIGHT, WIDTH, 3, "cpu", False)
    one, again, other = clip(0), clip(0), clip(1)
    assert torch.equal(one.rgb, again.rgb) and not torch.equal(one.rgb, other.rgb)
    assert one.rgb.shape == (2, HEIGHT, WIDTH, 3) and one.c2w.shape == (2, 4, 4) and one.intrinsics.shape == (4,)


def test_posed_clips_each_come_once(dataset):
    clip = posed(dataset, FRAMES, HEIGHT, WIDTH, 1)
    four = [clip(index) for index in range(4)]  # the dataset has four that can be used
    assert len({tuple(each.rgb.flatten()[:999].tolist()) for each in four}) == 4
    assert torch.equal(clip(2).rgb, four[2].rgb) and torch.equal(clip(2).c2w, four[2].c2w)
    assert four[0].rgb.shape == (FRAMES, HEIGHT, WIDTH, 3) and four[0].intrinsics.shape == (4,)
