"""The published layouts: found, read, run; presets, sizes, hashes and audits."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

from sanawm_env.world.checkpoints.local import load_modules
from sanawm_env.world.checkpoints.presets import PRESETS, RELEASES, frame_size, release_config
from sanawm_env.world.checkpoints.release.files import text_encoder_folders
from sanawm_env.world.checkpoints.release.keys import read_by_model
from sanawm_env.world.checkpoints.release.load import read_release
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

pytest.importorskip("diffusers")
from tests.world.checkpoints.release.release_fixtures import (
    MODEL,
    WRITERS,
    vae_weights,
    weights,
    write_diffusers,
)

FEW = (1.0, 0.6, 0.0)


def load(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WorldModel.load(folder, **options)


def start(model, text=None, mask=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    image = np.random.default_rng(seed).integers(0, 255, (1, config.height, config.width, 3), dtype=np.uint8)
    if text is None:
        text = torch.randn(1, config.model.text_length, config.model.caption_channels, generator=generator)
    return model.start(image, [[80, 80, config.width / 2, config.height / 2]], [seed], text, mask)


def poses(speed=0.05, begin=0, frames=24):
    c2w = np.tile(np.eye(4), (1, frames, 1, 1))
    c2w[:, :, 2, 3] = speed * np.arange(begin + 1, begin + frames + 1)
    return c2w


# -- every layout, from image, text and poses to frames ------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
def test_layout_runs_snapshots_and_restores(written, layout, tmp_path):
    model = load(written[layout])
    assert model.dtype == torch.bfloat16 and (model.config.height, model.config.width) == (64, 96)
    state, first = start(model)
    assert first.shape == (1, 1, 64, 96, 3)
    state, frames = model.step(state, poses(), sigmas=FEW)
    assert frames.shape == (1, 24, 64, 96, 3) and frames.dtype == np.uint8 and frames.std() > 5
    state.save(tmp_path / "here.safetensors")
    after, expected = model.step(state, poses(begin=24), sigmas=FEW)
    again = load(written[layout])
    restored = WorldState.load(tmp_path / "here.safetensors", again.checkpoint)
    replayed, found = again.step(restored, poses(begin=24), sigmas=FEW)
    assert np.array_equal(found, expected) and replayed.equal(after)
    # Poses and text must matter, or a world that ignores its inputs would pass.
    assert not np.array_equal(model.step(state, poses(-0.2, 24), sigmas=FEW)[1], expected)
    other, _ = start(model, torch.zeros(1, 12, 16))
    assert not np.array_equal(model.step(other, poses(), sigmas=FEW)[1], frames)


def test_prompt_to_frames(written, tmp_path, monkeypatch):
    """A real tokenizer and a Gemma-2, both tiny, beside the release."""
    pytest.importorskip("transformers")
    from sanawm_env.world.networks.text.encoder import encode_prompts
    from tests.world.networks.text.text_fixtures import write_text_encoder

    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(written["streaming"], tmp_path / "streaming")
    assert text_encoder_folders(folder) is None
    write_text_encoder(folder / "gemma-2-2b-it", hidden_size=MODEL.caption_channels)
    encoder, tokenizer = text_encoder_folders(folder)
    assert encoder == tokenizer == folder / "gemma-2-2b-it"
    model = load(folder)
    assert model.checkpoint == load(written["streaming"]).checkpoint
    shown = []
    for prompt in ("a road by the sea", "rain at night"):
        text, mask = encode_prompts(
            [prompt], encoder, length=model.config.model.text_length, instruction="", channels=16, use_cache=False
        )
        state, _ = start(model, text, mask)
        shown.append(model.step(state, poses(), sigmas=FEW)[1])
    assert not np.array_equal(*shown)


def test_all_layouts_hold_the_same_weights(written):
    expected = read_by_model(MODEL, weights())
    for layout, folder in written.items():
        release = read_release(folder)
        assert release.files.layout == layout
        assert release.model_state.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(release.model_state[name], value), (layout, name)
        assert all(torch.equal(release.vae_state[name], value) for name, value in vae_weights().items())
        assert load_modules(folder).transformer.state_dict().keys() == expected.keys()


def test_sharded_diffusers(tmp_path):
    folder = write_diffusers(tmp_path / "sharded", shards=True, causal=True)
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    assert len(shards) > 2
    release = read_release(folder)
    assert release.files.vae == folder / "vae"
    assert set(release.files.weight_files) == {*shards, folder / "vae" / "diffusion_pytorch_model.safetensors"}
    assert torch.equal(release.model_state["t_embedder.mlp.2.bias"], weights()["t_embedder.mlp.2.bias"])
    shards[1].unlink()
    with pytest.raises(FileNotFoundError, match=shards[1].name):
        read_release(folder)


@pytest.mark.parametrize("layout", ["bidirectional", "diffusers"])
def test_bidirectional_equals_diffusers_on_the_same_files(written, layout):
    """Names and switches together: diffusers' own class and ours, each reading its files, one answer."""
    from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel

    theirs = SanaWMTransformer3DModel.from_pretrained(written["diffusers"] / "transformer")
    loaded = load_modules(written[layout], dtype=torch.float32, preset="bidirectional-diffusers")
    ours, config = loaded.transformer, loaded.config.model
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x, text = normal(1, config.in_channels, 3, 2, 3), normal(1, 12, config.caption_channels)
    timesteps = torch.tensor([[0.0, 900.0, 900.0]])
    rays = torch.eye(4).flatten().repeat(1, 3, 1)
    rays[0, :, 11] = torch.tensor([0.0, 0.2, 0.5])
    rays = torch.cat((rays, torch.tensor([2.0, 2.0, 1.5, 1.0]).expand(1, 3, 4)), dim=-1)
    plucker = normal(1, config.plucker_channels, 3, 2, 3)
    with torch.inference_mode():
        velocity, _ = ours(x, timesteps, text=text, raymap=rays, plucker=plucker)
        expected = theirs(
            hidden_states=x,
            timestep=timesteps[:, None],
            encoder_hidden_states=text[:, None],
            encoder_attention_mask=torch.ones(1, 12),
            camera_conditions=rays,
            chunk_plucker=plucker,
            return_dict=False,
        )[0]
        changed = load_modules(written[layout], dtype=torch.float32, preset="streaming").transformer
        other, _ = changed(x, timesteps, text=text, raymap=rays, plucker=plucker)
    # Both cast to bfloat16 before softmax attention, so rounding is what is left.
    error = (velocity - expected).abs().max()
    assert error < 2e-2 * expected.std() < (other - expected).abs().max()


