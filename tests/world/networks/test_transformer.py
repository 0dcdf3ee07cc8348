"""The transformer against itself (streaming and chunk-causal) and against diffusers (bidirectional)."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.camera.rays import chunk_plucker, raymap, relative_to_first
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.config import RELEASE_BIDIRECTIONAL, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

ROWS, COLUMNS = 3, 4

SMALL = SanaWMConfig(
    depth=4,
    hidden_size=48,
    head_dim=24,
    in_channels=5,
    caption_channels=12,
    text_length=6,
    temporal_stride=4,
    softmax_every_n=2,
    pos_embed_tokens=0,
    release_buffers=False,
    camera_conv_tail=True,
    chunk_causal_softmax="window",
)

WINDOWS = {
    "frames": SMALL.replace(window_frames=4, first_chunk="alone"),
    "frames_one": SMALL.replace(window_frames=1, first_chunk="alone"),
    "chunks_sink": SMALL.replace(cached_chunks=2, sink=True),
    "chunks_sink_3": SMALL.replace(cached_chunks=3, sink=True),
    "chunks_no_sink": SMALL.replace(cached_chunks=2, sink=False),
    "keep_all": SMALL.replace(cached_chunks=-1, max_cached_frames=16),
}


def build(config, seed=0):
    """A transformer in which every parameter matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SanaWMTransformer(config)
        randomise(model)
    return model.eval().requires_grad_(False)


def randomise(model):
    for name, value in model.named_parameters():
        if name.endswith("norm.weight") or name.endswith("norm_cam.weight"):
            torch.nn.init.uniform_(value, 0.7, 1.3)
        elif name.endswith("A_log"):
            torch.nn.init.uniform_(value, -2, -1)
        elif "conv_k" in name or "t_conv" in name or value.ndim < 2:
            torch.nn.init.normal_(value, std=0.3)
        else:
            fan_in = value[0].numel()
            torch.nn.init.normal_(value, std=fan_in**-0.5)


def trajectory(seed, batch, latents, stride, speed=0.3):
    """Poses `(B, 1 + stride * (latents - 1), 4, 4)` that turn and move, starting away from the identity."""
    rng = np.random.default_rng(seed)
    frames = 1 + stride * (latents - 1)
    c2w = np.tile(np.eye(4), (batch, frames, 1, 1))
    angles = np.cumsum(rng.normal(0, 0.05, (batch, frames, 3)), axis=1)
    c2w[..., :3, :3] = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(batch, frames, 3, 3)
    c2w[..., :3, 3] = np.cumsum(rng.normal(0, speed / stride, (batch, frames, 3)), axis=1)
    intrinsics = torch.tensor([COLUMNS * 0.7, COLUMNS * 0.8, COLUMNS / 2, ROWS / 2]).double()
    return torch.from_numpy(c2w), intrinsics.expand(batch, frames, 4)


def inputs(config, batch, latents, seed=0):
    generator = torch.Generator().manual_seed(seed)
    c2w, intrinsics = trajectory(seed, batch, latents, config.temporal_stride)
    mask = torch.ones(batch, config.text_length)
    mask[0, config.text_length // 2 :] = 0
    cond = {
        "text": torch.randn(batch, config.text_length, config.caption_channels, generator=generator),
        "text_mask": mask,
        "raymap": raymap(c2w, intrinsics, config.temporal_stride).float(),
        "plucker": chunk_plucker(c2w, intrinsics, ROWS, COLUMNS, config.temporal_stride).float(),
    }
    x = torch.randn(batch, config.in_channels, latents, ROWS, COLUMNS, generator=generator)
    timesteps = torch.randint(0, 1000, (batch, latents), generator=generator).float()
    return x, timesteps, cond


def of_frames(cond, start, end):
    return cond | {"raymap": cond["raymap"][:, start:end], "plucker": cond["plucker"][:, :, start:end]}


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(0, 2**16))
def test_chunk_causal_equals_streaming(window, later, seed):
    """What the trainer computes in one call is what the environment computes chunk by chunk."""
    config = WINDOWS[window]
    lengths = [1 if config.first_chunk == "alone" else config.chunk_frames + 1, *later]
    bounds = [0, *np.cumsum(lengths).tolist()]
    model = build(config, seed % 7)
    x, timesteps, cond = inputs(config, 2, bounds[-1], seed)
    chunks = [c for c, n in enumerate(lengths) for _ in range(n)]
    whole, _ = model(x, timesteps, chunks=chunks, **cond)

    cache = empty_cache(config, 2, ROWS * COLUMNS)
    for start, end in itertools.pairwise(bounds):
        part = x[:, :, start:end], timesteps[:, start:end]
        out, cache = model(*part, cache=cache, commit=True, **of_frames(cond, start, end))
        assert (out - whole[:, :, start:end]).abs().max() <= 2e-5, f"frames {start}..{end} of {lengths}"
    assert cache.frames.tolist() == [bounds[-1]] * 2
    assert cache.chunks.tolist() == [len(lengths)] * 2
    assert whole.std() > 0.1


