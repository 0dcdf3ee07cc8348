"""Whole training calls at toy size, through the command line's own entry."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sanawm_env.training.run import RECIPES, main, recipe, with_values
from sanawm_env.training.stages.decoder import DecoderTrainConfig
from sanawm_env.training.stages.depth import DepthTrainConfig
from sanawm_env.training.stages.few_step import DistillConfig
from sanawm_env.training.stages.vae import VAETrainConfig
from sanawm_env.training.stages.world import WorldTrainConfig
from sanawm_env.world.model import WorldModel

VAE = {"minutes": 0.05, "fit_clips": 16, "batch": 2, "height": 64, "width": 96, "compile_renderer": False,
       "vae": {"channels": 8, "width": 8}}  # fmt: skip
WORLD = {
    "minutes": 0.08, "batch": 2, "latents": 3, "warmup": 2, "compile_renderer": False,
    "data": {"height": 64, "width": 96, "clip_latents": 3, "pool": 32, "origin_jitter": 0.5},
    "model": {"depth": 2, "hidden_size": 32, "head_dim": 16, "in_channels": 8, "softmax_every_n": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A VAE and a world model, trained for a few seconds."""
    folder = tmp_path_factory.mktemp("runs")
    for name, values in (("vae", VAE), ("world", WORLD | {"vae": str(folder / "vae")})):
        (folder / f"{name}.json").write_text(json.dumps(values | {"out": str(folder / name)}))
        main([name, "--config", str(folder / f"{name}.json")])
    return folder


@pytest.mark.slow
def test_the_run_leaves_a_world_that_steps(runs):
    world = WorldModel.load(runs / "world" / "checkpoint")
    image = np.zeros((1, 64, 96, 3), dtype=np.uint8)
    state, _ = world.start(image, [[80.0, 80.0, 48.0, 32.0]], [0])
    _, frames = world.step(state, np.tile(np.eye(4), (1, 4, 1, 1)))
    assert frames.shape == (1, 4, 64, 96, 3)
    gains = json.loads((runs / "world" / "gains.jsonl").read_text().splitlines()[-1])
    assert set(gains) == {"step", "0.5", "1.0", "2.0", "4.0", "8.0"}
    assert list((runs / "world").glob("sheet_*.png"))


@pytest.mark.slow
def test_a_second_call_resumes(runs):
    before = json.loads((runs / "world" / "progress.json").read_text())
    main(["world", "--config", str(runs / "world.json"), "--minutes", "0.03"])
    after = json.loads((runs / "world" / "progress.json").read_text())
    assert before["step"] >= 1
    assert after["step"] > before["step"] and after["minutes"] > before["minutes"]
    assert after["next_seed"] > before["next_seed"], "resumed runs see new scenes"


@pytest.mark.slow
def test_a_new_run_starts_from_a_checkpoint(runs, tmp_path):
    """No run folder and no VAE folder are needed; `--minutes 0` exports what was loaded."""
    checkpoint = runs / "world" / "checkpoint"
    values = WORLD | {"out": str(tmp_path / "out"), "init": str(checkpoint), "minutes": 0.0}
    (tmp_path / "c.json").write_text(json.dumps(values))
    main(["world", "--config", str(tmp_path / "c.json")])
    again = WorldModel.load(tmp_path / "out" / "checkpoint").transformer.state_dict()
    for name, value in WorldModel.load(checkpoint).transformer.state_dict().items():
        assert np.array_equal(again[name].numpy(), value.numpy()), name
    values["model"] = WORLD["model"] | {"depth": 3}
    (tmp_path / "c.json").write_text(json.dumps(values | {"out": str(tmp_path / "deeper")}))
    with pytest.raises(ValueError, match="missing"):
        main(["world", "--config", str(tmp_path / "c.json")])


def test_missing_vae_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="sanawm train vae"):
        main(["world", "--out", str(tmp_path / "w"), "--vae", str(tmp_path / "none")])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [({"latents": 9}, "clip_latents"), ({"data": {"height": 72, "width": 96}}, "multiples")],
)
def test_sizes_that_do_not_fit_are_named(runs, tmp_path, change, message):
    values = WORLD | {"vae": str(runs / "vae"), "out": str(tmp_path / "out")} | change
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        main(["world", "--config", str(tmp_path / "c.json")])


def test_unknown_keys_and_commands(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown keys \['deepth'\] for SanaWMConfig"):
        with_values(WorldTrainConfig(), {"model": {"deepth": 3}})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SystemExit, match=r"bad\.json"):
        main(["vae", "--config", str(tmp_path / "bad.json")])
    with pytest.raises(SystemExit, match="usage"):
        main(["policy"])


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.json")), ids=lambda path: path.stem)
def test_recipes_fit_their_configs(path):
    worlds = dict.fromkeys(("clips", "walks", "anchor"), WorldTrainConfig)
    kinds = worlds | {"vae": VAETrainConfig, "depth": DepthTrainConfig, "decoder": DecoderTrainConfig}
    kind = kinds.get(path.stem.split("-")[2], DistillConfig)
    config = with_values(kind(), json.loads(path.read_text()))
    assert recipe(path.stem) == path and config.minutes > 0


