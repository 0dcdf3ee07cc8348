"""Checkpoint folders: round trip, hash, strict audit, refusals."""

import functools
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.world.checkpoints import local as module
from sanawm_env.world.checkpoints.local import builtin_checkpoints, load_checkpoint, resolve, save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel


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


def test_resolve(saved, tmp_path):
    assert resolve(saved) == saved and resolve(str(saved)) == saved
    for name in builtin_checkpoints():
        assert resolve(name).name == name
    with pytest.raises(FileNotFoundError, match=r"no such folder or name.*Built-in names"):
        resolve("huge")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        resolve(tmp_path)
    for name, message in (("w.pt", "pickle, which is never opened"), ("w.safetensors", "single file")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=message):
            resolve(tmp_path / name)


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
