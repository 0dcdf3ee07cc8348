"""WebDataset and SANA-WM's training layout: round trips, and what is wrong with a shard, a zip or a target."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import detect, get_format

KINDS = ("webdataset", "upstream")
Compare = Callable[..., None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("codec", "psnr"), [("rgb", None), (None, 38), ("h264", 30)])
def test_what_is_written_is_read(
    kind: str, codec: str | None, psnr: float | None, episodes: list[Episode], same: Compare, tmp_path: Path
) -> None:
    module = get_format(kind).load()
    target = tmp_path / "mit Leerzeichen ü"
    module.write(target, episodes, **({"codec": codec} if codec else {}))
    assert detect(target).name == kind
    assert [problem for problem in module.check(target) if problem.fatal] == []
    found = list(module.read(target))
    for episode, wanted in zip(found, episodes, strict=True):
        assert episode.name == wanted.name
        same(episode, wanted, psnr=psnr, depth=0 if kind == "webdataset" else None)
        assert np.array_equal(episode.c2w, wanted.c2w)
    assert [each.name for each in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(("kind", "size"), [("webdataset", "shard_size"), ("upstream", "zip_size")])
def test_append_and_refusals(kind: str, size: str, episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format(kind).load()
    target = tmp_path / "out"
    module.write(target, episodes[:3], **{size: 2})
    archives = sorted(target.glob("*.tar")) + sorted(target.glob("*.zip"))
    assert len(archives) == 2
    before = {each.name: each.read_bytes() for each in target.iterdir()}
    with pytest.raises(FileExistsError, match="is there already"):
        module.write(target, episodes)
    broken = replace(episodes[0], frames=episodes[0].frames[:1])  # type: ignore[index]
    with pytest.raises(ValueError, match="and 2 frames"):
        module.write(target, [episodes[3], broken], mode="append")
    assert {each.name: each.read_bytes() for each in target.iterdir()} == before
    module.write(target, episodes[2:], mode="append")
    assert len(list(module.read(target))) == 6
    for options, message in (
        ({"codec": "mp3"}, "unknown codec"),
        ({size: 0}, "at least 1"),
        ({size: "many"}, "at least 1"),
        ({"x": 1}, "no option x"),
    ):
        with pytest.raises(ValueError, match=message):
            module.write(tmp_path / "none", episodes, **options)
    with pytest.raises(ValueError, match="check the path"):
        list(module.read(tmp_path))
    assert not (tmp_path / "none").exists()


def test_damaged_shards(episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("webdataset").load()
    module.write(tmp_path / "out", [replace(episodes[0], name="one.two")])
    (shard,) = (tmp_path / "out").iterdir()
    whole = shard.read_bytes()
    with tarfile.open(shard) as archive:
        members = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    assert sorted(members) == [f"one_two.{kind}" for kind in ("depth.npz", "json", "mp4", "npz")]
    shard.write_bytes(whole[: len(whole) // 3])
    assert any(problem.fatal for problem in module.check(tmp_path / "out"))
    for lost in ("json", "npz", "mp4"):
        with tarfile.open(shard, "w") as archive:
            for name, data in members.items():
                if name != f"one_two.{lost}":
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        with pytest.raises(ValueError, match=rf"lacks one_two.{lost}"):
            list(module.read(tmp_path / "out"))
        (problem,) = module.check(tmp_path / "out")
        assert problem.fatal


def test_upstreams_files_by_their_description(episodes: list[Episode], tmp_path: Path) -> None:
    """A reader written from the description of the trainer's files, which shares nothing with the writer."""
    get_format("upstream").load().write(tmp_path / "raw", episodes, zip_size=3)
    wanted = {episode.name.replace("/", "_").replace(":", "_"): episode for episode in episodes}
    seen = []
    for archive in sorted((tmp_path / "raw").glob("*.zip")):
        stem = str(archive)[: -len(".zip")]
        camera = np.load(f"{stem}_camera.npz")
        assert len(camera["pose"]) == len(camera["intrinsics"]) == camera["ranges"][:, 1].sum()
        scale = json.loads(Path(f"{stem}_metric_scale_stats.json").read_text())
        caption = json.loads(Path(f"{stem}_LongSceneStaticCaption-Qwen3-VL-30B-A3B-Instruct.json").read_text())
        with zipfile.ZipFile(archive) as content:
            names = {name.rsplit(".", 1)[0] for name in content.namelist()}
            for row, key in enumerate(camera["ids"]):
                key = str(key)
                start, count = camera["ranges"][row]
                clip = wanted[key]
                pose = camera["pose"][start : start + count]
                assert count == len(clip) and np.abs(pose * 1.0 - clip.c2w).max() < 1e-6 and scale[key] == 1.0
                assert np.array_equal(camera["intrinsics"][start : start + count], np.tile(clip.intrinsics, (count, 1)))
                values = json.loads(content.read(f"{key}.json"))
                assert (values["height"], values["width"], values["prompt"]) == (*clip.size, clip.text)
                assert caption[key] == {"prompt": clip.text}
                seen.append(key)
        assert names == {str(key) for key in camera["ids"]}
    assert sorted(seen) == sorted(wanted)


def test_upstream_scale_and_other_rates(episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("upstream").load()
    with pytest.raises(ValueError, match="trains at 16"):
        module.write(tmp_path / "out", [replace(episodes[0], fps=30.0)])
    assert not (tmp_path / "out").exists()
    module.write(tmp_path / "out", episodes[:1])
    (stats,) = (tmp_path / "out").glob("*stats.json")
    values: dict[str, Any] = {"000000": {"median": 2.5, "score": None}}
    stats.write_text(json.dumps(values))
    (found,) = module.read(tmp_path / "out")
    assert np.allclose(found.c2w[:, :3, 3], 2.5 * episodes[0].c2w[:, :3, 3])
    (archive,) = (tmp_path / "out").glob("*.zip")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        list(module.read(tmp_path / "out"))
    assert any(problem.fatal for problem in module.check(tmp_path / "out"))
