"""Offline rendering against diffusers' scheduler and pipeline, the teacher's plan, and the command."""

import json
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.cli.render import ClipOptions, Render
from sanawm_env.scenes.start_image import StartImage
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.clip import (
    chunk_starts,
    clip_latents,
    decode_clip,
    denoise_clip,
    euler_sigmas,
    offline_mode,
    staggered,
)
from sanawm_env.world.sampler import velocity


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained(small_config())


def forward(frames, speed=0.05):
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    c2w[:, 2, 3] = speed * np.arange(frames)
    return c2w


def picture(config, seed=0):
    image = np.random.default_rng(seed).integers(0, 255, (config.height, config.width, 3), dtype=np.uint8)
    return StartImage(image, np.array([80.0, 80.0, config.width / 2, config.height / 2]), False)


# -- schedule and plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "shift"), [(60, 9.8), (1, 9.8), (7, 3.0), (60, 8.0)])
def test_schedule_is_that_of_diffusers(steps, shift):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    assert np.allclose(euler_sigmas(steps, shift), scheduler.sigmas.numpy(), rtol=0, atol=5e-7)


@pytest.mark.parametrize(("steps", "shift"), [(0, 9.8), (60, 0.0), (60, -1.0), (60, float("nan"))])
def test_schedule_refuses(steps, shift):
    with pytest.raises(ValueError, match="flow shift"):
        euler_sigmas(steps, shift)


@pytest.mark.parametrize(
    ("frames", "chunk", "first", "starts"),
    [
        (1, 3, "plus_one", [0]),
        (4, 3, "plus_one", [0]),
        (5, 3, "plus_one", [0]),  # one frame left over: it joins the chunk before
        (7, 3, "plus_one", [0, 4]),
        (9, 3, "plus_one", [0, 4]),
        (10, 3, "plus_one", [0, 4, 7]),
        (41, 3, "plus_one", [0, *range(4, 38, 3)]),
        (2, 3, "alone", [0, 1]),
        (8, 3, "alone", [0, 1, 4]),
        (9, 3, "alone", [0, 1, 4]),
    ],
)
def test_chunks(frames, chunk, first, starts):
    assert chunk_starts(frames, chunk, first) == starts


@given(st.integers(1, 40), st.integers(1, 60))
@settings(deadline=None)
def test_every_chunk_takes_every_step_once_and_in_order(chunks, steps):
    calls = staggered(chunks, steps)
    for chunk in range(chunks):
        seen = [call[chunk] for call in calls if len(call) > chunk]
        assert seen[:steps] == list(range(steps)) and set(seen[steps:]) <= {steps}
    assert all(a >= b for call in calls for a, b in pairwise(call))


def test_plan_of_three_chunks():
    """As NVlabs' loop: chunk i begins int(i / n * steps) calls later; finished chunks stay, at level 0."""
    assert staggered(2, 4) == [[0], [1], [2, 0], [3, 1], [4, 2], [4, 3]]
    assert [len(call) for call in staggered(3, 4)] == [1, 2, 3, 3, 3, 3]


# -- the sampler ---------------------------------------------------------------------------------------------------


def test_chunk_causal_by_hand(world):
    """The same clip by a loop over a table of timesteps, frame by frame."""
    config = world.config
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, config.model.in_channels, 5, *world.latent_size, generator=generator)
    sigmas, starts = euler_sigmas(4, 3.0), [0, 1, 3]
    found = denoise_clip(world.transformer, noise, sigmas, starts=starts)

    x, owner, begins = noise.clone(), [0, 1, 1, 2, 2], [0, 1, 2]
    for call in range(6):
        frames = [t for t in range(5) if begins[owner[t]] <= call]
        index = [min(call - begins[owner[t]], 4) for t in frames]
        now = torch.tensor([0.0 if t == 0 else sigmas[i] for t, i in zip(frames, index, strict=True)])
        with torch.inference_mode():
            v, _ = velocity(world.transformer, x[:, :, frames], now[None], chunks=[owner[t] for t in frames])
        for place, (t, i) in enumerate(zip(frames, index, strict=True)):
            if t and i < 4:
                x[:, :, t] -= (sigmas[i] - sigmas[i + 1]) * v[:, :, place]
    assert torch.allclose(found, x, atol=1e-5)
    assert torch.equal(found[:, :, 0], noise[:, :, 0])
    whole = denoise_clip(world.transformer, noise, sigmas)
    assert not torch.allclose(found, whole, atol=1e-3)
    assert torch.allclose(whole, denoise_clip(world.transformer, noise, sigmas, starts=[0]), atol=1e-5)


def test_progress_counts_the_calls(world):
    noise = torch.randn(1, world.config.model.in_channels, 3, *world.latent_size)
    calls = []
    denoise_clip(world.transformer, noise, euler_sigmas(4), starts=[0, 1], progress=calls.append)
    assert sum(calls) == len(staggered(2, 4))


