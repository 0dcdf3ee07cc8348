"""Damaged, renamed and hostile weights files: each refused in one sentence, and nothing in them is ever run."""

import builtins
import json
import os
import pickle
import shutil
import subprocess
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sanawm_env.world.checkpoints.release.weights import read_json, read_safetensors, read_torch
from sanawm_env.world.model import WorldModel

pytest.importorskip("diffusers")
from tests.world.checkpoints.release.release_fixtures import WRITERS

WEIGHTS = {
    "streaming": "sana_dit/model.pt",
    "bidirectional": "dit/sana_wm_1600m_720p.safetensors",
    "chunk_causal": "dit/sana_wm_chunk_causal_1600m_720p.safetensors",
    "diffusers": "transformer/diffusion_pytorch_model.safetensors",
}
CONFIGS = {
    "streaming": "sana_wm_streaming_tiny.yaml",
    "bidirectional": "config.yaml",
    "chunk_causal": "config.yaml",
    "diffusers": "transformer/config.json",
}


def refused(folder, *words):
    """Loading says no, in one sentence that names a file of the folder; returns it."""
    with warnings.catch_warnings(), pytest.raises((ValueError, FileNotFoundError)) as caught:
        warnings.simplefilter("ignore")
        WorldModel.load(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and len(message) < 600
    assert any(word in message for word in words), message
    return message


# -- hostile pickles -----------------------------------------------------------------------------------------------


class Runs:
    """Unpickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(mark):
    """Ways to have `mark` created by whoever unpickles the value."""
    code = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Runs(os.system, f"touch {mark}"),
        "eval": Runs(builtins.eval, f"__import__('pathlib').Path({str(mark)!r}).touch()"),
        "exec": Runs(builtins.exec, code),
        "subprocess": Runs(subprocess.check_call, ["touch", str(mark)]),
        "getattr": Runs(getattr, str(mark), "upper"),
        "torch.load": Runs(torch.load, str(mark)),
        "path": Runs(Path.touch, mark),
    }


@pytest.mark.parametrize("place", ["generator", "value", "beside", "instead"])
@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_nothing_in_a_pickle_is_run(copy, tmp_path, attack, place):
    mark = tmp_path / "run"
    evil = attacks(mark)[attack]
    folder = copy("streaming")
    path = folder / "sana_dit" / "model.pt"
    content = torch.load(path, weights_only=True)
    if place == "generator":
        content["generator"] = evil
    elif place == "value":
        content["generator"]["model.final_layer.linear.bias"] = evil
    elif place == "beside":
        content["optimizer"] = {"state": [evil]}
    else:
        content = evil
    torch.save(content, path)
    message = refused(folder, "was refused and nothing in it was run")
    assert "asks for " in message
    assert not mark.exists()


def test_the_attack_would_work(tmp_path):
    """The test above means something: an ordinary unpickler runs these."""
    mark = tmp_path / "run"
    torch.save(attacks(mark)["os.system"], tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("form", ["pickle", "torch", "old torch", "zip"])
def test_pickles_in_every_place(copy, tmp_path, layout, form):
    """Raw pickles, torch's two formats and a zip, under the name of each layout's weights and VAE."""
    mark = tmp_path / "run"
    evil = attacks(mark)["os.system"]
    folder = copy(layout)
    for name in (WEIGHTS[layout], "ltx2_causal_vae/diffusion_pytorch_model.safetensors"):
        path = folder / name
        kept = path.read_bytes()
        if form == "pickle":
            path.write_bytes(pickle.dumps(evil))
        elif form == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", pickle.dumps(evil))
        else:
            torch.save({"generator": evil}, path, _use_new_zipfile_serialization=form == "torch")
        refused(folder, "in spite of its name", "never opened", "nothing in it was run", "cannot be read", "unpickled")
        assert not mark.exists()
        path.write_bytes(kept)


def test_environment_cannot_switch_the_guard_off(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark = tmp_path / "run"
    folder = copy("streaming")
    torch.save({"generator": attacks(mark)["os.system"]}, folder / "sana_dit" / "model.pt")
    refused(folder, "nothing in it was run")
    assert not mark.exists()


@pytest.mark.parametrize("layout", ["bidirectional", "chunk_causal", "streaming"])
def test_yaml_builds_no_objects(copy, tmp_path, layout):
    mark = tmp_path / "run"
    folder = copy(layout)
    (folder / CONFIGS[layout]).write_text(f"model: !!python/object/apply:os.system ['touch {mark}']\n")
    refused(folder, "is no config of a SANA-WM")
    assert not mark.exists()


def test_index_cannot_leave_its_folder(copy, tmp_path):
    folder = copy("diffusers")
    shutil.copy(folder / WEIGHTS["diffusers"], tmp_path / "outside.safetensors")
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    for name in ("../../outside.safetensors", str(tmp_path / "outside.safetensors")):
        index.write_text(json.dumps({"weight_map": {"x_embedder.proj.bias": name}}))
        refused(folder, "outside its folder")
    for broken in ({}, {"weight_map": []}, {"weight_map": {"a": 1}}):
        index.write_text(json.dumps(broken))
        refused(folder, "no weight_map")


# -- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_truncated(copy, layout, keep):
    folder = copy(layout)
    for name in (WEIGHTS[layout], "ltx2_causal_vae/diffusion_pytorch_model.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
        refused(folder, "truncated")
        path.write_bytes(whole)


@pytest.mark.parametrize("layout", WRITERS)
def test_renamed(copy, layout):
    """A file of another kind under the right name, and the right file in another place."""
    folder = copy(layout)
    path = folder / WEIGHTS[layout]
    kept = path.read_bytes()
    shutil.copy(folder / "ltx2_causal_vae" / "diffusion_pytorch_model.safetensors", path)
    refused(folder, "truncated or of another kind", "not the weights of a SANA-WM")
    path.write_text("<!DOCTYPE html><html>404</html>")  # what a browser saves when a link is wrong
    refused(folder, "truncated or of another kind")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")  # git without LFS
    refused(folder, "truncated or of another kind")
    path.write_bytes(kept)
    path.rename(path.with_name("weights.bin"))
    refused(folder, "not complete")


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"model: 3", b"model: {image_size: [}"])
def test_broken_configs(copy, layout, content):
    folder = copy(layout)
    for name in (CONFIGS[layout], "ltx2_causal_vae/config.json"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        refused(folder, "download it again")
        (folder / name).write_bytes(kept)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"critic": {}, "step": 3}, "no 'generator' of named tensors; it holds critic, step"),
        ({"generator": {}}, "no 'generator'"),
        ({"generator": {"model.a": 3}}, "no 'generator'"),
        ([torch.zeros(1)], "it holds list"),
        (torch.zeros(1), "it holds Tensor"),
        ({"generator": {"model.a": torch.zeros(1), "a": torch.zeros(1)}}, "two tensors are both called 'a'"),
        ({"generator": {"model.a": torch.zeros(1)}}, "not the weights of a SANA-WM: there is no tensor"),
        ({"generator": {"blocks.0.scale_shift_table": torch.zeros(6)}}, "not the weights of a SANA-WM"),
        ({"generator": {"a": torch.zeros(2, 2).to_sparse()}}, "no 'generator'"),
        ({"generator": {"a": torch.zeros(2, device="meta")}}, "no 'generator'"),
    ],
)
def test_other_contents(copy, content, words):
    folder = copy("streaming")
    torch.save(content, folder / "sana_dit" / "model.pt")
    refused(folder, words)


def test_upstreams_ways_to_nest(copy):
    """`generator`, then an optional `state_dict`; a bare state dict, prefixed or not."""
    folder = copy("streaming")
    path = folder / "sana_dit" / "model.pt"
    key = WorldModel.load(folder).checkpoint
    state = torch.load(path, weights_only=True)["generator"]
    bare = OrderedDict((name.removeprefix("model."), value) for name, value in state.items())
    for content in ({"generator": {"state_dict": state}}, {"state_dict": state}, state, bare):
        torch.save(content, path)
        assert WorldModel.load(folder).checkpoint == key


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(written, tmp_path, data):
    """Whatever bytes a file has: a `ValueError`, or tensors. Never another error, never a crash."""
    layout = data.draw(st.sampled_from(["streaming", "bidirectional"]))
    whole = (written[layout] / WEIGHTS[layout]).read_bytes()
    damaged = bytearray(whole)
    # Most of a file is numbers; what can go wrong is written at its two ends.
    edges = st.one_of(st.integers(0, 3000), st.integers(len(whole) - 30000, len(whole) - 1))
    for at in data.draw(st.lists(edges, min_size=1, max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / Path(WEIGHTS[layout]).name
    path.write_bytes(damaged[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))])
    try:
        state = read_torch(path) if layout == "streaming" else read_safetensors(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(value, torch.Tensor) for value in state.values())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_any_bytes_are_refused(tmp_path, content):
    for name, read in (("a.pt", read_torch), ("a.safetensors", read_safetensors), ("a.json", read_json)):
        (tmp_path / name).write_bytes(content)
        try:
            assert isinstance(read(tmp_path / name), dict)
        except ValueError as error:
            assert name in str(error)


def test_two_shards_with_one_tensor(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.zeros(1)}, tmp_path / name)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    with pytest.raises(ValueError, match="two shards hold 'x'"):
        read_safetensors(index)
