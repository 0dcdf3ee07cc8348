"""What training leaves on disk is whole, whenever it is killed."""

import json

import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.training import store
from sanawm_env.training.optim import EMA, MuonAdamW
from sanawm_env.training.stages.depth import DepthTrainConfig


def test_lines_go_on_after_one_that_was_cut_short(tmp_path):
    path = tmp_path / "log.jsonl"
    for loss in (1.0, 0.5):
        with store.appending(path) as log:
            log.write(json.dumps({"loss": loss}) + "\n")
    path.write_bytes(path.read_bytes()[:-4])
    with store.appending(path) as log:
        log.write(json.dumps({"loss": 0.25}) + "\n")
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [1.0, 0.25]
    path.write_bytes(b'{"lo')
    with store.appending(path):
        pass
    assert path.read_bytes() == b""


def test_a_save_that_fails_leaves_both_files_of_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "depth.safetensors"
    store.save_with_progress(path, {"a": torch.zeros(2)}, {"step": 1})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"depth.safetensors", "progress.json"}
    with pytest.raises(ValueError, match="JSON"):
        store.save_with_progress(path, {"a": torch.ones(2)}, {"step": 2, "minutes": float("nan")})

    def full(path, tensors):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(store, "save_tensors", full)
    with pytest.raises(OSError, match="No space"):
        store.save_with_progress(path, {"a": torch.ones(2)}, {"step": 2})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert torch.equal(load_file(path)["a"], torch.zeros(2))


@pytest.mark.parametrize("text", [None, '{"step": '])
def test_a_state_whose_progress_is_gone_or_broken_is_refused(tmp_path, text):
    model = torch.nn.Linear(2, 2)
    parts = model, MuonAdamW(model, 0.01, 0.001), EMA(model, 0.9)
    store.save_state(tmp_path, *parts, {"step": 3})
    assert store.load_state(tmp_path, *parts) == {"step": 3}
    progress = tmp_path / "progress.json"
    progress.unlink() if text is None else progress.write_text(text)
    with pytest.raises(ValueError, match=r"progress\.json that its run wrote; choose another --out"):
        store.load_state(tmp_path, *parts)


def test_settings_are_written_as_plain_values(tmp_path):
    store.write_settings(tmp_path, DepthTrainConfig(out=tmp_path / "täglich"), processes=3)
    found = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert found["out"] == str(tmp_path / "täglich") and found["processes"] == 3 and found["batch"] == 24