@pytest.mark.parametrize("starts", [[1, 2], [0, 2, 2], [0, 9], []])
def test_bad_chunks_are_refused(world, starts):
    noise = torch.zeros(1, world.config.model.in_channels, 4, *world.latent_size)
    with pytest.raises(ValueError, match="chunks must begin at frame 0"):
        denoise_clip(world.transformer, noise, (1.0, 0.0), starts=starts)


def test_guidance_needs_text(world):
    noise = torch.zeros(1, world.config.model.in_channels, 2, *world.latent_size)
    with pytest.raises(ValueError, match="needs a prompt and a negative prompt"):
        denoise_clip(world.transformer, noise, (1.0, 0.0), guidance=2.0)


@pytest.mark.parametrize("mode", ["bidirectional", "chunk_causal"])
def test_clip_is_pure_and_follows_its_inputs(world, mode):
    start, c2w = picture(world.config), forward(12)
    options = {"mode": mode, "steps": 2, "guidance": 1.0}
    latents = clip_latents(world, start, c2w, 7, **options)
    assert torch.equal(latents, clip_latents(world, start, c2w, 7, **options))
    assert latents.shape[2] == 1 + -(-11 // world.vae.temporal_stride)
    for changed in [(start, forward(12, -0.3), 7), (start, c2w, 8), (picture(world.config, 1), c2w, 7)]:
        assert not torch.allclose(latents, clip_latents(world, *changed, **options))
    frames = np.concatenate(list(decode_clip(world, latents, 12)))
    assert frames.shape == (12, world.config.height, world.config.width, 3) and frames.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c2w": forward(1)}, "at least 2 poses"),
        ({"c2w": np.zeros((9, 4, 4))}, "pose|rotation|rigid"),
        ({"seed": -1}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"text": (torch.zeros(1, 3, 4), None)}, "no text conditioning"),
        ({"mode": "bidirectional", "chunk_frames": 2}, "no chunks"),
    ],
)
def test_bad_input_of_a_clip(world, change, message):
    given = {"c2w": forward(9), "seed": 1, "mode": "chunk_causal", "steps": 1, "guidance": 1.0} | change
    with pytest.raises(ValueError, match=message):
        clip_latents(world, picture(world.config), given.pop("c2w"), given.pop("seed"), **given)


# -- the release, against diffusers' pipeline ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tests.world.checkpoints.release.release_fixtures import MODEL, write, write_vae
    from tests.world.networks.text.text_fixtures import write_text_encoder

    root = tmp_path_factory.mktemp("releases")
    for layout in ("bidirectional", "chunk_causal", "diffusers"):
        write(layout, root / layout)
    write_vae(root / "bidirectional" / "vae", causal=False, seed=1)
    write_text_encoder(root / "gemma", hidden_size=MODEL.caption_channels)
    return root


@pytest.fixture
def load(releases, monkeypatch, tmp_path):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))

    def open_release(layout, dtype=torch.float32):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return WorldModel.load(releases / layout, dtype=dtype)

    return open_release


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_whole_denoise_equals_the_pipeline(releases, load, guidance):
    """One clip: image, poses, intrinsics, two texts and noise; latents and frames of diffusers' `SanaWMPipeline`."""
    import diffusers
    from PIL import Image

    from sanawm_env.world.offline.vae import WholeClipVAE

    world = load("diffusers")
    own = WholeClipVAE(releases / "bidirectional" / "vae", dtype=torch.float32)
    theirs = diffusers.SanaWMTransformer3DModel.from_pretrained(releases / "diffusers" / "transformer")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=9.8)
    pipe = diffusers.SanaWMPipeline(None, None, own.network, theirs, scheduler)
    pipe.set_progress_bar_config(disable=True)
    config = world.config
    start, c2w = picture(config), forward(17)
    generator = torch.Generator().manual_seed(3)
    text, negative = (torch.randn(1, 12, 16, generator=generator) for _ in range(2))
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[:, 7:] = False
    noise = {}
    prepare = pipe.prepare_latents

    def remember(*arguments, **options):
        noise["start"], condition = prepare(*arguments, **options)
        return noise["start"].clone(), condition

    pipe.prepare_latents = remember
    options = {
        "intrinsics": start.intrinsics,
        "height": config.height,
        "width": config.width,
        "num_frames": 17,
        "num_inference_steps": 6,
        "guidance_scale": guidance,
        "generator": torch.Generator().manual_seed(0),
        "prompt_embeds": text[:, None],
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": negative[:, None],
        "negative_prompt_attention_mask": torch.ones(1, 12),
        "output_type": "np",
        "return_dict": False,
    }
    frames, _, expected = pipe(Image.fromarray(start.image), "", c2w=c2w, **options)

    from sanawm_env.world.offline import clip as render

    original = render.frame_noise
    try:
        render.frame_noise = lambda *_: noise["start"][0, :, 1:]
        given = {"mode": offline_mode(world), "steps": 6, "guidance": guidance, "vae": own}
        texts = {"text": (text, mask), "negative": (negative, torch.ones(1, 12))}
        found = clip_latents(world, start, c2w, 0, **given, **texts)
        unguided = clip_latents(world, start, c2w, 0, **(given | {"guidance": 3.0}), **texts)
    finally:
        render.frame_noise = original
    # Softmax blocks of both run in bfloat16: rounding is what is left. Another scale is far away.
    error, scale = (found - expected).abs(), expected.std()
    assert error.mean() < 3e-3 * scale and error.max() < 5e-2 * scale
    assert (unguided - expected).abs().mean() > 0.05 * scale
    shown = np.concatenate(list(decode_clip(world, expected, 17, own)))
    assert np.abs(shown / 255 - frames).max() < 0.51 / 255 + 1e-6


