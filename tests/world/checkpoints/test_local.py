"""Checkpoint folders: round trip, hash, strict audit, refusals."""

import functools
import json
import os
import pickle
import shutil
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.world.checkpoints import local as module
from sanawm_env.world.checkpoints import weights
from sanawm_env.world.checkpoints.local import (
    builtin_checkpoints,
    load_checkpoint,
    resolve,
    save_checkpoint,
    weights_hash,
)
from sanawm_env.world.checkpoints.presets import PRESETS, release_config
from sanawm_env.world.config import WorldConfig, small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.config import SanaWMConfig


@functools.cache
def world():
    return WorldModel.untrained(small_config(height=32, width=48, name="test world"))


def save(folder, **options):
    model = world()
    return save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict(), **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "small")


def play(model):
    state, _ = model.start(np.zeros((1, 32, 48, 3), np.uint8), [[30, 30, 24, 16]], [1])
    return model.step(state, np.tile(np.eye(4), (1, 4, 1, 1)))


def test_exact_round_trip(tmp_path):
    key = save(tmp_path / "full", dtype=None)
    assert key == world().checkpoint
    loaded = WorldModel.load(tmp_path / "full")
    assert loaded.checkpoint == key and loaded.config == world().config
    state, frames = play(loaded)
    expected, expected_frames = play(world())
    assert state.equal(expected) and np.array_equal(frames, expected_frames)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_storage(tmp_path, dtype):
    key = save(tmp_path / "half", dtype=dtype)
    config, model_state, vae_state, found = load_checkpoint(tmp_path / "half")
    assert found == key != world().checkpoint and config == world().config
    assert {value.dtype for value in [*model_state.values(), *vae_state.values()]} == {torch.float32}
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    kept = load_checkpoint(tmp_path / "half", dtype=None)[1]
    assert {value.dtype for value in kept.values()} == {dtype}
    assert WorldModel.load(tmp_path / "half").dtype == torch.float32
    assert WorldModel.load(tmp_path / "half").checkpoint == key
    play(WorldModel.load(tmp_path / "half"))


def test_files_and_card(tmp_path, saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "vae.safetensors",
    ]  # fmt: skip
    assert "test world" in (saved / "README.md").read_text()
    save(tmp_path / "c", card="# Mine\n")
    save(tmp_path / "c")
    assert (tmp_path / "c" / "README.md").read_text() == "# Mine\n"


def test_hash_sees_config_and_weights(tmp_path, folder):
    before = load_checkpoint(folder)[3]
    assert len(before) == 16 and int(before, 16) >= 0
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values))  # other whitespace, same content
    assert load_checkpoint(folder)[3] == before
    values["world"]["fps"] = 8.0
    (folder / "config.json").write_text(json.dumps(values))
    assert load_checkpoint(folder)[3] != before
    shutil.rmtree(folder)
    save(folder)
    state = load_file(folder / "vae.safetensors")
    state["mean"][0] += 1
    save_file(state, folder / "vae.safetensors")
    assert load_checkpoint(folder)[3] != before


def test_a_checkpoint_of_other_settings_names_the_folder_of_its_weights(tmp_path, saved):
    (tmp_path / "other").mkdir()
    shutil.copytree(saved, tmp_path / "whole")
    values = json.loads((saved / "config.json").read_text())
    values["world"]["fps"] = 8.0
    (tmp_path / "other" / "config.json").write_text(json.dumps(values | {"weights": "../whole"}))
    config, model_state, _, key = load_checkpoint(tmp_path / "other")
    whole = load_checkpoint(tmp_path / "whole")
    assert config.fps == 8.0 and key != whole[3]
    assert all(torch.equal(value, whole[1][name]) for name, value in model_state.items())
    (tmp_path / "other" / "config.json").write_text(json.dumps(values | {"weights": "../nowhere"}))
    with pytest.raises(FileNotFoundError, match=r"nowhere.model\.safetensors is missing"):
        load_checkpoint(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(values | {"weights": 3}))
    with pytest.raises(ValueError, match="names 3 as its weights; name the folder"):
        load_checkpoint(tmp_path / "other")


