"""The transformer against the reference implementation's numbers (the golden vectors).

Every size, grid, chunk bound and step list comes from the files.
"""

import json
import math
from itertools import accumulate, pairwise

import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.world.accel.flops import chunk_lengths
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.offline.clip import chunk_starts
from sanawm_env.world.sampler import denoise_chunk

OUT_MAX, OUT_MEAN = 1e-4, 1e-5


def tiny_config(golden_dir, **changes):
    meta = json.loads((golden_dir / "streaming_tiny_config.json").read_text())
    c = meta["constructor"]
    # A remainder frame makes the first chunk, which is the sink, longer than the window's usual room for it.
    usual = meta["chunk_bounds"][1] == c["chunk_size"] + 1
    config = SanaWMConfig(
        depth=c["depth"],
        hidden_size=c["hidden_size"],
        head_dim=c["linear_head_dim"],
        in_channels=c["in_channels"],
        patch_size=tuple(c["patch_size"][1:]),
        mlp_ratio=c["mlp_ratio"],
        caption_channels=c["caption_channels"],
        text_length=c["model_max_length"],
        temporal_stride=c["chunk_plucker_channels"] // 6,
        softmax_every_n=c["softmax_every_n"],
        conv_kernel_size=c["conv_kernel_size"],
        pos_embed_tokens=c["input_size"] ** 2,
        chunk_frames=c["chunk_size"],
        cached_chunks=meta["sampler"]["num_cached_blocks"],
        sink=meta["sampler"]["sink_token"],
        max_cached_frames=0 if usual else meta["chunk_bounds"][-1],
    )
    return config.replace(**changes), meta


@pytest.fixture(scope="module")
def weights(golden_dir):
    return load_file(golden_dir / "streaming_tiny_weights.safetensors")


@pytest.fixture(scope="module")
def forward_file(golden_dir):
    return load_file(golden_dir / "streaming_tiny_forward.safetensors")


@pytest.fixture(scope="module")
def rollout_file(golden_dir):
    return load_file(golden_dir / "streaming_tiny_rollout.safetensors")


def build(config, weights):
    model = SanaWMTransformer(config)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def close(actual, expected, what, maximum=OUT_MAX, mean=OUT_MEAN):
    error = (actual.float() - expected.float()).abs()
    assert error.max() <= maximum, f"{what}: max |d| {error.max():.3g}"
    assert error.mean() <= mean, f"{what}: mean |d| {error.mean():.3g}"


def close_inner(actual, expected, what):
    error = (actual.float() - expected.float()).abs()
    assert (error <= 1e-4 + 1e-5 * expected.float().abs()).all(), f"{what}: max |d| {error.max():.3g}"


def timesteps(value, batch, time):
    return value.reshape(batch, -1).expand(batch, time)


def chunk_inputs(data, c, kind, *, camera=True):
    x = data[f"c{c}.x_{kind}"]
    batch, _, time = x.shape[:3]
    return (
        x,
        timesteps(data[f"c{c}.timestep_{kind}"], batch, time),
        {
            "text": data["text_embeds"][:, 0],
            "text_mask": data["mask"],
            "raymap": data[f"c{c}.camera_conditions"] if camera else None,
            "plucker": data[f"c{c}.chunk_plucker"],
        },
    )


def num_chunks(data):
    return 1 + max(int(k[1:].split(".")[0]) for k in data if k.startswith("c") and k.endswith(".x_noisy"))