def test_window_matters():
    """The comparison above would pass on a model that ignores its window: show that this one does not."""
    config = WINDOWS["chunks_sink"]
    model = build(config)
    x, timesteps, cond = inputs(config, 1, 10)
    chunks = [0] * 4 + [1] * 3 + [2] * 3
    outputs = []
    for changes in ({}, {"chunk_causal_softmax": "full"}, {"cached_chunks": 1, "sink": False}):
        model.config = config.replace(**changes)
        outputs.append(model(x, timesteps, chunks=chunks, **cond)[0])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert (outputs[0] - outputs[2])[:, :, 7:].abs().max() > 1e-3


def test_slots_continue_at_their_own_frames():
    """Slots at different points of their rollout share a call (window and RoPE are per slot)."""
    config = WINDOWS["frames"]
    model = build(config)
    x, timesteps, cond = inputs(config, 2, 6)

    def run(slot, bounds):
        cache = empty_cache(config, 1, ROWS * COLUMNS)
        one = {name: value[slot : slot + 1] for name, value in cond.items()}
        for start, end in bounds:
            part = x[slot : slot + 1, :, start:end], timesteps[slot : slot + 1, start:end]
            out, cache = model(*part, cache=cache, commit=True, **of_frames(one, start, end))
        return out, cache

    caches = [run(0, [(0, 1), (1, 4)])[1], run(1, [(0, 1), (1, 2)])[1]]
    flat = [cache.flat() for cache in caches]
    joined = caches[0].from_flat({name: torch.cat([f[name] for f in flat]) for name in flat[0]})
    picked = [slice(4, 6), slice(2, 4)]
    together, _ = model(
        torch.stack([x[i, :, s] for i, s in enumerate(picked)]),
        torch.stack([timesteps[i, s] for i, s in enumerate(picked)]),
        cache=joined,
        text=cond["text"],
        text_mask=cond["text_mask"],
        raymap=torch.stack([cond["raymap"][i, s] for i, s in enumerate(picked)]),
        plucker=torch.stack([cond["plucker"][i, :, s] for i, s in enumerate(picked)]),
    )
    for slot, bounds in enumerate(([(0, 1), (1, 4), (4, 6)], [(0, 1), (1, 2), (2, 4)])):
        assert (together[slot] - run(slot, bounds)[0][0]).abs().max() <= 2e-5