def test_modes_of_the_releases(load, world):
    assert offline_mode(load("bidirectional")) == offline_mode(load("diffusers")) == "bidirectional"
    assert offline_mode(load("chunk_causal")) == "chunk_causal"
    for stepped in (world, WorldModel.load("tiny")):
        with pytest.raises(ValueError, match=r"trained to be stepped.*sanawm rollout"):
            offline_mode(stepped)


# -- the command ---------------------------------------------------------------------------------------------------


def command(releases, tmp_path, layout="bidirectional", **options):
    defaults = {"out": tmp_path / "clip.mp4", "steps": 2, "actions": "w-16", "device": "cpu"}
    given = {"checkpoint": str(releases / layout), "text_encoder": releases / "gemma"}
    return render(**(defaults | given | options))


def render(**options):
    """The command with options as on the command line, where those of the world stand beside the others."""
    own = {field.name for field in fields(ClipOptions)}
    world = ClipOptions(**{name: value for name, value in options.items() if name in own})
    return Render(**{name: value for name, value in options.items() if name not in own}, world=world)


@pytest.mark.parametrize("layout", ["bidirectional", "chunk_causal"])
def test_command_writes_video_poses_recipe_and_latents(releases, load, tmp_path, layout, monkeypatch):
    from sanawm_env.world.networks.text import encoder as text

    monkeypatch.setattr(text, "release_instruction", lambda: "Describe: ")
    command(releases, tmp_path, layout, prompt="a road", latents=True, frames=13).run()
    recipe = json.loads((tmp_path / "clip.json").read_text())
    assert recipe["mode"] == layout and recipe["guidance"] == 5.0 and recipe["frames"] == 13
    assert recipe["sigmas"] == list(euler_sigmas(2)) and len(recipe["frames_sha256"]) == 64
    assert (recipe["vae"] is not None) == (layout == "bidirectional")
    assert np.load(tmp_path / "clip_c2w.npy").shape == (13, 4, 4)
    from safetensors.torch import load_file

    assert load_file(tmp_path / "clip_latents.safetensors")["latents"].shape == (1, 8, 3, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [
        "clip.json",
        "clip.mp4",
        "clip_c2w.npy",
        "clip_latents.safetensors",
    ]


def test_built_in_world_is_refused_unless_the_mode_is_named(tmp_path):
    options = {"checkpoint": "tiny", "actions": "w-8", "out": tmp_path / "clip.mp4", "device": "cpu", "steps": 2}
    with pytest.raises(ValueError, match="trained to be stepped"):
        render(**options).run()
    assert not list(tmp_path.iterdir())
    render(**options, mode="chunk_causal").run()
    assert (tmp_path / "clip.mp4").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 1.0, "frames": 9}, "either --seconds or --frames"),
        ({"frames": 1}, "at least 2 frames"),
        ({"seconds": 60.0}, "longer path"),
        ({"cfg": float("nan")}, "--cfg"),
        ({"steps": 0}, "steps"),
        ({"flow_shift": 0.0}, "flow shift"),
        ({"mode": "bidirectional", "chunk_frames": 2}, "--chunk-frames"),
        ({"actions": "w-8", "camera": Path("a.npy")}, "either --actions or --camera"),
        ({"checkpoint": "tiny", "mode": "chunk_causal", "cfg": 5.0, "text_encoder": None}, "without text"),
        ({"vae": Path("nowhere")}, "no VAE"),
    ],
)
def test_bad_options_leave_nothing(releases, load, tmp_path, change, message, monkeypatch):
    from sanawm_env.world.networks.text import encoder as text

    monkeypatch.setattr(text, "release_instruction", lambda: "")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        command(releases, tmp_path, **change).run()
    assert not (tmp_path / "clip.mp4").exists() and not (tmp_path / "clip.json").exists()
