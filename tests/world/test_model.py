"""WorldModel: purity, slots that never meet, constant bytes, both first-chunk rules, noise, bad input."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.camera.rays import chunk_plucker, raymap
from sanawm_env.world.config import WorldConfig, small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.noise import frame_noise
from sanawm_env.world.sampler import commit_chunk, denoise_chunk
from sanawm_env.world.state import WorldState

HEIGHT, WIDTH, STRIDE = 32, 48, 4
RULES = ("alone", "plus_one")
K = [30.0, 31.0, 24.0, 16.0]


@functools.cache
def world(rule="alone", window=4, text=0, batched=None):
    config = small_config(height=HEIGHT, width=WIDTH, sigmas=(1.0, 0.6, 0.0))
    model = config.model.replace(
        first_chunk=rule, window_frames=window, caption_channels=text, hidden_size=32, head_dim=8, mlp_ratio=2.0
    )
    built = WorldModel.untrained(config.replace(model=model), seed=3)
    if batched is not None:
        built.batched = batched
    return built


def images(*seeds):
    return np.stack([np.random.default_rng(s).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for s in seeds])


def begin(model, *seeds):
    return model.start(images(*seeds), [K] * len(seeds), [s + 100 for s in seeds])[0]


def path(kind, frames):
    """Poses 1..frames of a camera that turns and moves its own way."""
    rng = np.random.default_rng(kind)
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    time = np.arange(1, frames + 1)[:, None]
    c2w[:, :3, :3] = Rotation.from_rotvec(time * rng.normal(0, 0.02, 3)).as_matrix()
    c2w[:, :3, 3] = time * rng.normal(0, 0.03, 3)
    return c2w


def walk(kind, start, latents):
    """Poses of the next `latents` latent frames after pixel frame `start`, `(F, 4, 4)`."""
    return path(kind, start + latents * STRIDE)[start:]


def poses_for(state, kinds, latents):
    starts = state.frame_index.tolist()
    return np.stack([walk(kind, start, latents) for kind, start in zip(kinds, starts, strict=True)])


# -- purity -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_start_and_step_are_pure(rule):
    model = world(rule)
    given_images = images(0, 1)
    kept = given_images.copy()
    state, first = model.start(given_images, [K, K], [5, 6])
    assert np.array_equal(first, kept[:, None]) and np.array_equal(given_images, kept)
    again, _ = model.start(given_images, [K, K], [5, 6])
    assert state.equal(again)
    for latents in (2, 1):
        before = state.map(torch.clone)
        poses = poses_for(state, (0, 1), latents)
        kept_poses = poses.copy()
        after, frames = model.step(state, poses)
        twin, twin_frames = model.step(state, poses)
        assert state.equal(before) and np.array_equal(poses, kept_poses)
        assert after.equal(twin) and np.array_equal(frames, twin_frames)
        assert not after.equal(state)
        frames[:] = 0  # what the caller does with the frames does not reach the state
        assert after.equal(twin)
        state = after


def test_a_network_in_training_is_left_as_it_is():
    """The trainer draws sample sheets with the network that it trains."""
    model = world()
    trained = WorldModel.untrained(model.config)
    trained.transformer.train()
    twin = WorldModel(model.config, trained.transformer, trained.vae, "x")
    twin.step(begin(twin, 0), GOOD)
    assert twin.transformer.training and all(p.requires_grad for p in twin.transformer.parameters())


def test_shapes_and_bookkeeping():
    model = world()
    state = begin(model, 0, 1)
    assert state.frame_index.tolist() == [0, 0] and state.cache.frames.tolist() == [1, 1]
    assert torch.equal(state.c2w, torch.eye(4, dtype=torch.float64).repeat(2, 1, 1))
    poses = poses_for(state, (0, 1), 3)
    state, frames = model.step(state, poses)
    assert frames.shape == (2, 3 * STRIDE, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
    assert state.frame_index.tolist() == [12, 12] and state.cache.frames.tolist() == [4, 4]
    assert np.array_equal(state.c2w.numpy(), poses[:, -1])
    assert np.array_equal(state.last_frame.numpy(), frames[:, -1])
    assert state.checkpoint == model.checkpoint
    assert frames.std() > 1 and np.abs(np.diff(frames.astype(int), axis=1)).max() > 0


@pytest.mark.parametrize("rule", RULES)
def test_camera_text_and_seed_reach_the_frames(rule):
    model = world(rule, text=6)
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 3, 6, generator=generator)
    state, _ = model.start(images(0), [K], [1], text)
    poses = poses_for(state, (0,), 2)
    after, _ = model.step(state, poses)
    others = [
        model.step(state, poses_for(state, (1,), 2))[0],
        model.step(model.start(images(0), [K], [1], text + 1)[0], poses)[0],
        model.step(model.start(images(0), [K], [1], text, torch.tensor([[1, 1, 0]]))[0], poses)[0],
        model.step(model.start(images(0), [K], [2], text)[0], poses)[0],
        model.step(model.start(images(1), [K], [1], text)[0], poses)[0],
        model.step(model.start(images(0), [[25.0, 31, 24, 16]], [1], text)[0], poses)[0],
        model.step(state, poses, sigmas=(1.0, 0.9, 0.5, 0.0))[0],
    ]
    for other in others:
        assert not torch.equal(other.vae_tails["latent"], after.vae_tails["latent"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": torch.int32}, "dtype must be a floating type"),
        ({"dtype": "flot32"}, "dtype must be a floating type such as 'float32' or 'bfloat16'; got 'flot32'"),
        ({"dtype": 3}, "dtype must be a floating type"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"precision": "fp32", "dtype": "float16"}, "precision fp32 computes in float32"),
        ({"preset": "streaming"}, "leave preset out"),
    ],
)
def test_bad_arguments_are_refused_before_weights_are_read(monkeypatch, arguments, message):
    def read(*_):
        pytest.fail("weights were read")

    monkeypatch.setattr("sanawm_env.world.checkpoints.local.load_checkpoint", read)
    with pytest.raises(ValueError, match=message):
        WorldModel.load("tiny", **arguments)


def test_a_type_may_be_given_by_name():
    assert WorldModel.load("tiny", dtype="bfloat16").dtype == torch.bfloat16


# -- the rollout is the reference's --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@torch.no_grad()
def test_equals_the_plain_sampler_on_whole_trajectory_inputs(rule):
    """Frames as from `denoise_chunk` with camera tensors of the whole trajectory and one decode at the end."""
    model = world(rule)
    lengths = (2, 1, 3)
    c2w = torch.from_numpy(np.concatenate([np.eye(4)[None], path(0, sum(lengths) * STRIDE)]))[None]
    rows, columns = model.token_grid
    scale = torch.tensor([columns / WIDTH, rows / HEIGHT] * 2).double()
    token_k = (torch.tensor(K).double() * scale).expand(1, c2w.shape[1], 4)
    rays = raymap(c2w, token_k, STRIDE).float()
    window = "hold" if rule == "alone" else "future"
    plucker = chunk_plucker(c2w, token_k, rows, columns, STRIDE, window).float()

    state, _ = model.start(images(0), [K], [7])
    frame = torch.from_numpy(images(0)).float().div(127.5).sub(1).permute(0, 3, 1, 2)[:, :, None]
    first = model.vae.encode(frame)
    noise = frame_noise(7, 0, 1 + sum(lengths), (model.vae.latent_channels, *model.latent_size))[None]
    noise[:, :, :1] = first
    bounds = [0, 1] if rule == "alone" else [0]
    for n in lengths:
        bounds.append((bounds[-1] or 1) + n)
    cache, latents = empty_cache(model.config.model, 1, rows * columns), []
    for start, end in itertools.pairwise(bounds):
        cond = {"raymap": rays[:, start:end], "plucker": plucker[:, :, start:end]}
        piece = noise[:, :, start:end]
        if end == 1:
            cache = commit_chunk(model.transformer, piece, cache, **cond)
        else:
            clean = torch.zeros(1, end - start, dtype=torch.bool)
            clean[:, 0] = start == 0
            piece, cache = denoise_chunk(model.transformer, piece, cache, model.config.sigmas, clean=clean, **cond)
        latents.append(piece)
    pixels, _ = model.vae.decode(torch.cat(latents, dim=2), model.vae.init_tails(1, *model.latent_size))
    expected = (pixels.clamp(-1, 1) + 1).mul(127.5)[0, :, 1:].permute(1, 2, 3, 0).numpy()

    produced, done = [], 0
    for n in lengths:
        state, frames = model.step(state, c2w[:, 1 + done : 1 + done + n * STRIDE].numpy())
        produced.append(frames[0])
        done += n * STRIDE
    actual = np.concatenate(produced)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 0.501 + 1e-3  # rounding to uint8


def test_noise_depends_on_seed_and_frame_only():
    shape = (3, 2, 2)
    whole = frame_noise(5, 0, 6, shape)
    assert torch.equal(torch.cat([frame_noise(5, 0, 1, shape), frame_noise(5, 1, 5, shape)], dim=1), whole)
    assert not torch.equal(frame_noise(6, 0, 6, shape), whole)
    assert len({whole[:, j].numpy().tobytes() for j in range(6)}) == 6
    big = frame_noise(2**63 - 1, 10**6, 1, (64, 32, 32))
    assert abs(big.mean()) < 0.02 and abs(big.std() - 1) < 0.02
    # Frozen values: another numpy stream would silently change every seeded episode.
    fixed = np.random.Generator(np.random.Philox(key=5, counter=[0, 0, 0, 1])).standard_normal(shape, np.float32)
    assert np.array_equal(whole[:, 1].numpy(), fixed)


@pytest.mark.parametrize("rule", RULES)
def test_bytes_never_change(rule):
    model = world(rule)
    state = begin(model, 0)
    size, shapes = state.nbytes, {name: value.shape for name, value in state.flat().items()}
    rng = np.random.default_rng(0)
    for _ in range(30):
        state, _ = model.step(state, poses_for(state, (0,), int(rng.integers(1, 4))))
        assert state.nbytes == size
        assert {name: value.shape for name, value in state.flat().items()} == shapes
    # Nor does the memory behind the tensors: no state holds on to a larger activation.
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in state.flat().values())


# -- slots ----------------------------------------------------------------------------------------------------


@functools.cache
def alone_rollout(rule, seed, noise, history):
    """The state of one slot that lived by itself; history is a tuple of (path kind, latent frames)."""
    model = world(rule)
    if not history:
        state, frames = model.start(images(seed), [K], [noise])
        return state, frames[0]
    state, _ = alone_rollout(rule, seed, noise, history[:-1])
    kind, latents = history[-1]
    after, frames = model.step(state, walk(kind, int(state.frame_index[0]), latents)[None])
    return after, frames[0]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 3), st.integers(0, 1)),
        st.tuples(st.just("replace"), st.integers(0, 9), st.integers(0, 2)),
        st.tuples(st.just("select"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("fork"), st.just(2), st.integers(0, 1)),
    ),
    min_size=2,
    max_size=6,
)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=12, deadline=None)
@given(operations)
def test_slots_never_meet(rule, steps):
    """After any order of step, replace_slots, select and fork, every slot has the bits of a life alone."""
    model = world(rule)
    state = begin(model, 0, 1)
    lives = [(0, 100, ()), (1, 101, ())]
    for name, a, b in steps:
        if name == "step":
            kinds = [(slot + b) % 2 for slot in range(len(lives))]
            state, frames = model.step(state, poses_for(state, kinds, a))
            lives = [(s, n, (*h, (kind, a))) for (s, n, h), kind in zip(lives, kinds, strict=True)]
            for slot, life in enumerate(lives):
                assert np.array_equal(frames[slot], alone_rollout(rule, *life)[1])
        elif name == "replace":
            slot = a % len(lives)
            state = state.replace_slots([slot], begin(model, b))
            lives[slot] = (b, b + 100, ())
        elif name == "select":
            chosen = [a % len(lives), b % len(lives)]
            state, lives = state.select(chosen), [lives[i] for i in chosen]
        elif len(lives) <= 2:
            # New seeds only where no noise has been drawn yet, so that a life alone can be told by its seed.
            fresh = b and not any(h for _, _, h in lives)
            lives = [life for life in lives for _ in range(a)]
            if fresh:
                lives = [(s, 200 + i, h) for i, (s, _, h) in enumerate(lives)]
            state = state.fork(a, reseed=[n for _, n, _ in lives] if fresh else None)
    assert state.slots == len(lives)
    for slot, life in enumerate(lives):
        assert state.select([slot]).equal(alone_rollout(rule, *life)[0]), life


@pytest.mark.parametrize("rule", RULES)
def test_batched_agrees_up_to_rounding(rule):
    """One forward for many slots, also when some begin while others go on."""
    one, many = world(rule), world(rule, batched=True)
    if many is one:
        pytest.fail("the cache of worlds mixes both kinds")
    state = begin(one, 0, 1, 2)
    state, _ = one.step(state, poses_for(state, (0, 1, 0), 2))
    state = state.replace_slots([1], begin(one, 4))
    poses = poses_for(state, (0, 1, 1), 2)
    looped, frames = one.step(state, poses)
    batched, frames_batched = many.step(state, poses)
    for (name, a), b in zip(looped.flat().items(), batched.flat().values(), strict=True):
        if a.is_floating_point():
            assert torch.allclose(a, b, atol=1e-4, rtol=1e-4), name
        elif name != "last_frame":
            assert torch.equal(a, b), name
    assert np.abs(frames.astype(int) - frames_batched).max() <= 1
    begun, _ = many.start(images(0, 1), [K, K], [1, 2])
    assert torch.allclose(begun.first_latent, one.start(images(0, 1), [K, K], [1, 2])[0].first_latent, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_fork_repeats_and_reseed_diverges(rule):
    model = world(rule)
    state = begin(model, 0)
    state, _ = model.step(state, poses_for(state, (0,), 1))
    copies = state.fork(3)
    poses = poses_for(copies, (1, 1, 1), 2)
    after, frames = model.step(copies, poses)
    single, frame = model.step(state, poses[:1])
    for slot in range(3):
        assert after.select([slot]).equal(single) and np.array_equal(frames[slot], frame[0])
    reseeded = state.fork(2, reseed=[1, 2])
    assert reseeded.noise_seed.tolist() == [1, 2]
    _, frames = model.step(reseeded, poses[:2])
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize("rule", RULES)
def test_restore_replays(rule, tmp_path):
    """Many steps after a snapshot, the snapshot still replays the same frames; a saved one does as well."""
    model = world(rule)
    state = begin(model, 0, 1)
    state, _ = model.step(state, poses_for(state, (0, 1), 2))
    snapshot = state
    state.save(tmp_path / "state.safetensors")
    lengths = [3, 1, 2, 1, 1, 3, 2, 1]

    def play(state):
        out = []
        for n in lengths:
            state, frames = model.step(state, poses_for(state, (1, 0), n))
            out.append(frames)
        return state, out

    end, first = play(state)
    for restored in (snapshot, WorldState.load(tmp_path / "state.safetensors", model.checkpoint)):
        again, frames = play(restored)
        assert again.equal(end)
        assert all(np.array_equal(a, b) for a, b in zip(first, frames, strict=True))


def test_memory_layout_of_a_state_does_not_matter():
    """A state given as strided or unaligned views steps to the same bits."""
    model = world()
    state = begin(model, 0)
    state, _ = model.step(state, poses_for(state, (0,), 1))

    def shifted(value):
        room = torch.zeros(value.numel() + 3, dtype=value.dtype)
        room[3:] = value.reshape(-1)
        return room[3:].view(value.shape)

    def strided(value):
        return value.repeat_interleave(2, dim=-1)[..., ::2]

    poses = poses_for(state, (0,), 2)
    expected, _ = model.step(state, poses)
    for layout in (shifted, strided):
        moved = state.map(layout)
        assert moved.equal(state)
        assert model.step(moved, poses)[0].equal(expected)


# -- bad input ------------------------------------------------------------------------------------------------

GOOD = np.tile(np.eye(4), (1, STRIDE, 1, 1))


def pose_with(**entries):
    poses = GOOD.copy()
    for (row, column), value in entries["at"].items():
        poses[0, 1, row, column] = value
    return poses


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (GOOD[0], "c2w must be"),
        (GOOD[:, :, :3], "c2w must be"),
        (np.tile(GOOD, (2, 1, 1, 1)), "c2w must be"),
        (GOOD[:, :3], "multiples of 4"),
        (GOOD[:, :0], "multiples of 4"),
        (np.tile(GOOD, (1, 4, 1, 1)), "4 to 12 poses"),
        (pose_with(at={(0, 3): np.nan}), "frame 1 has NaN"),
        (pose_with(at={(0, 0): np.inf}), "frame 1 has NaN"),
        (pose_with(at={(0, 0): 2.0}), "orthonormal"),
        (pose_with(at={(0, 0): -1.0}), "reflection"),
        (pose_with(at={(3, 0): 1.0}), "bottom row"),
        (pose_with(at={(3, 0): np.nan}), "NaN"),
    ],
)
def test_bad_poses(poses, message):
    model = world()
    state = begin(model, 0)
    with pytest.raises(ValueError, match=message):
        model.step(state, poses)
    model.step(state, GOOD)


@pytest.mark.parametrize(
    "sigmas", [(), (0.0,), (1.0, 0.5), (0.5, 1.0, 0.0), (1.0, 1.0, 0.0), (2.0, 0.0), (1.0, float("nan"), 0.0)]
)
def test_bad_sigmas(sigmas):
    model = world()
    with pytest.raises(ValueError, match="sigmas must descend"):
        model.step(begin(model, 0), GOOD, sigmas=sigmas)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": images(0)[0]}, "images must be"),
        ({"images": images(0)[:0]}, "images must be"),
        ({"images": images(0)[:, :-1]}, "fit_image"),
        ({"images": images(0)[..., :1]}, "images must be"),
        ({"images": np.concatenate([images(0), images(0)[..., :1]], axis=-1)}, "alpha"),
        ({"images": images(0).astype(np.float32)}, "float32"),
        ({"images": "a.png"}, "images must be"),
        ({"intrinsics": K}, "intrinsics must be"),
        ({"intrinsics": [[0.0, 30, 24, 16]]}, "positive focal"),
        ({"intrinsics": [[30.0, -30, 24, 16]]}, "positive focal"),
        ({"intrinsics": [[30.0, np.nan, 24, 16]]}, "finite"),
        ({"intrinsics": np.eye(3)[None]}, "Intrinsics"),
        ({"seeds": [1, 2]}, "seeds must be 1"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"seeds": [2**63]}, "seeds must be"),
        ({"seeds": [1.5]}, "seeds must be"),
        ({"seeds": [None]}, "seeds must be"),
        ({"seeds": 3}, "seeds must be"),
        ({"text": torch.zeros(1, 2, 3)}, "no text conditioning"),
    ],
)
def test_bad_start(changes, message):
    model = world()
    arguments = {"images": images(0), "intrinsics": [K], "seeds": [1]}
    with pytest.raises(ValueError, match=message):
        model.start(**(arguments | changes))
    model.start(**arguments)


@pytest.mark.parametrize(
    ("text", "mask", "message"),
    [
        (None, None, "needs text"),
        (torch.zeros(1, 3, 5), None, r"\(1, L, 6\)"),
        (torch.zeros(2, 3, 6), None, "needs text"),
        (torch.zeros(3, 6), None, "needs text"),
        (torch.zeros(6), None, "needs text"),
        (torch.tensor(0.0), None, "needs text"),
        (torch.zeros(1, 1, 3, 6), None, "needs text"),
        (torch.zeros(1, 0, 6), None, "needs text"),
        (torch.zeros(1, 3, 6), torch.ones(1, 2), "text_mask"),
        (torch.full((1, 3, 6), torch.nan), None, "NaN"),
    ],
)
def test_bad_text(text, mask, message):
    with pytest.raises(ValueError, match=message):
        world(text=6).start(images(0), [K], [1], text, mask)


def test_foreign_states():
    model = world()
    state = begin(model, 0)
    with pytest.raises(ValueError, match="checkpoint"):
        world("plus_one").step(state, GOOD)
    with pytest.raises(ValueError, match="checkpoint"):
        model.step(dataclasses.replace(state, checkpoint="0" * 16), GOOD)
    with pytest.raises(ValueError, match="'intrinsics'"):
        model.step(dataclasses.replace(state, intrinsics=state.intrinsics.double()), GOOD)
    tails = {name: value for name, value in state.vae_tails.items() if name != "latent"}
    with pytest.raises(ValueError, match=r"'vae\.latent' is absent"):
        model.step(dataclasses.replace(state, vae_tails=tails), GOOD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "positive"),
        ({"chunk_frames": 4}, "max_chunk_frames"),
        ({"chunk_frames": 0}, "max_chunk_frames"),
        ({"default_fov_deg": 180}, "default_fov_deg"),
        ({"max_rotation": 0}, "max_rotation"),
        ({"sigmas": (1.0, 0.2)}, "sigmas"),
    ],
)
def test_bad_config(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config().replace(**changes)


def test_parts_that_do_not_fit():
    config = small_config()
    with pytest.raises(ValueError, match="tokens of 16x16"):
        WorldModel.untrained(config.replace(height=40))
    with pytest.raises(ValueError, match="latent channels"):
        WorldModel.untrained(config.replace(vae=config.vae | {"channels": 9}))
    by_chunk = config.model.replace(window_frames=0, chunk_frames=2)
    with pytest.raises(ValueError, match="no room for longer"):
        config.replace(model=by_chunk, max_chunk_frames=3)


def test_config_round_trip():
    config = small_config(name="x", preconditioned=True)
    assert WorldConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown keys \\['colour'\\]"):
        WorldConfig.from_dict(config.to_dict() | {"colour": 1})
    lacking = {name: value for name, value in config.to_dict().items() if name != "height"}
    with pytest.raises(ValueError, match="lacks \\['height'\\]"):
        WorldConfig.from_dict(lacking)
