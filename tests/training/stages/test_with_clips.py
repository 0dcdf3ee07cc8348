"""All four stages train on posed clips alone, and say so when they cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sanawm_env.camera.rays import relative_to_first
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, write_clip
from sanawm_env.scenes.seeds import SceneSeeds
from sanawm_env.training.clips.codec import load_depth, load_vae
from sanawm_env.training.clips.data import DataConfig
from sanawm_env.training.clips.posed import PosedConfig
from sanawm_env.training.stages import decoder, depth, vae, world
from sanawm_env.world.checkpoints.local import load_checkpoint, save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.vae.tiny import TinyVAEConfig

HEIGHT, WIDTH = 32, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A world, and two datasets of two clips, one of them without depth."""
    folder = tmp_path_factory.mktemp("stages")
    plain = WorldModel.untrained(small_config(height=HEIGHT, width=WIDTH))
    save_checkpoint(folder / "world", plain.config, plain.transformer.state_dict(), plain.vae.state_dict())
    made = make_clips(range(2), 17, HEIGHT, WIDTH)
    for name in ("ds", "flat"):
        clips = prepare_clips(folder / name)
        for i in range(2):
            clip = PosedClip(
                relative_to_first(made.c2w[i].double()).numpy(), np.repeat(made.intrinsics[i : i + 1].numpy(), 17, 0),
                HEIGHT, WIDTH, metric=True, figures={"held_out": False},
            )  # fmt: skip
            write_clip(clips / str(i), clip, made.rgb[i].numpy(), made.depth[i].numpy() if name == "ds" else None)
    return folder


@pytest.fixture
def no_scenes(monkeypatch, tmp_path):
    """Whoever draws a procedural scene to learn from fails."""

    def never(*args, **kwargs):
        raise AssertionError("a procedural scene was drawn")

    monkeypatch.setattr(SceneSeeds, "take", never)
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))


def alone(folder, name="ds"):
    return PosedConfig(data=folder / name, data_weight=1.0)


def test_the_block_transform_is_that_of_the_clips(folder, tmp_path, no_scenes):
    given = {"minutes": 0.0, "fit_clips": 2, "height": HEIGHT, "width": WIDTH, "compile_renderer": False}
    small = TinyVAEConfig(channels=6, width=0)
    vae.train_vae(vae.VAETrainConfig(out=tmp_path / "vae", vae=small, posed=alone(folder), **given))
    found = load_vae(tmp_path / "vae", "cpu")
    rgb = make_clips(range(2), 17, HEIGHT, WIDTH).rgb
    frames = found.shrink(rgb.permute(0, 4, 1, 2, 3).float() / 127.5 - 1)
    assert abs(float(found.encode_pooled(frames[:, :, 1:]).mean())) < 0.5
    assert float(found.analysis.abs().sum()) > 0


