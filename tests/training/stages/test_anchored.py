"""Training an anchored world: clips and walks come with the anchor that the environment would show."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from sanawm_env.training.clips.data import DataConfig, LatentPool, assemble
from sanawm_env.training.clips.walks import WalkConfig, Walks
from sanawm_env.training.stages.world import WorldTrainConfig, train_world
from sanawm_env.world.checkpoints.local import load_checkpoint, save_checkpoint
from sanawm_env.world.conditioning import chunk_conditions, chunk_views
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.anchor.depth import DepthNet
from sanawm_env.world.networks.anchor.views import to_pixels

HEIGHT, WIDTH = 64, 112


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained(small_config(anchored=True, height=HEIGHT, width=WIDTH, max_chunk_frames=3))


@pytest.fixture(scope="module")
def pool(world):
    config = DataConfig(
        height=HEIGHT, width=WIDTH, clip_latents=4, pool=32, reuse=1e6, time_jitter=0.0, origin_jitter=0.5
    )
    pool = LatentPool(config, world.vae, (1, 1), depth=world.transformer.anchor.depth)
    pool.fill(32)
    return pool


def env_hints(world, image, c2w, intrinsics):
    """What `WorldModel` shows its transformer along `c2w` `(F, 4, 4)`, frame 0 left out."""
    state, _ = world.start(image[None].numpy(), intrinsics[None].numpy(), [0])
    relative = torch.linalg.solve(c2w[:1].double(), c2w.double())
    windows = relative[None, 1:].unflatten(1, (-1, world.vae.temporal_stride))
    chunk = (windows[:, :, -1], windows)
    views = chunk_views(world.networks, state, chunk)
    return chunk_conditions(world.networks, state, chunk, views)["anchor"]


@pytest.mark.parametrize("entry", [0, 9, 17, 30])
def test_pools_hints_are_those_of_the_environment(world, pool, entry):
    # As it is, backwards, mirrored, and both; cropped from the second latent frame on.
    z = torch.cat((pool.stills[entry, :, 1:2], pool.motion[entry, :, 1:3]), 1)[None].float()
    c2w, camera, image = pool.c2w[entry, 4:13], pool.intrinsics[entry], pool.images[entry, 1]
    batch = assemble(z, c2w[None], camera[None], pool, torch.Generator().manual_seed(0), image[None])
    expected = env_hints(world, image, c2w, camera)
    assert torch.allclose(batch.inputs()["anchor"][:, :, 1:], expected, atol=1e-4)
    still = world.vae.encode(to_pixels(image[None])[:, :, None])
    assert torch.allclose(batch.anchor[:, :-1, :1], still, atol=2e-3)
    assert torch.allclose(batch.latents[:, :, :1], still, atol=2e-3), "half precision"


def test_samples_come_with_hints(pool):
    batch = pool.sample(5, 3)
    assert batch.anchor.shape == (5, 9, 3, HEIGHT // 16, WIDTH // 16)
    assert torch.allclose(batch.anchor[:, :-1, :1], batch.latents[:, :, :1], atol=2e-3)
    assert (batch.anchor[:, -1, 0] == 1).all(), "all of frame 0 is seen in frame 0"


def test_walks_carry_the_anchor_of_their_first_frame(world, pool):
    walks = Walks(WalkConfig(segment=2, longest=4, full=1.0, turn_back=0.0, pause=0.0, time_shift=0.0), pool, 2, seed=3)
    parts = [walks.next(), walks.next()]
    for slot in range(2):
        at = walks.path[slot][0]
        c2w = pool.c2w[at.entry, 4 * at.latent : 4 * at.latent + 17]
        expected = env_hints(world, pool.images[at.entry, at.latent], c2w, pool.intrinsics[at.entry])
        hints = torch.cat([part.camera["anchor"][slot] for part in parts], 1)
        assert torch.allclose(hints, expected[0], atol=1e-4)
        still = parts[0].still[slot]
        assert torch.allclose(parts[0].still_camera["anchor"][slot, :-1], still, atol=2e-3)


def test_an_anchor_is_added_to_a_trained_world(world, tmp_path):
    plain = WorldModel.untrained(small_config(height=HEIGHT, width=WIDTH))
    start = tmp_path / "plain"
    save_checkpoint(start, plain.config, plain.transformer.state_dict(), plain.vae.state_dict())
    config = WorldTrainConfig(
        out=tmp_path / "run", init=str(start), depth=tmp_path / "depth", minutes=0.0001, batch=1, latents=3,
        compile_renderer=False, model=plain.config.model.replace(anchor=True), bf16=False, max_chunk=3,
        data=DataConfig(height=HEIGHT, width=WIDTH, clip_latents=2, pool=32),
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match="sanawm train depth"):
        train_world(config)
    torch.manual_seed(1)
    depth = DepthNet().state_dict()
    (tmp_path / "depth").mkdir()
    save_file(depth, tmp_path / "depth" / "depth.safetensors")
    train_world(config)
    settings, weights, _, _ = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert settings.model.anchor
    for name, value in depth.items():
        assert torch.allclose(weights[f"anchor.depth.{name}"].float(), value, atol=1e-2, rtol=1e-2), "not trained along"
    assert weights["anchor.gate_proj.weight"].any(), "the first step moves it"
    assert not torch.equal(weights["x_embedder.proj.weight"], plain.transformer.x_embedder.proj.weight)
    # and goes on from there, without the depth run
    again = dataclasses.replace(
        config, init=str(tmp_path / "run" / "checkpoint"), out=tmp_path / "more", depth=tmp_path / "gone"
    )
    train_world(again)
    assert json.loads((tmp_path / "more" / "progress.json").read_text())["step"] >= 1


def test_hints_are_finite_whatever_the_walk(pool):
    walks = Walks(WalkConfig(segment=2, longest=4, turn_back=1.0, pause=1.0, longest_pause=4), pool, 2, seed=0)
    for _ in range(6):
        hints = walks.next().camera["anchor"]
        assert torch.isfinite(hints).all()
        assert 0 <= hints[:, -1].min() <= hints[:, -1].max() <= 1
