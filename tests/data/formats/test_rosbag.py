"""ROS 2 bags: round trips, and what is wrong with a bag."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sanawm_env.data.episode import Episode, all_frames
from sanawm_env.data.formats import detect, get_format

pytest.importorskip("rosbags")
Compare = Callable[..., None]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_is_written_is_read(storage: str, episodes: list[Episode], same: Compare, tmp_path: Path) -> None:
    module = get_format("rosbag").load()
    target = tmp_path / "with space ü"
    module.write(target, episodes, storage=storage)
    assert detect(target).name == "rosbag" and module.check(target) == []
    found = {episode.name: episode for episode in module.read(target)}
    for episode in episodes:
        same(found[episode.name], episode, depth=0)
    assert [each.name for each in tmp_path.iterdir()] == [target.name]


def test_refusals(episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("rosbag").load()
    target = tmp_path / "bags"
    module.write(target, episodes[:1])
    cut = replace(episodes[1], frames=[np.zeros((3, *episodes[1].size, 3), np.uint8)])
    with pytest.raises(ValueError, match="and 3 frames"):
        module.write(target, [episodes[2], cut], mode="append")
    assert [each.name for each in target.iterdir()] == ["000000"]
    with pytest.raises(FileExistsError, match="is there already"):
        module.write(target, episodes)
    with pytest.raises(ValueError, match="unknown storage"):
        module.write(tmp_path / "x", episodes, storage="bag")
    (file,) = (target / "000000").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no readable bag"):
        list(module.read(target))
    assert any(problem.fatal for problem in module.check(target))


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("/odom", "no nav_msgs/Odometry"),
        ("/camera/camera_info", "no sensor_msgs/CameraInfo"),
        ("/camera/image_raw", "no sensor_msgs/Image"),
        ("/tf_static", "no static transform leads from 'base_link'"),
    ],
)
def test_topics_that_were_not_recorded(left_out: str, message: str, episodes: list[Episode], tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import Writer

    module = get_format("rosbag").load()
    module.write(tmp_path / "bags", [replace(episodes[0], depth=None)])
    (tmp_path / "less").mkdir()
    with AnyReader([tmp_path / "bags" / "000000"]) as reader, Writer(tmp_path / "less" / "one", version=9) as writer:
        kept = {
            each.topic: writer.add_connection(each.topic, each.msgtype, typestore=reader.typestore)
            for each in reader.connections
            if each.topic != left_out
        }
        for connection, stamp, raw in reader.messages():
            if connection.topic in kept:
                writer.write(kept[connection.topic], stamp, raw)
    with pytest.raises(ValueError, match=message):
        list(module.read(tmp_path / "less"))


def test_bags_without_our_sidecar(episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("rosbag").load()
    module.write(tmp_path / "bags", episodes[:1])
    (tmp_path / "bags" / "000000" / "episode.json").unlink()
    (found,) = module.read(tmp_path / "bags")
    assert found.name == "000000" and found.fps == pytest.approx(16) and not len(found.actions)
    assert np.abs(found.c2w - episodes[0].c2w).max() < 1e-6


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_that_is_one_file(storage: str, episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("rosbag").load()
    module.write(tmp_path / "bags", episodes[:1], storage=storage)
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    (written,) = (tmp_path / "bags" / "000000").glob(f"*.{suffix}")
    file = written.rename(tmp_path / f"walk.{suffix}")
    assert detect(file).name == "rosbag" and not module.check(file)[1:]
    (found,) = module.read(file)
    assert found.name == "walk" and np.abs(found.c2w - episodes[0].c2w).max() < 1e-6


def test_mcap_reads_the_bag(judge: Any, episodes: list[Episode], tmp_path: Path) -> None:
    """By Foxglove's reader, which shares nothing with rosbags; poses by the axes of REP-103, from the message alone."""
    reader = judge("mcap_ros2.reader")
    rotation = judge("scipy.spatial.transform").Rotation
    get_format("rosbag").load().write(tmp_path / "bags", episodes)
    optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    for folder in sorted((tmp_path / "bags").iterdir()):
        (file,) = folder.glob("*.mcap")
        found: dict[str, list[Any]] = {}
        for each in reader.read_ros2_messages(str(file)):
            found.setdefault(each.channel.topic, []).append(each.ros_msg)
        (wanted,) = (each for each in episodes if each.name.replace("/", "_").replace(":", "_") == folder.name)
        assert {len(messages) for topic, messages in found.items() if topic != "/tf_static"} == {len(wanted)}
        for index, (message, pose, frame) in enumerate(
            zip(found["/odom"], wanted.c2w, all_frames(wanted), strict=True)
        ):
            at, turn = message.pose.pose.position, message.pose.pose.orientation
            assert np.abs([-at.y, -at.z, at.x] - pose[:3, 3]).max() < 1e-6
            body = rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
            assert np.abs(optical.T @ body @ optical - pose[:3, :3]).max() < 1e-6
            picture = found["/camera/image_raw"][index]
            assert np.array_equal(np.frombuffer(picture.data, np.uint8).reshape(frame.shape), frame)
            assert picture.header.stamp.sec * 10**9 + picture.header.stamp.nanosec == 10**9 + index * 62_500_000
