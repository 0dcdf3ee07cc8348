"""What a caller has set in torch (autocast, default dtype and device, grad mode) does not reach the frames."""

import contextlib
import copy

import gymnasium as gym
import numpy as np
import pytest
import torch

from sanawm_env.scenes.start_image import built_in
from sanawm_env.world.accel.overlap import Inline, stream
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.clip import clip_latents, decode_clip
from sanawm_env.world.rollout import rollout, starts_of
from tests.world.test_model import HEIGHT, WIDTH, K, images, path, world

TEXT = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0))


def anchored():
    return WorldModel.untrained(small_config(height=HEIGHT, width=WIDTH, sigmas=(1.0, 0.6, 0.0), anchored=True), seed=3)


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AMBIENT = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
}


def play(make, text, batched=False):
    """Frames and states of every way to run a world."""
    model = make()
    model.batched = batched
    model.warmup(progress=False, text_length=3 if text is not None else None)
    given = () if text is None else (text.repeat(2, 1, 1),)
    state, first = model.start(images(0, 1), [K, K], [1, 2], *given)
    ahead, _ = model.step(state, np.stack([path(0, 8), path(1, 8)]))
    # One slot begins anew, so that a batch masks its window.
    state = ahead.replace_slots([1], state.select([1]))
    poses = [np.stack([path(0, 12)[8:], path(1, 4)])]
    found = [first]
    for beside in (None, Inline()):
        for after, frames in stream(model, state, poses, overlap=beside):
            found += [frames, *(value.numpy() for value in after.flat().values())]
    texts = None if text is None else [(text, torch.ones(1, 3, device="cpu"))]
    found.append(rollout(model, starts_of(images(0), [K]), path(0, 6)[None], [1], texts))
    start = built_in(3, WIDTH, HEIGHT)
    if text is None and not model.config.model.anchor:
        whole = clip_latents(model, start, path(0, 9), 1, mode="chunk_causal", steps=1, guidance=1.0)
        found += [whole.numpy(), *decode_clip(model, whole, 9)]
    return [*found, start.image, start.intrinsics]


@pytest.fixture(scope="module")
def expected():
    return {}


WORLDS = {
    "plain": (lambda: copy.copy(world()), None, False),
    "anchored": (anchored, None, False),
    "text": (lambda: copy.copy(world("plus_one", text=6)), TEXT, False),
    "together": (lambda: copy.copy(world("plus_one", text=6)), TEXT, True),
}


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("ambient", AMBIENT)
def test_same_bits_whatever_is_set_around(expected, ambient, kind):
    if kind not in expected:
        expected[kind] = play(*WORLDS[kind])
    with AMBIENT[ambient]():
        found = play(*WORLDS[kind])
    assert len(found) == len(expected[kind])
    for a, b in zip(found, expected[kind], strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("ambient", ["float64", "meta", "autocast"])
def test_a_world_loads_the_same_whatever_is_set_around(ambient):
    plain = WorldModel.load("tiny")
    with AMBIENT[ambient]():
        loaded = WorldModel.load("tiny")
    assert loaded.dtype is torch.float32 and loaded.device.type == "cpu"
    for name, value in plain.transformer.state_dict().items():
        assert torch.equal(loaded.transformer.state_dict()[name], value), name
    for name, value in plain.vae.state_dict().items():
        assert torch.equal(loaded.vae.state_dict()[name], value), name


def test_settings_of_the_caller_are_left_as_they_were():
    with default_dtype(torch.float64), torch.autocast("cpu", torch.bfloat16):
        play(*WORLDS["anchored"])
        WorldModel.load("tiny")
        assert torch.get_default_dtype() is torch.float64 and torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


# -- copies: Gymnasium deep-copies the arguments of an environment into every spec -------------------------


def test_a_deep_copy_is_the_world_itself():
    model = world()
    assert copy.deepcopy({"checkpoint": model})["checkpoint"] is model
    env = gym.wrappers.ClipAction(gym.make("SanaWM-v0", checkpoint=model, disable_env_checker=True))
    assert env.spec.kwargs["checkpoint"] is model
    env.close()


def test_a_shallow_copy_shares_weights_and_keeps_its_own_settings():
    model = world()
    twin = copy.copy(model)
    assert twin is not model and twin.transformer is model.transformer and twin.vae is model.vae
    twin.batched = not model.batched
    assert twin.batched != model.batched
    assert twin.start(images(0), [K], [1])[0].equal(model.start(images(0), [K], [1])[0])
