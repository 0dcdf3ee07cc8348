"""From a prompt to a world that was told of it, through the environment."""

import copy
import pickle
import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.world.checkpoints.prompts import Prompts
from sanawm_env.world.config import small_config
from sanawm_env.world.rollout import rollout, starts_of

pytest.importorskip("transformers", reason="needs the extra `release`: transformers")
pytest.importorskip("diffusers", reason="needs the extra `release`: diffusers")
from tests.world.networks.text.text_fixtures import write_text_encoder

FORWARD = [0, 0, 1, 0, 0, 0]
ROAD, STREET = "a wide road", "a quiet street"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_text_encoder(tmp_path_factory.mktemp("encoder"), hidden_size=16)


@pytest.fixture(scope="module")
def world():
    config = small_config()
    return WorldModel.untrained(replace(config, model=replace(config.model, caption_channels=16, text_length=12)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))


def frames(env, prompt):
    env.reset(seed=1, options={"prompt": prompt})
    return env.step(FORWARD)[4]["frames"]


def test_the_prompt_changes_the_world_and_comes_back(world, encoder):
    env = SanaWMEnv(world, text_encoder=encoder)
    road = frames(env, "a wide road")
    assert np.array_equal(road, frames(env, "a wide road"))
    assert not np.array_equal(road, frames(env, "a quiet street in the rain"))


def test_each_slot_has_its_own_prompt(world, encoder):
    envs = SanaWMVectorEnv(2, world, text_encoder=encoder, exact=True)
    prompts = ["a wide road", "a quiet street in the rain"]
    envs.reset(seed=[1, 1], options={"per_slot": [{"prompt": prompt} for prompt in prompts]})
    infos = envs.step(np.array([FORWARD, FORWARD], np.float32))[4]
    single = SanaWMEnv(world, text_encoder=encoder)
    for slot, prompt in enumerate(prompts):
        assert np.array_equal(infos["frames"][slot], frames(single, prompt))


def test_no_prompt_is_the_empty_one(world, encoder):
    env = SanaWMEnv(world, text_encoder=encoder)
    env.reset(seed=1)
    assert np.array_equal(env.step(FORWARD)[4]["frames"], frames(env, ""))


def test_without_an_encoder_the_error_names_the_argument(world):
    env = SanaWMEnv(world)
    with pytest.raises(FileNotFoundError, match="text_encoder=folder"):
        env.reset(seed=1)


def test_the_environment_is_usable_after_a_prompt_that_could_not_be_read(world, encoder):
    env = SanaWMEnv(world, text_encoder=encoder)
    state = env.reset(seed=1, options={"prompt": ROAD}) and env.snapshot()
    blind = SanaWMEnv(world)
    blind.restore(state)
    with pytest.raises(FileNotFoundError):
        blind.reset(seed=2, options={"prompt": STREET})
    assert blind.snapshot() is not None
    assert np.array_equal(blind.step(FORWARD)[4]["frames"], env.step(FORWARD)[4]["frames"])
    plain = SanaWMEnv("untrained", device="cpu")
    plain.reset(seed=1)
    here = plain.snapshot()
    with pytest.raises(ValueError, match="trained without text, a prompt would have no effect; leave the prompt out"):
        plain.reset(seed=2, options={"prompt": ROAD})
    assert plain.snapshot() is here
    plain.step(FORWARD)


def test_a_loaded_release_knows_where_its_encoder_is(text_release, monkeypatch, tmp_path):
    monkeypatch.chdir(text_release.parent)
    world = WorldModel.load(text_release.name, device="cpu")
    monkeypatch.chdir(tmp_path)  # found all the same
    assert frames(gym.make("SanaWM-v0", checkpoint=world, sampler_steps=1), ROAD).any()
    for twin in (copy.copy(world), copy.deepcopy(world), pickle.loads(pickle.dumps(world))):
        assert Prompts(twin).folders() == Prompts(world).folders()


def test_an_encoder_that_lies_elsewhere_is_named_once(text_release, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(text_release, bare, ignore=shutil.ignore_patterns("gemma-2-2b-it"))
    elsewhere = text_release / "gemma-2-2b-it"
    with pytest.raises(FileNotFoundError, match="text_encoder=folder"):
        Prompts(WorldModel.load(bare)).read(ROAD)
    world = WorldModel.load(bare, text_encoder=elsewhere)
    assert Prompts(world).folders() == (elsewhere, elsewhere)
    SanaWMEnv(world).reset(seed=1, options={"prompt": ROAD})


def test_paths_side_by_side_have_their_own_texts(world, encoder):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, world.config.height, world.config.width, 3), dtype=np.uint8)
    (start,) = starts_of(image, [[80.0, 80.0, 56.0, 32.0]])
    path = np.tile(np.eye(4), (1, 5, 1, 1))
    prompts = Prompts(world, encoder)

    def walk(*words):
        many = len(words)
        return rollout(
            world, [start] * many, path.repeat(many, 0), [3] * many, prompts.texts(*words), sigmas=(1.0, 0.0)
        )

    both = walk(ROAD, STREET)
    assert np.array_equal(both[:1], walk(ROAD)) and np.array_equal(both[1:], walk(STREET))
    assert not np.array_equal(both[0], both[1])
    with pytest.raises(ValueError, match=r"needs text embeddings .*Prompts\(world\)"):
        rollout(world, [start], path, [3])
    with pytest.raises(ValueError, match="leave text and text_mask out"):
        rollout(WorldModel.untrained(), [start], path, [3], prompts.texts(ROAD))


def test_an_encoder_of_another_width_is_refused_at_reset(world, tmp_path):
    env = SanaWMEnv(world, text_encoder=write_text_encoder(tmp_path / "wide", hidden_size=32))
    with pytest.raises(ValueError, match="16"):
        env.reset(seed=1)


def test_a_world_without_text_wants_no_encoder(encoder):
    with pytest.raises(ValueError, match="leave text_encoder out"):
        SanaWMEnv(WorldModel.untrained(small_config()), text_encoder=encoder)
