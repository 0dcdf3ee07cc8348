import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from sanawm_env.cli.main import main
from sanawm_env.data.storage.native import item_files, video_file
from sanawm_env.video import read_video
from tests.data.native import edit, frames_digest, three_episodes, write_episode, write_video


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return three_episodes(tmp_path_factory.mktemp("data") / "räume 1")


@pytest.fixture
def dataset(made, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(made, tmp_path / made.name)


@pytest.fixture
def replay(capsys):
    """Run `sanawm replay`; returns the exit code, and what it printed."""

    def run(*arguments):
        code = 0
        try:
            main(["replay", *map(str, arguments)])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_a_dataset_is_bit_identical(made, replay):
    code, text = replay(made)
    assert code == 0 and text.count("bit-identical (37 frames") == 3 and "3 of 3" in text


def test_some_of_it(made, replay):
    assert replay(made, "--episodes", 2)[1].count("bit-identical (") == 2
    code, text = replay(made, "--episode", "2", "000000")
    assert code == 0 and text.index("000002:") < text.index("000000:")
    code, text = replay(item_files(made)[1])
    assert code == 0 and text.startswith("000001: bit-identical")
    code, text = replay(made, "--episode", "7")
    assert code == 2 and "no episode '7'" in text


def test_another_action_parts_them_from_its_step_on(dataset, replay):
    file = edit(dataset, 0, lambda item: item["recipe"]["actions"][1].__setitem__(2, -0.9))
    code, text = replay(file)
    assert code == 1 and "not identical" in text and "(step 2)" in text and "of 7168 pixels" in text
    assert "nothing that is recorded differs" in text


def test_the_pixels_that_differ_are_counted(dataset, replay):
    def change(item):  # a first rendering that differed in the last step
        item["recipe"]["digests"][3] = frames_digest(other[25:])

    first = video_file(dataset, 0)
    other = read_video(first)[0].copy()
    other[30, 4:6, 7] ^= 8
    write_video(first, other)
    file = edit(dataset, 0, change)
    code, text = replay(file)
    assert code == 1 and "frame 30 (step 3): 2 of 7168 pixels, by up to 8 of 255 levels" in text


def test_a_lossy_video_cannot_tell_pixels(dataset, replay):
    file = edit(dataset, 2, lambda item: item["recipe"]["digests"].__setitem__(2, "0" * 16))
    code, text = replay(file)
    assert code == 1 and "step 2, frames 13 to 24, by its digest" in text


def test_reasons_are_told_in_words(dataset, replay):
    def change(item):
        recipe = item["recipe"]
        recipe["digests"][0] = "0" * 16
        recipe["depends_on"] |= {"torch": "1.0", "code": "abc", "processor": "arm", "threads": 3, "dtype": "float32"}
        recipe["versions"]["numpy"] = "0.9"

    file = edit(dataset, 0, change)
    code, text = replay(file, "--threads", "here")
    assert code == 1 and "first difference in frame 0" in text
    for words in ("PyTorch was 1.0", "code of the world", "processor was arm", "3 threads rendered", "numpy was 0.9"):
        assert words in text, words
    assert "weights" not in text and torch.get_num_threads() == 1


def test_as_many_threads_as_recorded(dataset, replay, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    file = edit(dataset, 0, lambda item: item["recipe"]["depends_on"].__setitem__("threads", 2))
    _, text = replay(file)
    assert asked == [2, 1] and "was made with 2 threads" in text


def test_one_that_cannot_be_rendered_does_not_stop_the_others(dataset, replay):
    edit(dataset, 0, lambda item: item["recipe"].__setitem__("checkpoint_hash", "feed"))
    edit(dataset, 1, lambda item: item["recipe"].__setitem__("version", 99))
    item_files(dataset)[2].write_text('{"recipe": {"form')
    write_episode(dataset, 3)
    code, text = replay(dataset)
    assert code == 1 and "1 of 4 are bit-identical" in text and "000003: bit-identical" in text
    assert "hash feed" in text and "--checkpoint FOLDER" in text
    assert "version 99" in text and "cannot be read as JSON" in text


def test_an_image_is_found_by_its_hash(tmp_path, replay):
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    file = tmp_path / "ds" / "sanawm" / "images" / "a.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(picture).save(file)
    image = {"file": "sanawm/images/a.png", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    write_episode(tmp_path / "ds", 0, image=image)
    (tmp_path / "ds").rename(tmp_path / "moved")
    assert replay(tmp_path / "moved")[0] == 0
    moved = tmp_path / "moved" / image["file"]
    Image.fromarray(255 - picture).save(moved)
    code, text = replay(tmp_path / "moved")
    assert code == 1 and "another image" in text
    moved.unlink()
    code, text = replay(tmp_path / "moved")
    assert code == 1 and "is missing" in text


def test_what_was_rendered_can_be_watched(made, tmp_path, replay):
    out = tmp_path / "again.mp4"
    assert replay(item_files(made)[0], "--video", out)[0] == 0
    frames, rate = read_video(out)
    assert frames.shape == (37, 64, 112, 3) and rate == 16
    assert replay(made, "--episodes", 2, "--video", out)[0] == 0
    assert (tmp_path / "again-000000.mp4").is_file() and (tmp_path / "again-000001.mp4").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--episodes", "0"], "--episodes must be at least 1"),
        (["--threads", "many"], "--threads must be"),
        (["--threads", "0"], "--threads must be"),
        (["--episodes", "1", "--episode", "0"], "not both"),
        (["--video", "a.gif"], "--video must end in .mp4"),
    ],
)
def test_bad_options(made, replay, arguments, words):
    code, text = replay(made, *arguments)
    assert code == 2 and words in text


def test_no_dataset_and_no_recipe(tmp_path, replay):
    (tmp_path / "x.json").write_text("[1]")
    for path, code, words in (
        (tmp_path, 2, "holds no recipes"),
        (tmp_path / "none", 2, "no recipe"),
        (tmp_path / "x.json", 1, "holds no recipe"),
    ):
        assert replay(path)[0] == code and words in replay(path)[1]


def test_its_own_video_is_not_overwritten(made, replay):
    video = video_file(made, 0)
    before = video.read_bytes()
    code, text = replay(item_files(made)[0], "--video", video)
    assert code == 2 and "would be overwritten" in text and video.read_bytes() == before


# -- rollouts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rolled(tmp_path):
    """A rollout of a picture along keys."""
    picture = tmp_path / "my picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (93, 169, 3), dtype=np.uint8)).save(picture)
    folder = tmp_path / "out"
    main(["rollout", "-c", "tiny", "--image", str(picture), "--actions", "w-12,d-9", "--device", "cpu", "--out",
          str(folder / "v.mp4")])  # fmt: skip
    picture.unlink()
    return folder.rename(tmp_path / "moved elsewhere") / "v.json"


def test_a_rollout_that_was_moved(rolled, replay):
    recipe = json.loads(rolled.read_text())
    assert recipe["version"] == 2 and recipe["kind"] == "rollout" and recipe["depends_on"]["threads"] == 1
    code, text = replay(rolled)
    assert code == 0 and text.startswith("v: bit-identical (22 frames")
    assert replay(rolled.with_suffix(".mp4"))[0] == 0


def test_a_rollout_of_version_1(rolled, replay):
    """As they were written: no kind, no digests, and the image by its path alone."""
    recipe = json.loads(rolled.read_text())
    copy = rolled.parent / recipe["image"].pop("file")
    copy.rename(rolled.parent / "my picture.png")
    for name in ("kind", "digests", "depends_on", "poses_sha256"):
        del recipe[name]
    rolled.write_text(json.dumps(recipe | {"version": 1}))
    assert replay(rolled)[0] == 0
    rolled.write_text(json.dumps(recipe | {"version": 1, "noise_seed": 1}))
    code, text = replay(rolled)
    assert code == 1 and "does not tell where" in text and "does not say: processor, threads" in text
    rolled.write_text(json.dumps(recipe | {"version": 3}))
    code, text = replay(rolled)
    assert code == 1 and "version 3" in text


def test_a_rollout_of_a_scene_seen_with_another_field_of_view(tmp_path, replay):
    out = tmp_path / "v.mp4"
    main(["rollout", "-c", "tiny", "--fov", "61.3", "--actions", "w-8", "--device", "cpu", "--out", str(out)])
    assert replay(out)[0] == 0
    recipe = json.loads(out.with_suffix(".json").read_text())
    assert recipe["intrinsics"].pop("fov_deg") == 61.3  # version 1 did not tell it
    out.with_suffix(".json").write_text(json.dumps(recipe))
    assert replay(out)[0] == 0


def test_poses_of_another_rollout(rolled, replay):
    poses = rolled.with_name("v_c2w.npy")
    c2w = np.load(poses)
    c2w[5, 0, 3] += 1e-9
    np.save(poses, c2w)
    code, text = replay(rolled)
    assert code == 1 and "are not the 22 poses" in text
    poses.unlink()
    assert "no poses v_c2w.npy" in replay(rolled)[1]


def test_a_clip_is_refused(rolled, replay):
    recipe = json.loads(rolled.read_text())
    rolled.write_text(json.dumps(recipe | {"kind": "clip"}))
    code, text = replay(rolled)
    assert code == 1 and "is not replayed" in text


def test_a_rollout_given_its_own_copy_again(rolled, replay):
    copy = next(rolled.parent.glob("v_image-*.png"))
    main(["rollout", "-c", "tiny", "--image", str(copy), "--actions", "w-4", "--device", "cpu", "--out",
          str(rolled.with_suffix(".mp4"))])  # fmt: skip
    assert replay(rolled)[0] == 0
