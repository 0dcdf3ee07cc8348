"""`sanawm data`: what is printed and written, and one line for each mistake."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from sanawm_env.cli.main import main
from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import get_format


def _episode(number: int, checkpoint: str = "abc") -> Episode:
    c2w = np.tile(np.eye(4), (5, 1, 1))
    c2w[:, 2, 3] = np.arange(5) * 0.1
    recipe = {"checkpoint_hash": checkpoint, "checkpoint": "tiny", "frames_sha256": f"{number:x}"}
    return Episode(
        frames=[np.full((5, 16, 24, 3), number * 10, np.uint8)],
        c2w=c2w,
        intrinsics=np.array([20.0, 20, 11.5, 7.5]),
        size=(16, 24),
        frames_per_step=2,
        actions=np.zeros((2, 6), np.float32),
        rewards=np.array([0.25, number]),
        success=number < 3,
        recipe=recipe,
        name=f"{number:06d}",
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    get_format("tum").load().write(tmp_path / "Daten ü", [_episode(number) for number in range(10)])
    return tmp_path / "Daten ü"


def _names(path: Path, kind: str) -> list[str]:
    return [episode.name for episode in get_format(kind).load().read(path)]


def _refused(capsys: Any, *arguments: object) -> str:
    with pytest.raises(SystemExit) as end:
        main(["data", *map(str, arguments)])
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sanawm: error: ")
    return lines[0]


def test_info(dataset: Path, capsys: Any) -> None:
    main(["data", "info", str(dataset), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "TUM trajectories" and found["episodes"] == 10 and found["frames"] == 50
    assert found["success"] == 0.3 and found["steps"] == 20 and found["mean reward of an episode"] == 4.75
    assert found["checkpoint"] == ["tiny (abc)"] and found["frame size"] == ["16x24"]
    assert found["minutes"] == round(10 * 4 / 16 / 60, 2)
    assert found["megabytes"] == round(sum(f.stat().st_size for f in dataset.rglob("*") if f.is_file()) / 1e6, 2)
    main(["data", "info", str(dataset)])
    assert "TUM trajectories" in capsys.readouterr().out


def test_convert_selects_and_leaves_out_what_was_dropped(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    (dataset / "sanawm").mkdir()
    decisions = {"000003": {"decision": "drop", "tags": ["blurred"]}, "000004": {"decision": "keep"}}
    (dataset / "sanawm" / "review.json").write_text(json.dumps(decisions))
    main(["data", "convert", str(dataset), "--to", "colmap", "--out", str(tmp_path / "c"), "--episodes", "0", "2-4"])
    assert _names(tmp_path / "c", "colmap") == ["000000", "000002", "000004"]
    main(["data", "convert", str(dataset), "--to", "colmap", "--out", str(tmp_path / "d"), "--dropped"])
    assert len(_names(tmp_path / "d", "colmap")) == 10
    arguments = ["--to", "colmap", "--mode", "append", "--out", str(tmp_path / "c")]
    main(["data", "convert", str(dataset), "--episodes", "9", *arguments])
    assert _names(tmp_path / "c", "colmap")[-1] == "000009"
    assert "no episode '12'" in _refused(
        capsys, "convert", dataset, "--to", "tum", "--out", tmp_path / "e", "--episodes", 12
    )
    dropped = _refused(capsys, "convert", dataset, "--to", "tum", "--out", tmp_path / "e", "--episodes", 3)
    assert "--dropped" in dropped and not (tmp_path / "e").exists()


def test_what_is_lost_is_said_once(tmp_path: Path, capsys: Any) -> None:
    depth = [np.full((5, 16, 24), 2.0, np.float32)]
    deep = [replace(_episode(number), depth=depth if number else None) for number in range(3)]
    get_format("tum").load().write(tmp_path / "deep", deep)
    main(["data", "convert", str(tmp_path / "deep"), "--to", "colmap", "--out", str(tmp_path / "c")])
    (note,) = capsys.readouterr().err.splitlines()
    assert "COLMAP text model has no place for depth: left out of 2 of 3 episodes" in note
    parts = ["--out", str(tmp_path / "x"), str(tmp_path / "y"), "--to", "colmap"]
    main(["data", "split", str(tmp_path / "deep"), *parts])
    assert capsys.readouterr().err.splitlines() == [note]
    main(["data", "convert", str(tmp_path / "deep"), "--to", "nerfstudio", "--out", str(tmp_path / "n")])
    assert capsys.readouterr().err == ""


def test_decisions_name_items_of_a_part(tmp_path: Path) -> None:
    """In a part, item 000001 is an episode of another number."""
    pytest.importorskip("pyarrow")
    part, source = tmp_path / "part", tmp_path / "bare"
    get_format("tum").load().write(source, [replace(_episode(number), recipe=None) for number in range(10)])
    main(["data", "convert", str(source), "--to", "lerobot", "--out", str(part), "--episodes", "4-6"])
    assert _names(part, "lerobot") == ["000004", "000005", "000006"]
    (part / "sanawm" / "review.json").write_text(json.dumps({"000001": {"decision": "drop"}}))
    main(["data", "convert", str(part), "--to", "colmap", "--out", str(tmp_path / "c")])
    assert _names(tmp_path / "c", "colmap") == ["000004", "000006"]


def test_two_checkpoints_are_not_mixed_in_silence(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    get_format("tum").load().write(tmp_path / "other", [_episode(20, checkpoint="def")])
    main(["data", "convert", str(dataset), "--to", "colmap", "--out", str(tmp_path / "c")])
    arguments = ["convert", str(tmp_path / "other"), "--to", "colmap", "--out", str(tmp_path / "c"), "--mode", "append"]
    assert "2 checkpoints: tiny (abc), tiny (def)" in _refused(capsys, *arguments)
    assert len(_names(tmp_path / "c", "colmap")) == 10
    main(["data", *arguments, "--mixed"])
    assert len(_names(tmp_path / "c", "colmap")) == 11


def test_refusals(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    to = ["--to", "colmap", "--out"]
    assert "no dataset" in _refused(capsys, "convert", tmp_path / "nothing", *to, tmp_path / "x")
    assert "no dataset" in _refused(capsys, "check", tmp_path / "nothing")
    assert "unknown format" in _refused(capsys, "convert", dataset, "--to", "rlds", "--out", tmp_path / "x")
    assert "lies in the dataset" in _refused(capsys, "convert", dataset, *to, dataset / "x")
    assert "no option codec" in _refused(capsys, "convert", dataset, *to, tmp_path / "x", "--codec", "rgb")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    assert "is there already" in _refused(capsys, "convert", dataset, *to, tmp_path / "full")
    assert "known format" in _refused(capsys, "info", tmp_path / "full")


def test_check(dataset: Path, capsys: Any) -> None:
    main(["data", "check", str(dataset)])
    assert "no errors" in capsys.readouterr().out
    next((dataset / "000004" / "rgb").iterdir()).unlink()
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(dataset)])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 1 and len(lines) == 2 and lines[0].startswith("error: 000004: frame")


def test_split(dataset: Path, tmp_path: Path, capsys: Any) -> None:
    (dataset / "sanawm").mkdir()
    (dataset / "sanawm" / "review.json").write_text(json.dumps({"000003": {"decision": "drop"}}))
    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    arguments = ["--out", *map(str, parts), "--fractions", "0.6", "0.3", "0.1"]
    main(["data", "split", str(dataset), *arguments])
    found = [_names(part, "tum") for part in parts]
    assert [len(each) for each in found] == [5, 3, 1]
    assert sorted(name for part in found for name in part) == [f"{number:06d}" for number in range(10) if number != 3]
    # Another order and other names of the same episodes: the same parts.
    episodes = [replace(_episode(number), name=f"{99 - number:06d}") for number in reversed(range(10)) if number != 3]
    get_format("tum").load().write(tmp_path / "again", episodes)
    again = [tmp_path / "x", tmp_path / "y", tmp_path / "z"]
    main(["data", "split", str(tmp_path / "again"), "--out", *map(str, again), "--fractions", "0.6", "0.3", "0.1"])
    rewards = [sorted(float(e.rewards[1]) for e in get_format("tum").load().read(part)) for part in again]
    assert rewards == [sorted(float(name) for name in part) for part in found]
    assert "as many" in _refused(capsys, "split", dataset, "--out", tmp_path / "q", "--fractions", "0.5", "0.5")
    two = ["--out", tmp_path / "q", tmp_path / "r", "--fractions"]
    assert "make 1" in _refused(capsys, "split", dataset, *two, "0.5", "0.1")
    assert "is there already" in _refused(capsys, "split", dataset, "--out", *parts[:2])
    assert "are the same" in _refused(capsys, "split", dataset, "--out", tmp_path / "q", tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_push(dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    calls: list[tuple[Any, ...]] = []

    class Hub:
        def __init__(self, token: str) -> None:
            calls.append(("token", token))

        def create_repo(self, repo: str, **options: Any) -> None:
            calls.append(("create", repo, options))

        def upload_folder(self, **options: Any) -> Any:
            calls.append(("upload", options))
            return SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "hf auth login" in _refused(capsys, "push", dataset, "--repo", "me/walks")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    assert "owner/name" in _refused(capsys, "push", dataset, "--repo", "walks")
    assert calls == []
    main(["data", "push", str(dataset), "--repo", "me/walks", "--private"])
    assert capsys.readouterr().out.strip() == "https://hub/commit"
    assert calls[0] == ("token", "secret")
    assert calls[1] == ("create", "me/walks", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert calls[2][1]["folder_path"] == dataset and calls[2][1]["repo_type"] == "dataset"
    calls.clear()
    next((dataset / "000004" / "rgb").iterdir()).unlink()
    assert "has 1 faults" in _refused(capsys, "push", dataset, "--repo", "me/walks")
    assert calls == []