def test_depth_learns_from_clips_with_depth(folder, tmp_path, no_scenes, monkeypatch):
    monkeypatch.setattr(depth, "HELD_OUT", depth.HELD_OUT[:1])
    given = {"minutes": 0.0001, "batch": 6, "height": HEIGHT, "width": WIDTH, "compile_renderer": False}
    depth.train_depth(depth.DepthTrainConfig(out=tmp_path / "depth", posed=alone(folder), **given))
    assert load_depth(tmp_path / "depth")
    image, intrinsics, target = depth.posed_views(
        depth.DepthTrainConfig(**given), alone(folder).open(HEIGHT, WIDTH, 6, seed=0, depth=True), 2
    )
    assert image.shape == (12, 3, HEIGHT, WIDTH) and -1 <= image.min() < image.max() <= 1
    assert intrinsics.shape == (12, 4) and target.shape == (12, HEIGHT // 2, WIDTH // 2)
    with pytest.raises(ValueError, match="2 without depth"):
        depth.train_depth(depth.DepthTrainConfig(out=tmp_path / "none", posed=alone(folder, "flat"), **given))
    assert not (tmp_path / "none").exists()


def test_a_world_goes_on_with_clips(folder, tmp_path, no_scenes):
    start, _, _, _ = load_checkpoint(folder / "world")
    config = world.WorldTrainConfig(
        out=tmp_path / "run", init=str(folder / "world"), minutes=0.0001, batch=1, latents=3, compile_renderer=False,
        model=start.model, bf16=False, posed=alone(folder, "flat"), max_chunk=start.max_chunk_frames,
        data=DataConfig(height=HEIGHT, width=WIDTH, clip_latents=4, pool=32),
    )  # fmt: skip
    world.train_world(config)
    assert len(list((tmp_path / "cache" / "latents").glob("*.safetensors"))) == 2
    with pytest.raises(ValueError, match="2 shorter than 21 frames"):
        world.train_world(
            world.WorldTrainConfig(**{**vars(config), "data": DataConfig(HEIGHT, WIDTH, clip_latents=5, pool=32)})
        )


def test_depth_is_learned_ahead_of_the_world(folder, tmp_path, no_scenes, monkeypatch, capsys):
    monkeypatch.setattr(depth, "HELD_OUT", depth.HELD_OUT[:1])
    monkeypatch.setattr(depth, "learning_rate", lambda *args: 1.0)  # a step that can be seen
    made = WorldModel.untrained(small_config(height=HEIGHT, width=WIDTH, anchored=True))
    save_checkpoint(tmp_path / "world", made.config, made.transformer.state_dict(), made.vae.state_dict())
    config = world.WorldTrainConfig(
        out=tmp_path / "run", init=str(tmp_path / "world"), minutes=0.0002, depth_share=0.5, depth_lr=0.05,
        batch=1, latents=3, compile_renderer=False, model=made.config.model, bf16=False, posed=alone(folder),
        max_chunk=made.config.max_chunk_frames, data=DataConfig(height=HEIGHT, width=WIDTH, clip_latents=4, pool=32),
    )  # fmt: skip
    world.train_world(config)

    def holds(run, net):
        """Whether a run's exported checkpoint has this depth network, in the precision of checkpoints."""
        found = load_checkpoint(tmp_path / run / "checkpoint")[1]
        return all(torch.allclose(found[f"anchor.depth.{k}"].float(), v, rtol=1e-2, atol=1e-4) for k, v in net.items())

    before = made.transformer.anchor.depth.state_dict()
    taught = load_depth(tmp_path / "run" / "depth")
    assert holds("run", taught) and not holds("run", before)

    steps = (tmp_path / "run" / "depth" / "progress.json").read_text()
    world.train_world(config)
    assert (tmp_path / "run" / "depth" / "progress.json").read_text() == steps, "a run that goes on has learned it"
    (tmp_path / "run" / "state.safetensors").unlink()  # as if the first call had been killed before its first save
    world.train_world(config)
    assert holds("run", taught)

    world.train_world(replace(config, out=tmp_path / "alone", depth_share=1.0))
    assert holds("alone", load_depth(tmp_path / "alone" / "depth")) and not holds("alone", before)
    found = load_checkpoint(tmp_path / "alone" / "checkpoint")[1]
    others = {k: v for k, v in made.transformer.state_dict().items() if not k.startswith("anchor.depth.")}
    assert all(torch.allclose(found[k].float(), v.float(), rtol=1e-2, atol=1e-4) for k, v in others.items())

    capsys.readouterr()
    world.train_world(replace(config, out=tmp_path / "flat", posed=alone(folder, "flat")))
    assert "the depth network stays as it is: no clip of" in capsys.readouterr().err
    assert holds("flat", before)
    with pytest.raises(ValueError, match=r"depth_share must lie in \[0, 1\]"):
        replace(config, depth_share=1.5)
    with pytest.raises(ValueError, match="depth_share teaches the depth network of an anchor"):
        replace(config, model=small_config().model)
    with pytest.raises(ValueError, match=r"leave model\.reflections at 0, and set it in the config\.json"):
        replace(config, model=small_config(anchored=True).model.replace(reflections=4))


def test_a_decoder_learns_from_clips(folder, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a procedural scene was drawn")

    monkeypatch.setattr(decoder, "make_clips", never)
    config = decoder.DecoderTrainConfig(
        init=str(folder / "world"), out=tmp_path / "run", minutes=0.0001, batch=2, clips=2, clip_latents=3,
        compile_renderer=False, ema=0.0, posed=alone(folder, "flat"),
    )  # fmt: skip
    decoder.train_decoder(config)
    before, after = load_checkpoint(folder / "world")[2], load_checkpoint(tmp_path / "run" / "checkpoint")[2]
    assert not torch.equal(before["refine.tail.weight"], after["refine.tail.weight"])
