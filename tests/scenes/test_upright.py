"""Procedural scenes seen by an upright camera."""

import numpy as np
import pytest
import torch

from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.envs.settings import Settings
from sanawm_env.scenes.clips import first_frame, upright
from sanawm_env.scenes.seeds import WORLD_SEEDS
from sanawm_env.scenes.start_image import built_in

SEEDS = [WORLD_SEEDS.start + i for i in range(6)]


@pytest.mark.parametrize("seed", SEEDS)
def test_upright_keeps_place_and_heading(seed):
    _, _, _, given = first_frame(seed, 32, 48)
    _, _, _, levelled = first_frame(seed, 32, 48, level=True)
    assert torch.equal(levelled[:3, 3], given[:3, 3])
    turn = levelled[:3, :3].double().numpy()
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_array_equal(turn[:, 1], [0, 1, 0])  # down is down
    ahead = given[:3, 2].double().numpy() * [1, 0, 1]
    np.testing.assert_allclose(turn[:, 2], ahead / np.linalg.norm(ahead), atol=1e-6)


def test_starts_are_pitched_without_it():
    tilts = [float(first_frame(seed, 32, 48)[3][1, 2]) for seed in SEEDS]
    assert max(map(abs, tilts)) > 0.02
    assert torch.equal(upright(torch.eye(4)), torch.eye(4))


def test_an_environment_begins_with_that_picture():
    world = WorldModel.untrained()
    env = SanaWMEnv(world, level=True)
    observation, _ = env.reset(seed=3)
    scene = int(np.random.default_rng(3).integers([WORLD_SEEDS.start, 0], [WORLD_SEEDS.stop, 2**63 - 1])[0])
    height, width = world.config.height, world.config.width
    np.testing.assert_array_equal(observation, built_in(scene, width, height, level=True).image)
    assert not np.array_equal(observation, SanaWMEnv(world).reset(seed=3)[0])


def test_an_image_stands_as_it_stood():
    with pytest.raises(ValueError, match="level turns the camera of procedural scenes"):
        Settings(image=np.zeros((32, 32, 3), np.uint8), level=True)
