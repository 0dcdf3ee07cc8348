"""Stored results are taken up only where nothing that they depend on has changed."""

from dataclasses import replace

import pytest
import torch

import sanawm_env
from sanawm_env.evaluation import provenance
from sanawm_env.evaluation import suite as suite_module
from sanawm_env.evaluation.parts import Setting
from sanawm_env.evaluation.provenance import code_digest, frames_depend_on, numbers_depend_on
from sanawm_env.evaluation.suite import Suite, run_suite
from sanawm_env.world.model import WorldModel


@pytest.fixture
def world():
    return WorldModel.untrained()


@pytest.fixture
def played(world, tmp_path, monkeypatch):
    """Run a suite of one piece of work, and tell whether it was done anew."""
    calls = []
    monkeypatch.setattr(suite_module, "PARTS", {"flow": lambda *_: calls.append(1) or {"x": 1}})

    def run(world=world, **setting):
        calls.clear()
        run_suite(world, Suite("test", {"flow": 1}), 7, Setting(**setting), tmp_path, progress=False)
        return bool(calls)

    assert run() and not run()
    return run


def test_threads_count(played):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert played()
    finally:
        torch.set_num_threads(before)
    assert not played()


def test_precision_and_batching_count(played, world):
    assert played(WorldModel(world.config, world.transformer, world.vae, world.checkpoint, batched=True))
    low = WorldModel.untrained()
    low.transformer.to(torch.bfloat16)
    low.vae.to(torch.bfloat16)
    assert played(WorldModel(low.config, low.transformer, low.vae, world.checkpoint))
    assert not played()


def test_the_code_of_a_metric_counts(played, monkeypatch):
    monkeypatch.setattr(provenance, "code_digest", lambda parts: "fixed")
    assert played()


def test_options_count(played):
    assert played(sigmas=(1.0, 0.0))
    assert played(chunk_frames=1)
    assert not played()


def test_the_digest_is_of_the_sources(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "metrics").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "metrics" / "psnr.py").write_text("a = 1")
    monkeypatch.setattr(sanawm_env, "__file__", str(package / "__init__.py"))
    digests = []
    for text in ("a = 1", "a = 2"):
        (package / "metrics" / "psnr.py").write_text(text)
        code_digest.cache_clear()
        digests.append(code_digest(("metrics", "__init__.py")))
    code_digest.cache_clear()
    assert digests[0] != digests[1]


def test_frames_do_not_depend_on_metrics(world):
    frames, numbers = frames_depend_on(world), numbers_depend_on(world)
    assert frames["code"] != numbers["code"] and frames["checkpoint"] == numbers["checkpoint"] == world.checkpoint
    assert all(getattr(provenance, name) for name in ("WORLD", "MEASURES"))
    assert replace(Setting(), long_s=3.0).key()["long_s"] == 3.0
