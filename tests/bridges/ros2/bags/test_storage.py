"""Whole bags, and what is left of those whose recording was interrupted."""

import shutil

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.rosbag2 import StoragePlugin
from sanawm_env.bridges.ros2.bags.pictures import pixels
from sanawm_env.bridges.ros2.bags.storage import open_bag

from tests.bridges.ros2.bags import robots

IMAGES = "/cam/image_raw"


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag(request, tmp_path_factory):
    """Long enough for several chunks of MCAP."""
    storage = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[request.param]
    return robots.write(tmp_path_factory.mktemp("bags") / "robot", robots.robot(seconds=20.0), storage)


def shown(bag):
    return [pixels(message) for _, _, message in bag.messages([IMAGES])]


def test_a_folder_and_its_file_alone(bag):
    (file,) = (each for each in bag.iterdir() if each.suffix != ".yaml")
    for path in (bag, file):
        found = open_bag(path)
        assert {name: (each.kind, each.count) for name, each in found.topics.items()} == {
            IMAGES: ("sensor_msgs/msg/Image", 601),
            "/odom": ("nav_msgs/msg/Odometry", 1001),
            "/tf_static": ("tf2_msgs/msg/TFMessage", 1),
            "/cam/camera_info": ("sensor_msgs/msg/CameraInfo", 1),
        }
        assert all(np.array_equal(a, robots.picture(k)) for k, a in enumerate(shown(found)))
        assert len(shown(found)) == 601 and not found.damage
    assert found.of_kind("nav_msgs/msg/Odometry") == ["/odom"] and f"{IMAGES} (sensor_msgs/msg/Image, 601)" in (
        found.describe()
    )
    times = [time for _, time, _ in found.messages([IMAGES, "/odom"])]
    assert times == sorted(times) and len(times) == 601 + 1001


def test_without_metadata(bag, tmp_path):
    """The file that rosbag2 writes last, and not at all if it is killed."""
    copy = shutil.copytree(bag, tmp_path / "robot")
    (copy / "metadata.yaml").unlink()
    found = open_bag(copy)
    assert len(shown(found)) == 601 and not found.damage


def test_a_recording_in_several_files(tmp_path):
    """As `ros2 bag record --max-bag-duration` leaves them, of which the last was not finished."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, (begin, end) in {0: (0, 4), 2: (4, 8), 10: (8, 20)}.items():
        lines = [line for line in robots.robot(seconds=20.0) if begin <= (line[2] - robots.START) / 1e9 < end]
        (file,) = robots.write(tmp_path / f"{number}", lines).glob("*.mcap")
        shutil.move(file, parts / f"robot_{number}.mcap")
    last = parts / "robot_10.mcap"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    found = open_bag(parts)
    times = [time for _, time, _ in found.messages([IMAGES])]
    assert times == sorted(times) and 300 < len(times) < 450 and list(found.damage) == ["robot_10.mcap"]
    last.write_bytes(b"")
    found = open_bag(parts)
    assert len(shown(found)) == 240 and found.damage == {"robot_10.mcap": "nothing of robot_10.mcap can be read"}


@pytest.mark.parametrize("share", [0.3, 0.55, 0.9])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_file_that_breaks_off(bag, tmp_path, share, metadata):
    copy = shutil.copytree(bag, tmp_path / "robot")
    (file,) = (each for each in copy.iterdir() if each.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    if not metadata:
        (copy / "metadata.yaml").unlink()
    if file.suffix == ".db3":  # SQLite opens no part of a database
        with pytest.raises(ValueError, match=r"no readable bag: .*malformed.*recover` may save"):
            open_bag(copy)
        return
    found = open_bag(copy)
    left = shown(found)
    assert (share - 0.25) * 601 < len(left) < share * 601  # the chunk that broke is lost
    assert all(np.array_equal(a, robots.picture(k)) for k, a in enumerate(left))
    assert found.topics[IMAGES].count == len(left)
    (text,) = found.damage.values()
    assert "damaged" in text and "messages of its first" in text


def test_bytes_that_turned(tmp_path):
    """The index is whole; a chunk in the middle is not."""
    folder = robots.write(tmp_path / "robot", robots.robot(seconds=20.0))
    (file,) = folder.glob("*.mcap")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200_000] = bytes(200_000)
    file.write_bytes(data)
    found = open_bag(folder)
    left = shown(found)
    assert len(left) < 601 and f"only {len(left)} of the 601 messages of {IMAGES}" in found.damage["robot"]


def test_no_bags(tmp_path):
    with pytest.raises(FileNotFoundError, match="no bag"):
        open_bag(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no \.mcap or \.db3"):
        open_bag(tmp_path)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(ValueError, match="ROS 1; convert it first: rosbags-convert"):
        open_bag(tmp_path / "old.bag")
    for name in ("text.mcap", "text.db3", "text.txt"):
        (tmp_path / name).write_bytes(b"this is no bag" * 100)
        with pytest.raises(ValueError, match="no readable bag"):
            open_bag(tmp_path / name)
    (tmp_path / "empty.mcap").write_bytes(b"")
    with pytest.raises(ValueError, match="no readable bag"):
        open_bag(tmp_path / "empty.mcap")