def test_a_file_comes_before_a_recipe_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-3-walks").write_text("{}")
    assert recipe("tiny-3-walks") == Path("tiny-3-walks") and recipe("none.json") == Path("none.json")


STREAM = {"clip_latents": 4, "height": 64, "width": 96, "pool": 32}
WALKS = {"segment": 3, "longest": 3}


@pytest.mark.slow
def test_walks_go_on_from_a_checkpoint(runs, tmp_path):
    checkpoint = runs / "world" / "checkpoint"
    values = WORLD | {"out": str(tmp_path), "init": str(checkpoint), "method": "walks", "minutes": 0.03}
    (tmp_path / "c.json").write_text(json.dumps(values | {"data": STREAM, "walks": WALKS}))
    main(["world", "--config", str(tmp_path / "c.json")])
    before = WorldModel.load(checkpoint).transformer.state_dict()
    after = WorldModel.load(tmp_path / "checkpoint").transformer.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_coarse_world_becomes_a_finer_one(runs, tmp_path):
    """Smaller patches and a richer VAE from a checkpoint; then a resumed call goes on from the run, not from it."""
    (tmp_path / "vae.json").write_text(
        json.dumps(VAE | {"out": str(tmp_path / "vae"), "vae": {"channels": 12, "width": 8}})
    )
    main(["vae", "--config", str(tmp_path / "vae.json")])
    values = WORLD | {"out": str(tmp_path), "init": str(runs / "world" / "checkpoint"), "vae": str(tmp_path / "vae"),
                      "finer": True, "minutes": 0.02}  # fmt: skip
    values["model"] = WORLD["model"] | {"patch_size": [1, 1], "in_channels": 12}
    (tmp_path / "c.json").write_text(json.dumps(values))
    main(["world", "--config", str(tmp_path / "c.json")])
    finer = WorldModel.load(tmp_path / "checkpoint")
    assert finer.token_grid == (4, 6) and finer.vae.latent_channels == 12
    first = json.loads((tmp_path / "progress.json").read_text())["step"]
    main(["world", "--config", str(tmp_path / "c.json")])
    assert json.loads((tmp_path / "progress.json").read_text())["step"] > first


def test_clips_between_walks_are_as_many_as_asked(walk_pool, network, monkeypatch):
    """`clip_share` of the steps, the same ones in every process, on twice the batch."""
    from sanawm_env.training.optim import EMA, MuonAdamW
    from sanawm_env.training.stages import world as module

    config = WorldTrainConfig(method="walks", clip_share=0.4, batch=2, latents=3, max_chunk=2, model=network.config,
                              bf16=False, seed=3)  # fmt: skip
    config = with_values(config, {"walks": {"segment": 2, "longest": 4, "longest_pause": 2}})
    kinds: dict[int, list[str]] = {}
    for rank in (0, 1):
        run = module._Run(config, network, MuonAdamW(network, 0.0, 0.0), EMA(network, 0.9), walk_pool,
                          {"step": 0, "minutes": 0.0}, rank)  # fmt: skip
        seen = kinds[rank] = []
        monkeypatch.setattr(
            run, "walk", lambda walks, seen=seen: (seen.append("walk"), network.t_block[1].bias.sum())[1]
        )
        monkeypatch.setattr(
            run,
            "loss",
            lambda clips, seen=seen: (seen.append(f"{len(clips.latents)} clips"), network.t_block[1].bias.sum())[1],
        )
        for _ in range(60):
            run.step(0.0)
            run.progress["step"] += 1
    assert kinds[0] == kinds[1] and set(kinds[0]) == {"walk", "4 clips"}
    assert 12 <= kinds[0].count("4 clips") <= 36


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ode", "dmd"])
def test_distillation_exports_the_students_schedule(runs, tmp_path, method):
    checkpoint = str(runs / "world" / "checkpoint")
    values = {
        "method": method, "teacher": checkpoint, "out": str(tmp_path), "sigmas": [1.0, 0.0], "minutes": 0.05,
        "teacher_steps": 2, "critic_steps": 2, "batch": 2, "compile_renderer": False, "data": STREAM, "walks": WALKS,
    }  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(values))
    main(["distill", "--config", str(tmp_path / "c.json")])
    student = WorldModel.load(tmp_path / "checkpoint")
    assert student.config.sigmas == (1.0, 0.0)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] > 0
    assert (tmp_path / "critic.safetensors").exists() == (method == "dmd")
