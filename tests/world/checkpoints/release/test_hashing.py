"""What a loaded release shares with its files (nothing), and what names it."""

import math
import os
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sanawm_env.world.checkpoints import presets as layouts
from sanawm_env.world.checkpoints import weights as hashed
from sanawm_env.world.checkpoints.local import load_checkpoint, resolve, save_checkpoint, weights_hash
from sanawm_env.world.checkpoints.release import hashing as release_hash
from sanawm_env.world.checkpoints.release.load import read_release
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.state import WorldState

pytest.importorskip("diffusers")
from tests.world.checkpoints.release.release_fixtures import MODEL, weights


def load(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WorldModel.load(folder, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
@pytest.mark.parametrize("layout", ["streaming", "bidirectional"])
def test_files_are_mapped_not_read(written, layout):
    """What a reader returns lies in the mapped file: only the copy made for the device takes memory."""
    files = read_release(written[layout]).files
    state = files.read_transformer()
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(files.weights)):
            ranges.append([int(end, 16) for end in line.split()[0].split("-")])
    for value in state.values():
        begin = value.data_ptr()
        assert any(low <= begin and begin + value.nbytes <= high for low, high in ranges)


def test_loading_does_not_share_memory_with_the_file(copy):
    folder = copy("bidirectional")
    model = load(folder, dtype=torch.float32)
    before = {name: value.clone() for name, value in model.transformer.state_dict().items()}
    path = folder / "dit" / "sana_wm_1600m_720p.safetensors"
    with path.open("r+b") as file:
        file.seek(-4000, os.SEEK_END)
        file.write(b"\x11" * 4000)
    assert all(torch.equal(value, before[name]) for name, value in model.transformer.state_dict().items())
    assert {value.data_ptr() % 64 for value in model.transformer.state_dict().values()} == {0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types(written, dtype):
    model = load(written["streaming"], dtype=dtype)
    states = [*model.transformer.state_dict().values(), *model.vae.state_dict().values()]
    assert {value.dtype for value in states} == {dtype} == {model.dtype}
    name = "x_embedder.proj.weight"
    assert torch.equal(model.transformer.state_dict()[name], weights()[name].to(dtype))
    assert model.checkpoint == load(written["streaming"]).checkpoint


def test_load_checkpoint_reads_a_release(written):
    """What trainers start from: plain tensors on the CPU."""
    config, model_state, vae_state, key = load_checkpoint(resolve(written["bidirectional"]))
    assert key == read_release(written["bidirectional"]).hash() and config.model.depth == MODEL.depth
    assert {value.dtype for value in [*model_state.values(), *vae_state.values()]} == {torch.float32}
    assert load_checkpoint(written["bidirectional"], dtype=None)[2]["latents_mean"].dtype == torch.bfloat16


def test_hash_sees_weights_and_switches_not_places(written, copy, tmp_path):
    release = read_release(written["streaming"])
    key = release.hash()
    assert len(key) == 16 and int(key, 16) >= 0
    assert read_release(copy("streaming")).hash() == key
    assert read_release(written["streaming"], "streaming-g2").hash() != key
    # The same as for our own format, so a converted release keeps its states.
    named = release.config.replace(name="streaming")
    saved = save_checkpoint(tmp_path / "own", named, release.model_state, release.vae_state, dtype=None)
    assert saved == key == weights_hash(named.to_dict(), release.model_state, release.vae_state)
    # The critic is not part of the world.
    path = tmp_path / "streaming" / "sana_dit" / "model.pt"
    content = torch.load(path, weights_only=True)
    del content["critic"]
    torch.save(content, path)
    assert read_release(tmp_path / "streaming").hash() == key
    content["generator"]["model.blocks.2.attn.proj.bias"][3] += 1e-3
    torch.save(content, path)
    assert read_release(tmp_path / "streaming").hash() != key


def test_a_later_switch_changes_no_hash_and_states_go_on(written, tmp_path, monkeypatch):
    """A later version may describe what the release always did by a new switch, on or off by default."""
    now = load(written["streaming"])
    picture = np.zeros((1, now.config.height, now.config.width, 3), np.uint8)
    text = torch.zeros(1, MODEL.text_length, MODEL.caption_channels)
    state, _ = now.start(picture, [[90.0, 90.0, 48.0, 32.0]], [0], text)
    state.save(tmp_path / "state")
    poses = np.tile(np.eye(4), (1, now.vae.temporal_stride, 1, 1))
    frames = now.step(state, poses, sigmas=(1.0, 0.0))[1]

    @dataclass(frozen=True)
    class Later(SanaWMConfig):
        off: bool = False
        rule: str = "new"

    preset = layouts.PRESETS["streaming"]
    monkeypatch.setitem(layouts.PRESETS, "streaming", replace(preset, switches={**preset.switches, "rule": "old"}))
    for module in (layouts, hashed):
        monkeypatch.setattr(module, "SanaWMConfig", Later)
    later = load(written["streaming"])
    assert later.config.model.rule == "old" and later.checkpoint == now.checkpoint
    again = WorldState.load(tmp_path / "state", later.checkpoint)
    assert np.array_equal(later.step(again, poses, sigmas=(1.0, 0.0))[1], frames)
    # Another preset is another world, and the reason is told.
    other = read_release(written["streaming"], "streaming-g2").hash()
    with pytest.raises(ValueError, match="is a state of checkpoint"):
        WorldState.load(tmp_path / "state", other)


def test_long_hashes_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(release_hash, "LONG", 4)
    file = tmp_path / "weights"
    file.write_bytes(b"12345")
    calls = []

    def remembered(config="a"):
        def compute():
            calls.append(config)
            return f"{len(calls):016x}"

        return release_hash.cached_hash([file], {"config": config}, compute)

    assert remembered() == remembered() == f"{1:016x}" and len(calls) == 1
    assert remembered("b") == f"{2:016x}"
    os.utime(file, ns=(1, 1))
    assert remembered() == f"{3:016x}"
    file.write_bytes(b"123456")
    os.utime(file, ns=(1, 1))
    assert remembered() == f"{4:016x}" == remembered()
    for note in (tmp_path / "cache" / "hashes").iterdir():
        note.write_bytes(b"\xffnonsense")
    assert remembered() == f"{5:016x}"
    monkeypatch.setattr(release_hash, "LONG", math.inf)
    assert remembered() == f"{6:016x}"
    # A cache that cannot be written costs time and nothing else.
    monkeypatch.setattr(release_hash, "LONG", 4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "file"))
    assert remembered() == f"{7:016x}" and remembered() == f"{8:016x}"
