"""The command line; what it does is tested in tests/data/annotation."""

import numpy as np
import pytest

from sanawm_env.cli.main import main
from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import get_format
from sanawm_env.scenes.posed_clips import list_clips
from tests.data.annotation.conftest import LENS, SIZE, film, need, path, save


def run(*arguments):
    main(["annotate", *map(str, arguments)])


@pytest.fixture(scope="module")
def walk():
    c2w = path(25)
    return Episode([film(c2w)], c2w, LENS, SIZE, name="walk")


@pytest.mark.parametrize(("name", "metric"), [("tum", True), ("nerfstudio", False), ("colmap", False)])
def test_datasets_with_poses(walk, tmp_path, capsys, name, metric):
    get_format(name).load().write(tmp_path / "given", [walk])
    run(tmp_path / "given", "--out", tmp_path / "ds")
    (clip,) = list_clips(tmp_path / "ds")
    assert clip.metric is metric and np.allclose(clip.c2w, walk.c2w, atol=1e-9)
    assert "1 of 1 clips accepted" in capsys.readouterr().out
    assert "walk" in (tmp_path / "ds" / "report" / "index.html").read_text()


def test_a_bag_in_one_file_is_poses_and_not_a_video(walk, tmp_path, capsys):
    """FFmpeg finds pictures in an MCAP file, too, but neither their times nor the robot's odometry."""
    get_format("rosbag").load().write(tmp_path / "bags", [walk])
    (bag,) = (tmp_path / "bags" / "walk").glob("*.mcap")
    run(bag, "--out", tmp_path / "ds")
    (clip,) = list_clips(tmp_path / "ds")
    assert clip.metric and clip.figures["poses"] == "given" and np.allclose(clip.c2w, walk.c2w, atol=1e-6)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(SystemExit):
        run(tmp_path / "old.bag", "--out", tmp_path / "of_ros_1")
    assert "rosbags-convert" in capsys.readouterr().err
    assert not (tmp_path / "of_ros_1").exists()


def test_opengl_poses_in_a_file_that_says_otherwise(walk, tmp_path, capsys):
    flipped = walk.c2w @ np.diag([1.0, -1.0, -1.0, 1.0])
    get_format("tum").load().write(tmp_path / "given", [Episode(walk.frames, flipped, LENS, SIZE, name="walk")])
    with pytest.raises(SystemExit):
        run(tmp_path / "given", "--out", tmp_path / "ds")
    assert "OpenGL's axes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--camera-height", "1.5", "--odometry", "o.txt"], "give one"),
        (["--camera-height", "-1"], "positive"),
        (["--camera-height", "0"], "positive"),
        (["--size", "704"], "ROWSxCOLUMNS"),
        (["--size", "33x44"], "even sides"),
        (["--depth", "nowhere:model"], "package.module:function"),
        (["--odometry", "none.txt"], "check the path"),
        (["--seconds", "0"], "--seconds"),
        (["--fov", "60", "--intrinsics", "1", "1", "1", "1"], "not both"),
    ],
)
def test_options_that_cannot_be(walk, tmp_path, capsys, arguments, says):
    video = save(tmp_path / "v.mp4", walk.frames[0][:3])
    with pytest.raises(SystemExit) as ended:
        run(video, "--out", tmp_path / "ds", *arguments)
    assert ended.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()


def test_other_folders_stay_as_they_are(walk, tmp_path, capsys):
    video = save(tmp_path / "v.mp4", walk.frames[0][:3])
    with pytest.raises(SystemExit):
        run(video, "--out", tmp_path)
    assert "no dataset of posed clips" in capsys.readouterr().err


def test_a_video_that_is_too_short_ends_with_one(walk, tmp_path, capsys):
    need("scenedetect")
    video = save(tmp_path / "v.mp4", walk.frames[0][:3])
    with pytest.raises(SystemExit) as ended:
        run(video, "--out", tmp_path / "ds")
    assert ended.value.code == 1 and "v-0000: refused; it is too short: 3 frames" in capsys.readouterr().out
