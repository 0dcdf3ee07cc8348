"""States whose window and tails are kept in fewer bits: exact within a setting, refused by the others."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.envs.settings import Settings
from sanawm_env.envs.simulator import Simulator
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import empty_cache, recall, remember
from sanawm_env.world.offline.provenance import frames_depend_on
from sanawm_env.world.state import StateError, WorldState
from sanawm_env.world.state.empty import check_state_precision

KINDS = ("bf16", "fp8", "int8")
EIGHT = ("fp8", "int8")
HEADS, DIM, STRIDE = 4, 8, 4


@functools.cache
def world(kind=None, vae="tiny"):
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0))
    model = config.model.replace(hidden_size=32, head_dim=DIM, mlp_ratio=2.0, window_frames=3)
    config = config.replace(model=model)
    if vae == "ltx2":
        from tests.world.networks.vae.test_ltx import CONFIG

        model = model.replace(in_channels=4, temporal_stride=8)
        config = config.replace(model=model, height=64, width=64, vae={"kind": "ltx2", **CONFIG.to_diffusers()})
    return WorldModel.untrained(config, seed=3, state_precision=kind)


def begin(model, *seeds):
    config = model.config
    images = [
        np.random.default_rng(s).integers(0, 256, (config.height, config.width, 3), dtype=np.uint8) for s in seeds
    ]
    return model.start(np.stack(images), [[30.0, 31.0, config.width / 2, 16.0]] * len(seeds), list(seeds))[0]


def poses(state, model, latents=1):
    c2w = np.tile(np.eye(4), (state.slots, latents * model.vae.temporal_stride, 1, 1))
    c2w[:, :, 2, 3] = 0.05 * (1 + state.frame_index.numpy()[:, None] + np.arange(c2w.shape[1]))
    return c2w


def steps(model, state, count, latents=1):
    frames = []
    for _ in range(count):
        state, made = model.step(state, poses(state, model, latents))
        frames.append(made)
    return state, np.concatenate(frames, axis=1)


# -- exact within a setting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_save_restore_fork_and_slots_are_exact(kind, tmp_path):
    model = world(kind)
    state, _ = steps(model, begin(model, 1, 2), 3, 2)  # the window has begun to slide
    assert state.nbytes == begin(model, 1, 2).nbytes == 2 * model._pattern.nbytes
    state.save(tmp_path / "state.safetensors")
    restored = WorldState.load(tmp_path / "state.safetensors", model.checkpoint)
    assert restored.equal(state) and restored.state_precision == kind
    after, frames = steps(model, state, 2)
    for same in (restored, state.select([0, 1]), WorldState.cat([state.select([0]), state.select([1])])):
        again, others = steps(model, same, 2)
        assert again.equal(after) and np.array_equal(others, frames)
    forked, others = steps(model, state.select([1]).fork(3), 2)
    assert all(forked.select([i]).equal(after.select([1])) for i in range(3))
    put = state.replace_slots([0], state.select([1]))
    assert steps(model, put, 2)[0].select([0]).equal(after.select([1]))


def test_a_decoder_that_remembers_latents_goes_on_exactly(tmp_path):
    pytest.importorskip("diffusers")
    model = world("fp8", vae="ltx2")
    assert set(begin(model, 1).vae_tails) == {"latents", "seen"}
    state, _ = steps(model, begin(model, 1), 2)
    state.save(tmp_path / "state.safetensors")
    after, frames = steps(model, state, 1)
    fresh = begin(model, 2)
    both = WorldState.cat([state, fresh])
    again, others = steps(model, both, 1)
    assert again.select([0]).equal(after) and np.array_equal(others[:1], frames)
    assert steps(model, WorldState.load(tmp_path / "state.safetensors"), 1)[0].equal(after)
    plain = world(vae="ltx2")
    _, expected = steps(plain, begin(plain, 1), 1)
    _, found = steps(model, begin(model, 1), 1)
    assert np.abs(found.astype(int) - expected).mean() < 2  # the window is rounded, the decoder is not


def test_slots_side_by_side_agree():
    """A shared forward agrees up to rounding, as with states in full."""
    alone = world("int8")
    parts = (alone.config, alone.transformer, alone.vae, alone.checkpoint)
    side = WorldModel(*parts, batched=True, state_precision="int8")
    state, other = begin(alone, 1, 2), begin(side, 1, 2)
    _, frames = steps(alone, state, 2)
    _, others = steps(side, other, 2)
    assert np.abs(frames.astype(int) - others).max() <= 2


# -- rounding -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(EIGHT), seed=st.integers(0, 99), power=st.integers(-20, 20), dtype=st.sampled_from("fb"))
def test_values_are_rounded_once_and_by_little(kind, seed, power, dtype):
    dtype = {"f": torch.float32, "b": torch.bfloat16}[dtype]
    config = world().config.model
    old = empty_cache(config, 2, 6, dtype=dtype, precision=kind).blocks[0]
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(2, 3, 6, HEADS * DIM, generator=generator)
    by_head = value.unflatten(-1, (HEADS, DIM))
    by_head *= 2.0 ** torch.randint(-6, 7, (2, 3, 1, HEADS, 1), generator=generator) * 2.0**power
    by_head[0, 1, :, 2] = 0
    value = value.to(dtype)
    kept = remember({"conv_tail": value}, old)
    assert {n: (v.dtype, v.shape) for n, v in kept.items()} == {n: (old[n].dtype, old[n].shape) for n in kept}
    back = recall(kept, "conv_tail", dtype)
    error = (back.float() - value.float()).unflatten(-1, (HEADS, DIM)).abs()
    wide = value.float().unflatten(-1, (HEADS, DIM)).abs()
    largest = wide.amax((2, 4), keepdim=True)
    slack = 2.0**-8 * largest if dtype == torch.bfloat16 else 1e-6 * largest
    bound = largest / 254 if kind == "int8" else torch.maximum(wide / 16, largest / 448 / 1024)
    assert (error <= bound + slack).all()
    assert not back[0, 1].unflatten(-1, (HEADS, DIM))[:, 2].any()
    if dtype == torch.float32:  # what stays is not rounded again
        again = remember({"conv_tail": back}, old)
        assert torch.equal(recall(again, "conv_tail", dtype), back)


@pytest.mark.parametrize("kind", EIGHT)
def test_a_frame_that_stays_in_the_window_keeps_its_bits(kind):
    model = world(kind)
    state, _ = steps(model, begin(model, 1), 3)
    later, _ = steps(model, state, 1)
    (softmax,) = (i for i, block in enumerate(state.cache.blocks) if "k" in block)
    labels, after = (each.cache.window_chunk[0].tolist() for each in (state, later))
    stayed = set(labels) & set(after) - {-1}
    assert 0 in stayed and len(stayed) > 1  # the first frame, and others
    for name in ("k", "v", "cam_k", "cam_v", "k_scale", "cam_v_scale"):
        before, now = state.cache.blocks[softmax][name][0], later.cache.blocks[softmax][name][0]
        for label in stayed:
            assert torch.equal(before[labels.index(label)], now[after.index(label)]), (name, label)


def test_what_is_kept_in_which_type():
    types = {}
    for kind in (None, *KINDS):
        state = begin(world(kind), 1)
        types[kind] = {n.split(".")[-1]: v.dtype for n, v in state.cache.flat().items()}
    for kind in (None, *KINDS):
        assert types[kind]["state"] == types[kind]["cam_state"] == types[kind]["normalizer"] == torch.float32
        wanted = {None: torch.float32, "bf16": torch.bfloat16, "fp8": torch.uint8, "int8": torch.int8}[kind]
        for name in ("k", "v", "cam_k", "cam_v", "conv_tail", "cam_conv_tail", "ffn_tail"):
            assert types[kind][name] == wanted
    assert begin(world("fp8"), 1).nbytes < 0.6 * begin(world(), 1).nbytes


@pytest.mark.parametrize("kind", KINDS)
def test_frames_stay_close(kind):
    plain, model = world(), world(kind)
    _, expected = steps(plain, begin(plain, 1), 4)
    after, found = steps(model, begin(model, 1), 4)
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert not after.cache.blocks[0]["state"].isnan().any()


# -- the setting, and who refuses what ----------------------------------------------------------------------


def test_the_default_says_nothing_of_it():
    state = begin(world(), 1)
    assert state.state_precision == "" and "state_precision" not in state.metadata()
    assert not [name for name in state.flat() if name.endswith("_scale")]
    assert check_state_precision("bf16", torch.bfloat16) is None  # what it is anyway


def test_a_state_of_another_precision_is_refused():
    states = {kind: begin(world(kind), 1) for kind in (None, *KINDS)}
    for kind, state in states.items():
        for other in {None, *KINDS} - {kind}:
            fix = f"state_precision={kind!r}"
            with pytest.raises(StateError, match=fix):
                world(other).step(state, poses(state, world(other)))
            with pytest.raises(StateError, match="state_precision="):
                WorldState.cat([states[other], state])
            assert steps(world(other), states[other], 1)[0].state_precision == (other or "")


def test_unknown_precisions_are_refused_before_loading(tmp_path):
    for refused in (
        lambda: WorldModel.load(tmp_path / "nowhere", state_precision="int4"),
        lambda: Settings(state_precision="int4"),
        lambda: WorldModel.untrained(state_precision="int4"),
    ):
        with pytest.raises(ValueError, match="unknown state_precision 'int4'; use one of bf16, fp8, int8"):
            refused()


def test_the_environment_passes_it_on_and_recipes_know_it():
    simulator = Simulator("tiny", Settings(state_precision="fp8", device="cpu"))
    assert simulator.model.state_precision == "fp8"
    assert frames_depend_on(simulator.model)["state_precision"] == "fp8"
    with pytest.raises(ValueError, match="leave those arguments out"):
        Simulator(world(), Settings(state_precision="fp8"))
