"""Worlds with text: every part of a suite, and a bench, tells them what a scene shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sanawm_env.evaluation import captions as captions_module
from sanawm_env.evaluation.bench import ResultFolder, make_bench, read_bench
from sanawm_env.evaluation.bench.run import generate, read_video
from sanawm_env.evaluation.captions import CAPTIONS, Captions
from sanawm_env.evaluation.parts import PARTS, Setting, load_scene, run_world
from sanawm_env.scenes import FAMILIES
from sanawm_env.world.checkpoints import prompts as prompts_module
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel

SEED = 20_000_003


@pytest.fixture(scope="module")
def world():
    config = small_config()
    return WorldModel.untrained(replace(config, model=replace(config.model, caption_channels=16, text_length=5)))


@pytest.fixture
def words(monkeypatch):
    """Prompts that were read; their embeddings are noise that the words seed."""
    seen = []

    def encode(self, text):
        seen.append(text)
        rng = np.random.default_rng(list(text.encode()))
        return torch.from_numpy(rng.standard_normal((1, 5, 16))).float(), torch.ones(1, 5, dtype=torch.bool)

    monkeypatch.setattr(prompts_module.Prompts, "_encode", encode)
    return seen


def test_every_family_has_a_caption():
    assert set(CAPTIONS) == set(FAMILIES)


@pytest.mark.parametrize("part", ["flow", "idle", "random", "steps"])
def test_parts_run_a_world_with_text(world, words, part):
    captions = Captions(world)
    result = PARTS[part](world, SEED, Setting(1, (1.0, 0.0), long_s=0.5, captions=captions))
    assert result["family"] in CAPTIONS and words and set(words) == {CAPTIONS[result["family"]]}


def test_the_caption_reaches_the_world(world, words):
    scene = load_scene(world, SEED, 0.5)
    runs = [run_world(world, scene, SEED, Setting(captions=Captions(world, prompt))) for prompt in (None, "snow", "")]
    assert words == [CAPTIONS[scene.family], "snow", ""]
    assert not np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[1], runs[2])


def test_a_bench_tells_the_world_its_prompts(world, words, tmp_path):
    bench = make_bench(tmp_path / "bench", scenes=2, frames=9, height=64, width=112)
    scenes = read_bench(bench, "simple_60s")
    results = ResultFolder(tmp_path / "results" / "mine")
    generate(world, scenes, results, sigmas=(1.0, 0.0))
    assert words == [scene.prompt for scene in scenes]
    assert len(read_video(results.video("simple_60s", scenes[0].id))[0]) == 9


def test_worlds_without_text_are_told_nothing(words):
    plain = WorldModel.untrained()
    assert Captions(plain).of("room") is None and Captions(plain).key() == {} and not words
    with pytest.raises(ValueError, match="trained without text"):
        Captions(plain, "snow")


def test_results_depend_on_the_text(world):
    assert Captions(world).key() != Captions(world, "snow").key() != Captions(world, "snow", "folder").key()
    assert captions_module.Captions(world, "").key() != Captions(world).key()
