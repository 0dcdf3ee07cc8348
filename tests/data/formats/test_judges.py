"""The readers of other projects on what we write: poses to 1e-6, frames equal. `.ci/formats` installs them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanawm_env.data.episode import Episode, all_frames
from sanawm_env.data.formats import get_format


def test_evo_reads_tum(judge: Any, episodes: list[Episode], tmp_path: Path) -> None:
    file_interface = judge("evo.tools.file_interface")
    get_format("tum").load().write(tmp_path / "out", episodes)
    for folder in (tmp_path / "out").iterdir():
        trajectory = file_interface.read_tum_trajectory_file(folder / "groundtruth.txt")
        (episode,) = (each for each in get_format("tum").load().read(folder))
        wanted = next(each for each in episodes if each.name == episode.name)
        assert np.abs(np.array(trajectory.poses_se3) - wanted.c2w).max() < 1e-6
        assert np.abs(trajectory.timestamps - np.arange(len(wanted)) / wanted.fps).max() < 1e-6


def test_pycolmap_reads_the_model(judge: Any, episodes: list[Episode], tmp_path: Path) -> None:
    pycolmap = judge("pycolmap")
    pillow = judge("PIL.Image")
    get_format("colmap").load().write(tmp_path / "out", episodes)
    folders = {"Küche 2": "Küche 2", "a/b:c": "a_b_c"}
    for episode in episodes:
        folder = tmp_path / "out" / folders.get(episode.name, episode.name)
        model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
        images = sorted(model.images.values(), key=lambda image: image.name)
        assert len(images) == len(episode) == model.num_reg_images()
        frames = all_frames(episode)
        for image, pose, frame in zip(images, episode.c2w, frames, strict=True):
            c2w = image.cam_from_world().inverse().matrix()
            assert np.abs(c2w - pose[:3]).max() < 1e-6
            assert np.array_equal(np.asarray(pillow.open(folder / "images" / image.name)), frame)
        # A point seen by the first camera lands on the pixel that our intrinsics say.
        camera = images[0].camera
        fx, fy, cx, cy = episode.intrinsics
        landed = camera.img_from_cam(np.array([[0.1, 0.2, 1.0]]))[0]
        assert np.abs(landed - [fx * 0.1 + cx, fy * 0.2 + cy]).max() < 1e-6
        assert (camera.height, camera.width) == episode.size


def test_our_reader_takes_what_pycolmap_writes(judge: Any, episodes: list[Episode], tmp_path: Path) -> None:
    pycolmap = judge("pycolmap")
    module = get_format("colmap").load()
    module.write(tmp_path / "out", episodes[:1])
    model = tmp_path / "out" / "000000" / "sparse" / "0"
    reconstruction = pycolmap.Reconstruction(str(model))
    for file in model.iterdir():
        file.unlink()
    reconstruction.write_text(str(model))
    (found,) = module.read(tmp_path / "out")
    assert np.abs(found.c2w - episodes[0].c2w).max() < 1e-6
    assert found.intrinsics == pytest.approx(episodes[0].intrinsics)


def test_webdataset_reads_shards(judge: Any, episodes: list[Episode], tmp_path: Path) -> None:
    webdataset = judge("webdataset")
    av = judge("av")
    get_format("webdataset").load().write(tmp_path / "out", episodes, codec="rgb", shard_size=2)
    shards = sorted(str(shard) for shard in (tmp_path / "out").iterdir())
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert len(samples) == len(episodes)
    for sample, episode in zip(samples, episodes, strict=True):
        arrays = np.load(io.BytesIO(sample["npz"]))
        assert np.abs(arrays["c2w"] - episode.c2w).max() < 1e-6
        assert np.array_equal(arrays["actions"], episode.actions)
        assert json.loads(sample["json"])["text"] == episode.text
        with av.open(io.BytesIO(sample["mp4"])) as container:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        assert np.array_equal(frames, all_frames(episode))
