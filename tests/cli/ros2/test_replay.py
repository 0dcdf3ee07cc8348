"""`sanawm ros2 replay`: a robot's bag, and one that cannot be replayed."""

import json

import pytest

pytest.importorskip("rosbags")

from sanawm_env.cli.main import main
from tests.bridges.ros2.bags import robots


@pytest.fixture
def replay(checkpoint, tmp_path, capsys):
    """Run `sanawm ros2 replay`; returns the exit code, and what it printed."""

    def run(bag, *arguments):
        code = 0
        try:
            line = ["ros2", "replay", bag, "-c", checkpoint, "--device", "cpu", "--steps", "1", *arguments]
            main([str(each) for each in line])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_a_robots_bag(replay, tmp_path):
    bag = robots.write(tmp_path / "robot", robots.robot())
    code, text = replay(bag, "--slow", 2)
    assert code == 0 and "33 frames along 0.50 m of /odom, beside 31 of 31 images" in text and "note" not in text
    assert sorted(each.name for each in (tmp_path / "robot_world").iterdir()) == [
        "replay.json",
        "side_by_side.mp4",
        "world.mcap",
    ]
    code, text = replay(bag)
    assert code == 2 and "robot_world is there already; choose another --out" in text


def test_an_interrupted_recording_is_used_as_far_as_it_goes(replay, tmp_path):
    bag = robots.write(tmp_path / "robot", robots.robot(seconds=20.0))
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (bag / "metadata.yaml").unlink()
    code, text = replay(bag, "--seconds", 1, "--out", tmp_path / "out")
    assert code == 0 and "note: robot.mcap is damaged (it breaks off); the" in text
    found = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert found["frames"] == 17 and "messages of its first" in found["damage"][0]


@pytest.mark.parametrize(
    ("topic", "message"),
    [("/cam/image_raw", "the bag has no images"), ("/odom", "nothing between 'base_link' and 'cam_optical' moves")],
)
def test_bags_that_lack_something(replay, tmp_path, topic, message):
    bag = robots.write(tmp_path / "robot", [line for line in robots.robot() if line[0] != topic])
    code, text = replay(bag)
    assert code == 2 and message in text and text.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["robot"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-topic", "/nothing"], "no images on /nothing; there is "),
        (["--odom-topic", "/nothing"], "no odometry on /nothing; there is "),
        (["--camera-frame", "nothing", "--odom-topic", "/tf_static"], "choose one with --camera-frame: base_link, cam"),
        (["--slow", "0"], "--slow must be positive"),
        (["--seconds", "nan"], "--seconds must be positive"),
        (["--fov", "200"], "--fov must lie between"),
        (["--storage", "bag"], "known are mcap, sqlite3"),
    ],
)
def test_refusals(replay, tmp_path, arguments, message):
    bag = robots.write(tmp_path / "robot", robots.robot())
    code, text = replay(bag, *arguments)
    assert code == 2 and message in text and text.startswith("sanawm: error: ")
    assert [each.name for each in tmp_path.iterdir()] == ["robot"]


def test_no_bag(replay, tmp_path):
    code, text = replay(tmp_path / "nothing.mcap")
    assert code == 2 and "no bag" in text