@pytest.mark.parametrize("patch_seed", [0, 1])
def test_bidirectional_equals_diffusers(monkeypatch, patch_seed):
    """The bidirectional release as diffusers computes it, at a small size."""
    wm = pytest.importorskip("diffusers.models.transformers.transformer_sana_wm")
    # diffusers casts float32 to bfloat16 before softmax attention: switched off, as in the golden vectors.
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self)
    config = RELEASE_BIDIRECTIONAL.replace(
        depth=4, hidden_size=48, head_dim=24, in_channels=6, caption_channels=12, text_length=7
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(patch_seed)
        theirs = wm.SanaWMTransformer3DModel(
            in_channels=config.in_channels,
            num_layers=config.depth,
            hidden_size=config.hidden_size,
            num_attention_heads=config.heads,
            patch_size=(1, *config.patch_size),
            softmax_every_n=config.softmax_every_n,
            linear_head_dim=config.head_dim,
            chunk_plucker_channels=config.plucker_channels,
            caption_channels=config.caption_channels,
            mlp_ratio=config.mlp_ratio,
        )
        randomise(theirs)
    theirs = theirs.eval().requires_grad_(False)
    state = {
        name.replace("t_embedder.linear_1", "t_embedder.mlp.0").replace("t_embedder.linear_2", "t_embedder.mlp.2"): v
        for name, v in theirs.state_dict().items()
    }
    ours = SanaWMTransformer(config).eval().requires_grad_(False)
    absent = ours.load_state_dict(state, strict=False)
    # The release's two buffers which diffusers dropped; neither is read.
    assert set(absent.missing_keys) == {"pos_embed", "y_embedder.y_embedding"} and not absent.unexpected_keys

    x, timesteps, cond = inputs(config, 2, 7, seed=patch_seed)
    timesteps[:, 0] = 0
    assert not torch.allclose(cond["raymap"][:, -1, :16], torch.eye(4).flatten(), atol=0.1)
    assert cond["text_mask"].min() == 0
    actual, _ = ours(x, timesteps, **cond)
    expected = theirs(
        x,
        timesteps[:, None],
        cond["text"][:, None],
        encoder_attention_mask=cond["text_mask"],
        camera_conditions=cond["raymap"],
        chunk_plucker=cond["plucker"],
        return_dict=False,
    )[0]
    assert expected.std() > 0.1
    assert (actual - expected).abs().max() <= 1e-4
    without, _ = ours(x, timesteps, **(cond | {"raymap": None}))
    assert (without - actual).abs().max() > 1e-2, "the camera branch must take part in the comparison"


@pytest.mark.parametrize(("every", "rigid"), [(99, False), (1, True)], ids=["delta_rule", "softmax"])
def test_camera_branch_ignores_the_choice_of_world(every, rigid):
    """A common rotation of all poses changes nothing; in softmax blocks no rigid motion does."""
    config = SMALL.replace(softmax_every_n=every, depth=1)
    model = build(config)
    x, timesteps, cond = inputs(config, 1, 5)
    c2w, intrinsics = trajectory(0, 1, 5, config.temporal_stride)
    c2w = relative_to_first(c2w)
    outputs = []
    for moved in (False, True):
        world = np.eye(4)
        if moved:
            world[:3, :3] = Rotation.from_rotvec([0.4, -0.9, 0.3]).as_matrix()
            world[:3, 3] = [0.5, -0.3, 0.8] if rigid else 0
        rows = torch.cat(((torch.from_numpy(world) @ c2w[:, :: config.temporal_stride]).flatten(-2),
                          intrinsics[:, :: config.temporal_stride]), dim=-1)  # fmt: skip
        # Not through raymap(), which would make the poses relative again; Plücker is not invariant, so left out.
        given_cond = cond | {"raymap": rows.float(), "plucker": None}
        outputs.append(model(x, timesteps, **given_cond)[0])
    assert (outputs[0] - outputs[1]).abs().max() <= 2e-5
    still, _ = model(x, timesteps, **(cond | {"raymap": rows[:, :1].expand(-1, 5, -1).float(), "plucker": None}))
    assert (outputs[0] - still).abs().max() > 1e-3


def test_a_chunk_of_an_empty_cache_is_bidirectional():
    """Without a past, streaming and the whole clip are one model."""
    model = build(SMALL)
    x, timesteps, cond = inputs(SMALL, 1, 4)
    alone, nothing = model(x, timesteps, **cond)
    streamed, _ = model(x, timesteps, cache=empty_cache(SMALL, 1, ROWS * COLUMNS), **cond)
    assert nothing is None
    assert (alone - streamed).abs().max() <= 2e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t, c: (x[:, :-1], t, c), "Expected latents"),
        (lambda x, t, c: (x, t, c | {"raymap": c["raymap"][:, :-1]}), "raymap"),
        (lambda x, t, c: (x, t, c | {"plucker": c["plucker"][:, :-6]}), "plucker"),
        (lambda x, t, c: (x, t, c | {"chunks": [0, 1]}), "chunks"),
        (lambda x, t, c: (x, t, c | {"chunks": [1, 0, 0]}), "non-decreasing"),
        (lambda x, t, c: (x, t, c | {"cache": empty_cache(SMALL, 2, ROWS * COLUMNS)}), "number of slots"),
        (lambda x, t, c: (x, t[:, :-1], c), "timesteps"),
        (lambda x, t, c: (x, t[:, None], c), "timesteps"),
        (lambda x, t, c: (x, t, c | {"text": None}), "text"),
        (lambda x, t, c: (x, t, c | {"commit": True}), "empty_cache"),
        (
            lambda x, t, c: (x, t, c | {"cache": empty_cache(SMALL, 1, ROWS * COLUMNS), "chunks": [0, 0, 0]}),
            "not both",
        ),
    ],
    ids=[
        "channels",
        "raymap",
        "plucker",
        "few chunks",
        "falling chunks",
        "slots",
        "time",
        "axes",
        "text",
        "commit",
        "modes",
    ],
)
def test_bad_input(change, message):
    x, timesteps, cond = inputs(SMALL, 1, 3)
    x, timesteps, cond = change(x, timesteps, cond)
    with pytest.raises(ValueError, match=message):
        build(SMALL)(x, timesteps, **cond)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 20}, "head_dim"),
        ({"head_dim": 28}, "head_dim"),
        ({"depth": 0}, "depth"),
        ({"cached_chunks": 0}, "cached_chunks"),
        ({"cached_chunks": -1}, "max_cached_frames"),
    ],
)
def test_bad_config(changes, message):
    with pytest.raises(ValueError, match=message):
        SMALL.replace(**changes)


def test_unknown_config_key():
    with pytest.raises(ValueError, match="newer version"):
        SanaWMConfig.from_dict(SMALL.to_dict() | {"colour": 1})
    assert SanaWMConfig.from_dict(SMALL.to_dict()) == SMALL
    assert math.isclose(SMALL.mlp_width, 3 * SMALL.hidden_size)
