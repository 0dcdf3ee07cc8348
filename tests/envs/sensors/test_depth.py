"""`Depth` and functions as its source."""

from pathlib import Path

import numpy as np
import pytest

from sanawm_env import Depth, SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.envs.sensors.depth import check_depth

WORLD = WorldModel.untrained()
SIZE = WORLD.config.height, WORLD.config.width


def test_a_function_gets_picture_and_camera():
    given = []

    def source(image, intrinsics):
        given.append((image, intrinsics))
        return np.full(image.shape[:2], 2, np.int64)

    env = SanaWMEnv(WORLD, sensors=Depth(source=source))
    observation, info = env.reset(seed=0)
    ((image, intrinsics),) = given
    assert np.array_equal(image, observation["image"]) and intrinsics.shape == (4,)
    assert info["depth"].dtype == np.float32 and (info["depth"] == 2).all() and info["depth"].shape == SIZE


def test_a_function_cannot_write_into_the_world():
    def source(image, intrinsics):
        image[:], intrinsics[:] = 0, 1
        return image[..., 0] + 1.0

    plain, seen = SanaWMEnv(WORLD), SanaWMEnv(WORLD, sensors=Depth(source=source))
    for env in (plain, seen):
        env.reset(seed=0)
        env.step([0, 0, 1, 0, 0, 0])
    assert plain.snapshot().state.equal(seen.snapshot().state)
    assert np.array_equal(plain.snapshot().frames, seen.snapshot().frames)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.ones((3, 4)), r"shape \(3, 4\)"),
        (np.ones((*SIZE, 1)), "one number of metres per pixel"),
        (np.full(SIZE, np.nan), "gave NaN"),
        (np.full(SIZE, -0.5), "gave -0.5 m"),
        ("far", "gave str"),
        (None, "the depth source gave"),
    ],
)
def test_what_is_no_depth_is_refused_and_the_episode_goes_on(value, says):
    good = [True]
    env = SanaWMEnv(WORLD, sensors=Depth(source=lambda image, _: np.ones(image.shape[:2]) if good[0] else value))
    env.reset(seed=0)
    before = env.snapshot()
    good[0] = False
    for call in (lambda: env.step([0, 0, 1, 0, 0, 0]), lambda: env.reset(seed=1), lambda: env.restore(before)):
        with pytest.raises(ValueError, match=says):
            call()
        assert env.snapshot() is before


def test_depth_in_memory_of_its_own():
    frame = np.zeros((*SIZE, 3), np.uint8)
    value = np.ones(SIZE, np.float32)
    checked = check_depth(value, frame)
    checked[:] = 5
    assert (value == 1).all()


def test_nothing_near_is_infinity_in_info_and_the_limit_in_observations():
    def source(image, _):
        depth = np.full(image.shape[:2], np.inf)
        depth[:, 0], depth[:, 1], depth[:, 2] = 0.0, 7.0, 8.5
        return depth

    env = SanaWMEnv(WORLD, sensors=Depth(max_depth=8, source=source))
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation["depth"][0, :4].tolist() == [0, 7, 8, 8]
    assert info["depth"][0, :4].tolist() == [0, 7, np.inf, np.inf]


def test_observed_depth_is_that_of_real_surfaces_at_any_size():
    """Between a near and a far surface there is no third one."""
    env = SanaWMEnv(
        WORLD, obs_size=(23, 37), sensors=Depth(source=lambda image, _: np.indices(image.shape[:2])[1] % 2 * 9 + 1.0)
    )
    observation, info = env.reset(seed=0)
    assert observation["depth"].shape == (23, 37) and info["depth"].shape == SIZE
    assert set(np.unique(observation["depth"])) == {1, 10}


@pytest.mark.parametrize("mode", ["frame", "pose", "dict"])
@pytest.mark.parametrize("batched", [False, True])
def test_a_vector_environment_shows_the_same(mode, batched):
    arguments = {"sensors": Depth(source=lambda image, _: image.mean(-1) / 9 + 1), "obs_mode": mode}
    envs = SanaWMVectorEnv(3, WORLD, exact=not batched, **arguments)
    observations, infos = envs.reset(seed=4)
    assert observations in envs.observation_space and infos["_depth"].all()
    for slot in range(3):
        single, info = SanaWMEnv(WORLD, **arguments).reset(seed=4 + slot)
        assert np.array_equal(single["depth"], observations["depth"][slot])
        assert np.array_equal(info["depth"], infos["depth"][slot])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_depth": 0}, "positive number of metres"),
        ({"max_depth": np.inf}, "positive number of metres"),
        ({"max_depth": "far"}, "positive number of metres"),
        ({"max_depth": True}, "positive number of metres"),
        ({"source": 3}, "got int"),
    ],
)
def test_bad_settings(arguments, says):
    with pytest.raises(ValueError, match=says):
        Depth(**arguments)


def test_a_folder_is_kept_as_text():
    assert Depth(source=Path("models") / "depth") == Depth(source="models/depth")


@pytest.mark.parametrize("asked", [{"sensors": "depth"}, {"sensors": ["scan"]}, {"contact": "report"}])
def test_a_world_without_depth_says_what_to_do(asked):
    with pytest.raises(ValueError, match=r"no depth of its own; give the sensors a source: .*Depth\(source=\.\.\.\)"):
        SanaWMEnv(WORLD, **asked)
