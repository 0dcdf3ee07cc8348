"""Rollouts: equal to stepping by hand, any length, any chunk."""

import functools

import numpy as np
import pytest
import torch

from sanawm_env import evaluation
from sanawm_env.evaluation import Command, commanded_path
from sanawm_env.scenes.start_image import StartImage
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.recipe import dream
from sanawm_env.world.rollout import rollout, rollout_chunks, starts_of, states_along
from tests.world import test_model

HEIGHT, WIDTH = 32, 48
K = [[30.0, 30.0, 24.0, 16.0]]


@functools.cache
def world():
    config = small_config(height=HEIGHT, width=WIDTH, sigmas=(1.0, 0.0))
    model = config.model.replace(hidden_size=32, head_dim=8, mlp_ratio=2.0)
    return WorldModel.untrained(config.replace(model=model), seed=1)


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)


def path(frames):
    return commanded_path(np.eye(4), Command("yaw", 1), frames)[None]


def test_equals_stepping_by_hand():
    c2w = path(12)
    made = rollout(world(), starts_of(image(), K), c2w, [3], chunk_frames=2)
    state, frames = world().start(image(), K, [3])
    by_hand = [frames]
    for part in (c2w[:, 1:9], c2w[:, 9:13]):  # 8 frames are a chunk of two latent frames, 4 remain
        state, frames = world().step(state, part)
        by_hand.append(frames)
    assert made.dtype == np.uint8
    assert np.array_equal(made, np.concatenate(by_hand, axis=1))


@pytest.mark.parametrize("frames", [0, 1, 4, 5, 11])
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_any_length(frames, chunk):
    made = rollout(world(), starts_of(image(), K), path(frames), [3], chunk_frames=chunk)
    assert made.shape == (1, frames + 1, HEIGHT, WIDTH, 3)
    assert np.array_equal(made[0, 0], image()[0])


def test_a_cut_path_has_the_same_beginning():
    long = rollout(world(), starts_of(image(), K), path(12), [3], chunk_frames=1)
    assert np.array_equal(rollout(world(), starts_of(image(), K), path(8), [3], chunk_frames=1), long[:, :9])


def test_the_world_frame_does_not_matter():
    c2w = path(8)
    turned = commanded_path(np.eye(4), Command("pitch", 1), 30)[-1]
    turned[:3, 3] = [3.0, -1.0, 2.0]
    made = rollout(world(), starts_of(image(), K), turned @ c2w, [3]).astype(int)
    assert np.abs(made - rollout(world(), starts_of(image(), K), c2w, [3])).max() <= 1


def test_side_by_side_equals_alone():
    c2w = np.concatenate([path(8), commanded_path(np.eye(4), Command("forward", -1), 8)[None]])
    both = rollout(world(), starts_of(np.concatenate([image(0), image(1)]), K * 2), c2w, [3, 4])
    assert np.array_equal(both[1:], rollout(world(), starts_of(image(1), K), c2w[1:], [4]))


def test_bad_input_is_refused():
    for chunk in (0, 4):
        with pytest.raises(ValueError, match=r"1\.\.3"):
            rollout(world(), starts_of(image(), K), path(4), [3], chunk_frames=chunk)
    for c2w in (path(4)[0], np.repeat(path(4), 2, axis=0), torch.zeros(1, 0, 4, 4)):
        with pytest.raises(ValueError, match="path per image"):
            rollout(world(), starts_of(image(), K), c2w, [3])
    with pytest.raises(ValueError, match="needs its intrinsics"):
        starts_of(image(), K * 2)


def test_chunks_come_one_by_one_and_are_checked_at_once():
    """Of 14 frames: the image, two latent frames, and one and a half, the pose held for the rest of the last."""
    starts, c2w = [StartImage(image()[0], np.array(K[0]), False)], path(13)
    found = list(rollout_chunks(world(), starts, c2w, [3], chunk_frames=2))
    assert [some.shape[1] for some in found] == [1, 8, 5]
    assert np.array_equal(np.concatenate(found, axis=1), rollout(world(), starts, c2w, [3], chunk_frames=2))
    held = np.concatenate([c2w, np.repeat(c2w[:, -1:], 3, axis=1)], axis=1)
    assert np.array_equal(rollout(world(), starts, held, [3], chunk_frames=2)[:, :14], np.concatenate(found, axis=1))
    with pytest.raises(ValueError, match="path per image"):
        rollout_chunks(world(), starts, c2w[0], [3])


def test_older_names_walk_the_same_way():
    """`evaluate` and `rollout` once had a walker each, whose last chunks differed."""
    c2w = path(5)
    expected = rollout(world(), starts_of(image(), K), c2w, [3], chunk_frames=3)
    assert np.array_equal(evaluation.rollout(world(), image(), K, c2w, [3], chunk_frames=3), expected)
    start = StartImage(image()[0], np.array(K[0]), False)
    with pytest.warns(DeprecationWarning, match="rollout_chunks"):
        frames = list(dream(world(), start, c2w[0], 3, chunk_frames=3))
    assert np.array_equal(np.concatenate(frames), expected[0])


def test_texts_reach_their_paths():
    model = test_model.world("plus_one", text=6)
    generator = torch.Generator().manual_seed(0)
    texts = [(torch.randn(1, 3, 6, generator=generator), torch.ones(1, 3)) for _ in range(2)]
    starts, c2w = starts_of(image(), K) * 2, np.repeat(path(4), 2, axis=0)
    made = rollout(model, starts, c2w, [3, 3], texts)
    assert np.array_equal(made[1:], rollout(model, starts[:1], c2w[:1], [3], texts[1:]))
    assert not np.array_equal(made[0], made[1])
    for wrong in (texts[:1], [texts[0], (torch.ones(1, 2, 6), torch.ones(1, 2))]):
        with pytest.raises(ValueError, match="2 pairs"):
            rollout(model, starts, c2w, [3, 3], wrong)


@pytest.mark.parametrize("frames", [1, 2, 5, 12, 14])
def test_a_rollout_goes_on_from_any_of_its_states(frames):
    c2w = path(frames)
    (made,) = rollout(world(), starts_of(image(), K), c2w, [3], chunk_frames=1)
    begun, first = world().start(image(), K, [3])
    steps = [(begun, first), *states_along(world(), begun, c2w[:, 1:], chunk_frames=1)]
    assert np.array_equal(np.concatenate([shown[0] for _, shown in steps]), made)
    done = 0
    for state, shown in steps:
        done += shown.shape[1]
        if done < frames:
            assert torch.allclose(state.c2w, torch.from_numpy(c2w[:, done - 1]))
            rest = [later[0] for _, later in states_along(world(), state, c2w[:, done:], chunk_frames=1)]
            assert np.array_equal(np.concatenate(rest), made[done:])
