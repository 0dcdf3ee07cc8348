"""TUM, COLMAP, nerfstudio: what comes back, and what is wrong with a dataset or a target."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import detect, get_format

KINDS = ("tum", "colmap", "nerfstudio")
DEPTH = {"tum": 1e-4 + 1e-6, "nerfstudio": 5e-4 + 1e-6, "colmap": None}

Compare = Callable[..., None]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind: str, episodes: list[Episode], same: Compare, tmp_path: Path) -> None:
    module = get_format(kind).load()
    target = tmp_path / "with space ü"
    module.write(target, episodes)
    assert detect(target).name == kind
    assert module.check(target) == []
    found = {episode.name: episode for episode in module.read(target)}
    assert len(found) == 5
    for episode in episodes:
        same(found[episode.name], episode, depth=DEPTH[kind])
    assert [each.name for each in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_respected(kind: str, episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format(kind).load()
    target = tmp_path / "out"
    module.write(target, episodes[:2])
    before = sorted(str(each) for each in target.rglob("*"))
    with pytest.raises(FileExistsError, match="is there already"):
        module.write(target, episodes[2:])
    broken = replace(episodes[2], frames=[np.zeros((3, *episodes[2].size, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"poses and 3 frames"):
        module.write(target, [episodes[3], broken], mode="append")
    assert sorted(str(each) for each in target.rglob("*")) == before
    module.write(target, episodes[1:3], mode="append")  # a name that is taken gets a number
    assert sorted(each.name for each in target.iterdir()) == ["000000", "Küche 2", "Küche 2-2", "a_b_c"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        module.write(other, episodes, mode="append")
    with pytest.raises(ValueError, match="no episode"):
        module.write(tmp_path / "none", [])
    with pytest.raises(ValueError, match="no option codec"):
        module.write(tmp_path / "none", episodes, codec="rgb")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_frames_and_facts(kind: str, episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format(kind).load()
    module.write(tmp_path / "out", episodes[:2])
    first = tmp_path / "out" / "000000"
    next(first.rglob("*rgb/*.png") if kind == "tum" else first.rglob("images/*3.png")).unlink()
    (problem,) = module.check(tmp_path / "out")
    assert problem.fatal and problem.where == "000000" and "is missing" in problem.what
    with pytest.raises(ValueError, match="is missing"):
        list(next(iter(module.read(tmp_path / "out"))).frames)
    (tmp_path / "out" / "Küche 2" / "episode.json").unlink()
    assert [problem.fatal for problem in module.check(tmp_path / "out")] == [True, False]
    bare = list(module.read(tmp_path / "out"))[1]
    assert bare.name == "Küche 2" and bare.fps == pytest.approx(16) and not len(bare.actions)
    (tmp_path / "out" / "Küche 2" / "episode.json").write_text("{")
    with pytest.raises(ValueError, match=r"Küche 2.*no JSON"):
        list(module.read(tmp_path / "out"))
    with pytest.raises(ValueError, match="check the path"):
        list(module.read(tmp_path / "nowhere"))


def _tamper(path: Path, edit: Callable[[Any], Any]) -> None:
    text = path.read_text()
    path.write_text(json.dumps(edit(json.loads(text))) if path.suffix == ".json" else edit(text))


@pytest.mark.parametrize(
    ("kind", "file", "edit", "message"),
    [
        ("tum", "intrinsics.txt", lambda text: "1 2 3", "four numbers"),
        ("tum", "groundtruth.txt", lambda text: "0 1 2\n", "8 numbers"),
        ("tum", "rgb.txt", lambda text: "99.0 rgb/a.png\n", "clocks differ"),
        ("tum", "episode.json", lambda v: v | {"fps": 30.0}, "says 30"),
        ("colmap", "sparse/0/cameras.txt", lambda text: "1 OPENCV 4 4 1 1 1 1 0 0 0 0\n", "undistort"),
        ("colmap", "sparse/0/cameras.txt", lambda text: text + "2 PINHOLE 4 4 1 1 1 1\n", "one camera"),
        ("colmap", "sparse/0/images.txt", lambda text: "1 2 3\n\n", "10 words"),
        ("nerfstudio", "transforms.json", lambda v: {k: v[k] for k in v if k != "fl_x"}, "lacks intrinsics"),
        ("nerfstudio", "transforms.json", lambda v: v | {"k1": 0.1}, "distortion"),
        ("nerfstudio", "transforms.json", lambda v: v | {"frames": []}, "no frames"),
    ],
)
def test_damaged_files(
    kind: str, file: str, edit: Callable[[Any], Any], message: str, episodes: list[Episode], tmp_path: Path
) -> None:
    module = get_format(kind).load()
    module.write(tmp_path / "out", episodes[:1])
    _tamper(tmp_path / "out" / "000000" / file, edit)
    with pytest.raises(ValueError, match=message):
        list(module.read(tmp_path / "out"))
    assert any(problem.fatal and message in problem.what for problem in module.check(tmp_path / "out"))


def test_a_given_picture_travels_with_its_recipe(episodes: list[Episode], tmp_path: Path) -> None:
    """No path of this machine gets into a dataset."""
    (tmp_path / "photo.png").write_bytes(b"pixels")
    image = {"file": str(tmp_path / "photo.png"), "sha256": "00"}
    made = replace(episodes[0], recipe={"checkpoint_hash": "abc", "image": image})
    module = get_format("tum").load()
    module.write(tmp_path / "out", [made])
    (tmp_path / "out").rename(tmp_path / "moved")
    assert str(tmp_path) not in (tmp_path / "moved" / "000000" / "episode.json").read_text()
    (found,) = module.read(tmp_path / "moved")
    assert found.recipe is not None and Path(found.recipe["image"]["file"]).read_bytes() == b"pixels"
    get_format("webdataset").load().write(tmp_path / "shards", [made])
    (found,) = get_format("webdataset").load().read(tmp_path / "shards")
    assert found.recipe is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_picture_that_is_gone_is_no_lost_recipe(kind: str, episodes: list[Episode], tmp_path: Path) -> None:
    image = {"file": str(tmp_path / "gone.png"), "sha256": "00"}
    made = replace(episodes[0], recipe={"checkpoint_hash": "abc", "image": image})
    with pytest.raises(ValueError, match=r"gone\.png, is missing, .* put it there again"):
        get_format(kind).load().write(tmp_path / "out", [made])
    assert list(tmp_path.iterdir()) == []


def test_missing_intrinsics_of_a_tum_recording(episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("tum").load()
    module.write(tmp_path / "out", episodes[:1])
    (tmp_path / "out" / "000000" / "intrinsics.txt").unlink()
    with pytest.raises(ValueError, match=r"intrinsics.txt is missing; write"):
        list(module.read(tmp_path / "out"))


def test_axes_of_nerfstudio_by_hand(tmp_path: Path) -> None:
    """A camera 1 m ahead and 2 m up, turned 90 degrees to the right: in nerfstudio's world y is ahead and z is up."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # columns: its right is our back, its ahead is our right
    pose[:3, 3] = [0, -2, 1]
    frames = [np.zeros((2, 4, 6, 3), np.uint8)]
    episode = Episode(frames, np.stack([np.eye(4), pose]), np.array([5.0, 5, 3, 2]), (4, 6), name="e")
    get_format("nerfstudio").load().write(tmp_path / "out", [episode])
    values = json.loads((tmp_path / "out" / "e" / "transforms.json").read_text())
    first, second = (np.array(frame["transform_matrix"]) for frame in values["frames"])
    x, y, z = np.eye(3)
    # OpenGL: the columns are right, up and backwards.
    assert np.allclose(first[:3, :3], np.stack([x, z, -y], 1)) and np.allclose(first[:3, 3], 0)
    assert np.allclose(second[:3, :3], np.stack([-y, z, -x], 1))
    assert np.allclose(second[:3, 3], [0, 1, 2])
    assert (values["cx"], values["cy"]) == (values["w"] / 2, values["h"] / 2)  # the middle, by its count of pixels


def test_the_middle_of_a_picture_in_each_format(tmp_path: Path) -> None:
    """An episode counts pixels from the picture's corner, as the package and COLMAP do, TUM from a pixel's centre."""
    frames = [np.zeros((1, 4, 6, 3), np.uint8)]
    episode = Episode(frames, np.eye(4)[None], np.array([5.0, 5, 3, 2]), (4, 6), name="e")
    for name in ("colmap", "nerfstudio", "tum"):
        get_format(name).load().write(tmp_path / name, [episode])
    camera = (tmp_path / "colmap" / "e" / "sparse" / "0" / "cameras.txt").read_text().split()
    assert camera[-2:] == ["3", "2"]
    assert (tmp_path / "tum" / "e" / "intrinsics.txt").read_text().split() == ["5", "5", "2.5", "1.5"]
    values = json.loads((tmp_path / "nerfstudio" / "e" / "transforms.json").read_text())
    assert (values["cx"], values["cy"]) == (3, 2)
