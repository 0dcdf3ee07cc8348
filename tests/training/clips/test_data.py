"""The clip pool: its four variants are consistent, its camera inputs are those of the environment."""

import numpy as np
import pytest
import torch

from sanawm_env.scenes import make_clips
from sanawm_env.training.clips.data import DataConfig, LatentPool, camera_inputs, random_origins
from sanawm_env.training.clips.variants import mirror
from sanawm_env.training.stages.vae import fit_transform
from sanawm_env.world.conditioning import camera_chunk, camera_conditions, first_frame_chunk
from sanawm_env.world.networks.vae.tiny import TinyVAE, TinyVAEConfig

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def vae():
    vae = TinyVAE(TinyVAEConfig(channels=12, width=0))
    rgb = make_clips(range(4), 9, HEIGHT, WIDTH).rgb
    fit_transform(vae, [rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1])
    return vae


@pytest.fixture(scope="module")
def pool(vae):
    config = DataConfig(height=HEIGHT, width=WIDTH, clip_latents=3, pool=32, origin_jitter=0.0, time_jitter=0.0)
    return LatentPool(config, vae, (2, 2))


def test_fitted_code_reconstructs(vae):
    rgb = make_clips(range(50, 52), 9, HEIGHT, WIDTH).rgb
    frames = rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    latents = vae.encode(frames)
    assert abs(float(latents[:, :, 1:].square().mean()) - 1) < 0.7
    out, _ = vae.decode(latents, vae.init_tails(2, HEIGHT // 16, WIDTH // 16))
    assert out.shape == frames.shape
    error = (out - frames).square().mean()
    assert error < 0.15 * frames.var()


def test_pieces_decode_like_the_whole(vae):
    latents = torch.randn(2, 12, 5, 4, 6)
    whole, _ = vae.decode(latents, vae.init_tails(2, 4, 6))
    tails, pieces = vae.init_tails(2, 4, 6), []
    for start, end in ((0, 1), (1, 3), (3, 5)):
        piece, tails = vae.decode(latents[:, :, start:end], tails)
        pieces.append(piece)
    assert torch.allclose(torch.cat(pieces, dim=2), whole, atol=1e-6)


def test_sample_shapes_and_reuse(pool):
    batch = pool.sample(5, latents=3)
    assert batch.latents.shape == (5, 12, 3, HEIGHT // 16, WIDTH // 16)
    assert batch.raymap.shape == (5, 3, 20)
    assert batch.plucker.shape == (5, 24, 3, HEIGHT // 32, WIDTH // 32)
    assert torch.equal(batch.frames, torch.arange(3).expand(5, -1))
    rendered = pool.scenes.next_seed
    pool.sample(5, latents=3)
    assert pool.scenes.next_seed == rendered, "entries are reused before new clips are rendered"


def test_training_sees_the_camera_as_the_environment_does():
    """One call over a clip equals `WorldModel`'s first frame and then chunk by chunk."""
    clips = make_clips(range(2), 13, HEIGHT, WIDTH)
    relative = torch.linalg.solve(clips.c2w[:, :1].double(), clips.c2w.double())
    raymap, plucker = camera_inputs(relative, clips.intrinsics, HEIGHT, WIDTH, 4, (2, 3))
    pieces = [
        first_frame_chunk(2, 4, torch.device("cpu")),
        camera_chunk(relative[:, 1:9], 4),
        camera_chunk(relative[:, 9:], 4),
    ]
    conditions = [camera_conditions(piece, clips.intrinsics, (HEIGHT, WIDTH), (2, 3)) for piece in pieces]
    assert torch.allclose(raymap, torch.cat([c["raymap"] for c in conditions], dim=1), atol=1e-6)
    assert torch.allclose(plucker, torch.cat([c["plucker"] for c in conditions], dim=2), atol=1e-6)


def test_mirror_reflects_geometry():
    """A world point seen at column u is seen at W - u after mirroring it and the camera."""
    rng = np.random.default_rng(0)
    c2w = make_clips([3], 2, HEIGHT, WIDTH).c2w
    k = torch.tensor([[70.0, 70.0, 45.0, 33.0]])
    frames, turned, k_turned = mirror(torch.rand(1, 3, 2, HEIGHT, WIDTH), c2w, k, WIDTH)
    points = torch.from_numpy(rng.normal(size=(5, 3))).float() + c2w[0, 0, :3, 3] + 3 * c2w[0, 0, :3, 2]

    def project(pose, camera, point):
        local = torch.linalg.inv(pose) @ torch.cat((point, torch.ones(1)))
        return camera[0] * local[0] / local[2] + camera[2], camera[1] * local[1] / local[2] + camera[3]

    for point in points:
        u, v = project(c2w[0, 0], k[0], point)
        u2, v2 = project(turned[0, 0], k_turned[0], point * torch.tensor([-1.0, 1.0, 1.0]))
        assert float(u + u2) == pytest.approx(WIDTH, abs=1e-3)
        assert float(v2) == pytest.approx(float(v), abs=1e-3)
    again, back, k_back = mirror(frames, turned, k_turned, WIDTH)
    assert torch.allclose(back, c2w) and torch.allclose(k_back, k)
    assert torch.equal(again.flip(4), frames)


def test_random_origins_are_rigid():
    poses = random_origins(8, torch.Generator().manual_seed(0))
    rotation = poses[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(8, -1, -1), atol=1e-12)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(8, dtype=torch.float64))