# -- presets, sizes, revisions -------------------------------------------------------------------------------------


def test_presets_and_notices(written):
    own = {
        "streaming": "streaming",
        "bidirectional": "bidirectional",
        "chunk_causal": "chunk_causal",
        "diffusers": "bidirectional-diffusers",
    }
    for layout, preset in own.items():
        release = read_release(written[layout])
        assert release.preset is PRESETS[preset]
        assert (release.notice is None) == (layout == "streaming")
        assert release.config.name == f"{layout} ({preset})"
    with pytest.warns(UserWarning, match="trained to see a whole clip"):
        WorldModel.load(written["bidirectional"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WorldModel.load(written["streaming"], preset="streaming-g2")
    with pytest.raises(ValueError, match="no preset 'fast'; known presets: streaming, streaming-g2"):
        WorldModel.load(written["streaming"], preset="fast")
    with pytest.raises(ValueError, match="leave preset out"):
        WorldModel.load("tiny", preset="streaming")


def test_switches_of_the_releases():
    """What each generation of the code does: docs/model.md, "Generations"."""
    names = ("softmax_scale", "camera_softmax_scale", "camera_conv_tail", "camera_downscale")
    table = {
        "streaming": ("padded", "padded", False, False),
        "streaming-g2": ("head", "head", True, False),
        "chunk_causal": ("head", "head", True, False),
        "bidirectional": ("head", "padded", True, False),
        "bidirectional-diffusers": ("head", "padded", True, True),
    }
    assert table.keys() == PRESETS.keys()
    for preset, values in table.items():
        config = release_config(preset)
        assert tuple(getattr(config.model, name) for name in names) == values
        assert (config.height, config.width, config.fps) == (704, 1280, 16)
        assert config.model.attention_dtype == "bfloat16" and config.model.first_chunk == "plus_one"
    assert release_config("streaming").sigmas == (1.0, 0.960, 0.889, 0.727, 0.0)
    from diffusers import FlowMatchEulerDiscreteScheduler

    judge = FlowMatchEulerDiscreteScheduler(shift=9.8)
    judge.set_timesteps(60)
    assert release_config("bidirectional").sigmas == pytest.approx(judge.sigmas.tolist(), abs=1e-6)
    for repo in RELEASES:
        assert release_config(repo).name == RELEASES[repo].preset
    with pytest.raises(ValueError, match="no preset 'x/y'"):
        release_config("x/y")


def test_diffusers_config_may_ask_for_streaming(copy):
    """Community conversions of the streaming weights say so in the transformer's config."""
    folder = copy("diffusers")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"streaming": True}))
    assert read_release(folder).preset.name == "streaming"


def test_without_a_config_the_size_is_the_releases(copy):
    folder = copy("streaming")
    (folder / "sana_wm_streaming_tiny.yaml").unlink()
    config = read_release(folder).config
    assert (config.height, config.width) == (704, 1280)
    assert frame_size(480) == (480, 832) and frame_size(720) == (704, 1280)
    for bad in (0, 63, 720.0, "720", True):
        with pytest.raises(ValueError, match="image_size"):
            frame_size(bad)