def cache_for(config, data):
    batch, _, _, height, width = data["c0.x_noisy"].shape
    return empty_cache(config, batch, height * width // math.prod(config.patch_size))


@torch.no_grad()
def test_streaming_chunks_and_caches(golden_dir, weights, forward_file):
    data = forward_file
    config, _ = tiny_config(golden_dir)
    model, cache = build(config, weights), cache_for(config, data)
    for c in range(num_chunks(data)):
        assert int(cache.frames[0]) == int(data[f"c{c}.start_f"])
        x, t, cond = chunk_inputs(data, c, "noisy")
        out, nothing = model(x, t, cache=cache, **cond)
        assert nothing is None
        close(out, data[f"c{c}.out_noisy"], f"c{c}.out_noisy")
        x, t, cond = chunk_inputs(data, c, "clean")
        out, cache = model(x, t, cache=cache, commit=True, **cond)
        close(out, data[f"c{c}.out_clean"], f"c{c}.out_clean")
        assert int(cache.frames[0]) == int(data[f"c{c}.end_f"])
        check_cache(config, cache, data, c, x.shape[2])


def check_cache(config, cache, data, c, time):
    """Upstream's ten slots against ours (the README beside the golden vectors)."""
    for i, block in enumerate(cache.blocks):
        slot = {k.split(".")[-1]: v for k, v in data.items() if k.startswith(f"c{c}.kv.b{i}.s")}
        tail = block["ffn_tail"]  # (B, 1, S, C) against (B, C, 1, S)
        close_inner(tail.permute(0, 3, 1, 2), slot["s9"], f"c{c} block {i} ffn tail")
        if config.is_softmax(i):
            assert float(slot["s6"]) == 0.0
            for name, key in (("k", "s0"), ("v", "s1"), ("cam_k", "s2"), ("cam_v", "s3")):
                newest = block[name][:, -time:].flatten(1, 2).transpose(1, 2)
                close_inner(newest, slot[key], f"c{c} block {i} {name}")
        else:
            assert float(slot["s6"]) == 1.0
            close_inner(block["state"].transpose(-1, -2), slot["s0"], f"c{c} block {i} state")
            close_inner(block["normalizer"], slot["s1"], f"c{c} block {i} normalizer")
            close_inner(block["cam_state"], slot["s2"], f"c{c} block {i} camera state")
            conv = block["conv_tail"].permute(0, 2, 1, 3).flatten(0, 1)
            close_inner(conv, slot["s4"], f"c{c} block {i} conv tail")


@torch.no_grad()
def test_inner_outputs(golden_dir, weights, forward_file):
    data = forward_file
    config, _ = tiny_config(golden_dir)
    model, cache = build(config, weights), cache_for(config, data)
    captured = {}

    def capture(name):
        return lambda _module, _args, out: captured.__setitem__(name, out[0] if isinstance(out, tuple) else out)

    for i, block in enumerate(model.blocks):
        block.register_forward_hook(capture(f"block{i}"))
        for part in ("attn", "cross_attn", "mlp"):
            getattr(block, part).register_forward_hook(capture(f"block{i}.{part}"))
    for c in range(num_chunks(data)):
        x, t, cond = chunk_inputs(data, c, "noisy")
        model(x, t, cache=cache, **cond)
        expected = [k for k in data if k.startswith(f"c{c}.noisy.")]
        for key in expected:
            close_inner(captured[key.removeprefix(f"c{c}.noisy.")].flatten(1, 2), data[key], key)
        x, t, cond = chunk_inputs(data, c, "clean")
        _, cache = model(x, t, cache=cache, commit=True, **cond)
    assert any(".noisy." in k for k in data)


@torch.no_grad()
def test_without_camera(golden_dir, weights, forward_file):
    data = forward_file
    config, _ = tiny_config(golden_dir)
    model, cache = build(config, weights), cache_for(config, data)
    chunks = [c for c in range(num_chunks(data)) if f"c{c}.out_noisy_nocam" in data]
    assert chunks
    for c in chunks:
        x, t, cond = chunk_inputs(data, c, "noisy", camera=False)
        close(model(x, t, cache=cache, **cond)[0], data[f"c{c}.out_noisy_nocam"], f"c{c} noisy")
        x, t, cond = chunk_inputs(data, c, "clean", camera=False)
        out, cache = model(x, t, cache=cache, commit=True, **cond)
        close(out, data[f"c{c}.out_clean_nocam"], f"c{c} clean")


@torch.no_grad()
def test_bfloat16_softmax_as_shipped(golden_dir, weights, forward_file):
    data = forward_file
    config, _ = tiny_config(golden_dir, attention_dtype="bfloat16")
    model, cache = build(config, weights), cache_for(config, data)
    compared = 0
    for c in range(num_chunks(data)):
        for kind, commit in (("noisy", False), ("clean", True)):
            x, t, cond = chunk_inputs(data, c, kind)
            out, new = model(x, t, cache=cache, commit=commit, **cond)
            key = f"c{c}.out_{kind}_bf16cast"
            if key in data:
                close(out, data[key], key, 1e-2, 1e-3)
                compared += 1
        cache = new
    assert compared


@pytest.mark.parametrize(
    ("key", "changes", "tolerance"),
    [
        ("latents_final", {}, (OUT_MAX, OUT_MEAN)),
        ("latents_final_nosink", {"sink": False}, (OUT_MAX, OUT_MEAN)),
        ("latents_final_all_cached", {"cached_chunks": -1}, (OUT_MAX, OUT_MEAN)),
        ("latents_final_bf16cast", {"attention_dtype": "bfloat16"}, (1e-2, 1e-3)),
    ],
)
@torch.no_grad()
def test_rollout(golden_dir, weights, rollout_file, key, changes, tolerance):
    """The whole sampler: four Euler steps and a commit per chunk, first frame held clean."""
    for start, end, latents in rolled(golden_dir, weights, rollout_file, changes):
        close(latents, rollout_file[key][:, :, start:end], f"{key} [{start}, {end})", *tolerance)


def rolled(golden_dir, weights, data, changes):
    """First and last frame of every chunk of the golden rollout, and its latents."""
    total = data["latents_init"].shape[2]
    config, meta = tiny_config(golden_dir, max_cached_frames=total, **changes)
    model = build(config, weights)
    batch, _, _, height, width = data["latents_init"].shape
    cache = empty_cache(config, batch, height * width // math.prod(config.patch_size))
    sigmas = [s / 1000 for s in meta["sampler"]["denoising_step_list"]]
    assert torch.allclose(data["scheduler.sigmas"], torch.tensor(sigmas))
    bounds = meta["autoregressive_segments"][str(total)]
    for start, end in pairwise(bounds):
        cond = {
            "text": data["text_embeds"][:, 0],
            "text_mask": data["mask"],
            "raymap": data["camera_conditions"][:, start:end],
            "plucker": data["chunk_plucker"][:, :, start:end],
        }
        clean = torch.zeros(batch, end - start, dtype=torch.bool)
        clean[:, 0] = start == 0
        latents, cache = denoise_chunk(model, data["latents_init"][:, :, start:end], cache, sigmas, clean=clean, **cond)
        yield start, end, latents


@pytest.mark.parametrize(
    ("inputs", "output", "camera", "dtype"),
    [
        ("t0", "out_t0", True, "float32"),
        ("mid", "out_mid", True, "float32"),
        ("t0", "out_t0_nocam", False, "float32"),
        ("mid", "out_mid_bf16cast", True, "bfloat16"),
    ],
)
@torch.no_grad()
def test_chunk_causal(golden_dir, weights, inputs, output, camera, dtype):
    data = load_file(golden_dir / "chunk_causal_tiny_forward.safetensors")
    config, _ = tiny_config(golden_dir, softmax_scale="head", camera_conv_tail=True, attention_dtype=dtype)
    model = build(config, weights)
    x = data[f"x_{inputs}"]
    batch, time = x.shape[0], x.shape[2]
    starts = data["chunk_index"].tolist()
    chunks = [sum(t >= s for s in starts) - 1 for t in range(time)]
    out, _ = model(
        x,
        timesteps(data[f"timestep_{inputs}"], batch, time),
        text=data["text_embeds"][:, 0],
        text_mask=data["mask"],
        raymap=data["camera_conditions"] if camera else None,
        plucker=data["chunk_plucker"],
        chunks=chunks,
    )
    close(out, data[output], output, *((1e-2, 1e-3) if dtype == "bfloat16" else (OUT_MAX, OUT_MEAN)))


def test_release_keys(golden_dir):
    """On the meta device the release preset has exactly the release's keys and shapes."""
    from sanawm_env.world.networks.config import RELEASE

    expected = {}
    for line in (golden_dir / "release_state_dict_keys.txt").read_text().splitlines():
        if line.startswith("# ====="):
            break
        if line and not line.startswith("#"):
            name, shape = line.split("\t")[:2]
            expected[name] = json.loads(shape)
    with torch.device("meta"):
        model = SanaWMTransformer(RELEASE)
    actual = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert actual == expected
    assert len(actual) == len(expected) > 0


def test_a_clip_is_cut_into_chunks_as_upstream_does(golden_dir):
    """Where no frame remains. Upstream's streaming sampler gives a remainder to the first chunk, we to the last."""
    config, meta = tiny_config(golden_dir)
    whole = 0
    for text, bounds in meta["autoregressive_segments"].items():
        total = int(text)
        starts = chunk_starts(total, config.chunk_frames, config.first_chunk)
        if (total - 1) % config.chunk_frames == 0:
            assert [*starts, total] == bounds == [0, *accumulate(chunk_lengths(config, total))]
            whole += 1
    assert whole >= 3