def test_resolve(saved, tmp_path):
    assert resolve(saved) == saved and resolve(str(saved)) == saved
    for name in builtin_checkpoints():
        assert resolve(name).name == name
    with pytest.raises(FileNotFoundError, match=r"no such folder or name.*Built-in names"):
        resolve("huge")
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"a training run\? Then name .*run.checkpoint"):
        resolve(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        resolve(tmp_path)
    for name, message in (("w.pt", "pickle, which is never opened"), ("w.safetensors", "single file")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=message):
            resolve(tmp_path / name)


def test_a_mistyped_path_is_no_repository(tmp_path, monkeypatch):
    """Where the first part of `runs/wrld` is a folder, nobody meant the Hub; the error says how to mean it."""
    from sanawm_env.world.checkpoints.release import hub

    asked = []
    monkeypatch.setattr(hub, "fetch", lambda name: asked.append(name) or tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "world").mkdir(parents=True)
    (tmp_path / "Efficient-Large-Model").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder in runs, .*Hub was not asked.* hf://runs/wrld\. Built"):
        resolve("runs/wrld")
    assert asked == []
    for meant in ("hf://runs/wrld", "elsewhere/wrld", "Efficient-Large-Model/SANA-WM_streaming@main"):
        with pytest.raises(FileNotFoundError, match="holds no SANA-WM release"):
            resolve(meant)
        assert asked.pop() == meant


def test_saved_files_can_be_read_by_others(saved):
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in saved.iterdir()} == {
        path.name: oct(0o666 & ~_umask()) for path in saved.iterdir()
    }


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_new_switch_at_its_default_changes_no_hash(monkeypatch):
    """Hashes of 0.1.0, with settings of the class as it is and as a later version may have it."""
    model_state, vae_state = {"a.weight": torch.arange(6.0).reshape(2, 3)}, {"b": torch.ones(2, dtype=torch.bfloat16)}

    def key(config):
        return weights_hash(config.to_dict(), model_state, vae_state)

    assert key(small_config()) == "fb2d0b05bc071f91"
    assert key(release_config("streaming")) == "0830fba793ad168c"
    assert key(release_config("bidirectional-diffusers")) == "6f4961aeb9d09577"
    assert load_checkpoint(resolve("small"))[3] == "a06066f60337c300"

    @dataclass(frozen=True)
    class LaterModel(SanaWMConfig):
        sparse: tuple[int, int] = (1, 2)

    @dataclass(frozen=True)
    class LaterWorld(WorldConfig):
        mirror: bool = False
        marks: dict[str, int] = field(default_factory=dict)

    monkeypatch.setattr(weights, "SanaWMConfig", LaterModel)
    monkeypatch.setattr(weights, "WorldConfig", LaterWorld)
    first = small_config()
    later = LaterWorld(**(vars(first) | {"model": LaterModel(**vars(first.model))}))
    assert "mirror" in later.to_dict() and key(later) == key(first)
    as_json = json.loads(json.dumps(later.to_dict()))
    assert weights_hash(as_json, model_state, vae_state) == key(first)
    assert key(later.replace(mirror=True)) != key(first) != key(later.replace(marks={"a": 1}))
    assert key(later.replace(model=later.model.replace(sparse=(2, 2)))) != key(first)
    # Of a release its preset decides: what it says of a later switch has always been so.
    plain = release_config("streaming")
    preset = replace(PRESETS["streaming"], switches={**PRESETS["streaming"].switches, "sparse": (3, 3)})
    monkeypatch.setitem(PRESETS, "streaming", preset)
    released = plain.replace(model=LaterModel(**vars(plain.model), sparse=(3, 3)))
    assert key(released) == "0830fba793ad168c" != key(released.replace(name="mine"))
    assert key(released.replace(model=released.model.replace(sparse=(1, 2)))) != key(released)
    # A default is no reason to leave out what has always been hashed.
    assert key(first.replace(fps=8.0)) != key(first)


def test_resolve_builtin(saved, monkeypatch, tmp_path):
    shutil.copytree(saved, tmp_path / DEFAULT_CHECKPOINT)
    monkeypatch.setattr(module, "BUILTIN", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert builtin_checkpoints() == [DEFAULT_CHECKPOINT]
    assert resolve(DEFAULT_CHECKPOINT) == tmp_path / DEFAULT_CHECKPOINT
    assert WorldModel.load().config.name == "test world"


def test_audit_lists_everything_at_once(folder):
    state = load_file(folder / "model.safetensors")
    del state["t_block.1.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["x_embedder.proj.bias"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        load_checkpoint(folder)
    for part in ("1 missing: t_block.1.bias", "1 unexpected: extra.weight", "x_embedder.proj.bias (3,)", "config.json"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "vae.safetensors"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "truncated"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "pickle in spite of its name"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "pickle in spite of its name"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "does not fit its config"),
    ],
    ids=["truncated", "empty", "pickle", "torch", "foreign"],
)
def test_bad_weights(folder, name, damage, message):
    damage(folder / name)
    with pytest.raises(ValueError, match=message):
        WorldModel.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "vae.safetensors", "config.json"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda values: "{", "not JSON"),
        (lambda values: b"\xff\xfe\x00", "not JSON"),
        (lambda values: [], "no sanawm_env checkpoint"),
        (lambda values: {"format": "other"}, "no sanawm_env checkpoint"),
        (lambda values: values | {"version": 99}, "update sanawm_env"),
        (lambda values: values | {"world": values["world"] | {"colour": 1}}, "unknown keys"),
        (lambda values: values | {"world": values["world"] | {"vae": {"kind": "huge"}}}, "VAE kind"),
        (lambda values: values | {"world": values["world"] | {"height": "64"}}, r"config\.json"),
        (lambda values: values | {"world": values["world"] | {"model": None}}, r"config\.json"),
    ],
    ids=["json", "bytes", "list", "format", "version", "key", "vae", "type", "model"],
)
def test_bad_config(folder, edit, message):
    content = edit(json.loads((folder / "config.json").read_text()))
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder)


def test_save_refuses_what_could_not_be_loaded(tmp_path):
    model = world()
    state = dict(model.transformer.state_dict())
    vae = model.vae.state_dict()
    with pytest.raises(ValueError, match=r"1 missing: t_block\.1\.bias"):
        save_checkpoint(tmp_path / "a", model.config, {k: v for k, v in state.items() if k != "t_block.1.bias"}, vae)
    with pytest.raises(ValueError, match="bfloat16"):
        save_checkpoint(tmp_path / "a", model.config, state | {"t_block.1.bias": state["t_block.1.bias"] + 1e6}, vae)
    assert not (tmp_path / "a").exists()
