"""Robots' bags inside a world, and worlds' own bags again."""

import json

import numpy as np
import pytest

pytest.importorskip("rosbags")

from sanawm_env.bridges.ros2.bags.pictures import pixels
from sanawm_env.bridges.ros2.bags.recording import read_recording
from sanawm_env.bridges.ros2.bags.replay import plan_replay, replay
from sanawm_env.bridges.ros2.bags.storage import open_bag
from sanawm_env.bridges.ros2.bags.walk import frames_along
from sanawm_env.bridges.ros2.bags.writer import BagWriter

from sanawm_env import WorldModel
from sanawm_env.camera import rollout_keys
from sanawm_env.video import read_video
from sanawm_env.world.rollout import Start, rollout
from tests.bridges.ros2.bags import robots
from tests.bridges.ros2.bags.robots import START


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained()


@pytest.fixture
def recording(tmp_path):
    def run(lines):
        return read_recording(open_bag(robots.write(tmp_path / "robot", lines)))

    return run


def bgr(index, stamp):
    return robots.image(robots.picture(index)[..., ::-1], "bgr8", stamp)


def test_another_writers_bag(world, recording, tmp_path):
    """tf alone at 50 Hz, bgr8 at 30 Hz; the world is at 16."""
    lines = [*robots.images(show=bgr), *robots.transforms(), robots.mount(), robots.info()]
    robot = recording(lines)
    plan = plan_replay(robot, world, slow=2.0)
    assert len(plan.c2w) == 33 and plan.stamps[0] == START and plan.stamps[-1] == START + 10**9
    true = np.stack([np.linalg.inv(robots.camera_at(0)) @ robots.camera_at(k / 32) for k in range(33)])
    assert np.abs(plan.c2w - true).max() < 1e-4 and np.array_equal(plan.c2w[0], np.eye(4))
    assert np.abs(plan.nearest - np.arange(33) / 32 * 30).max() < 0.5001
    found = replay(robot, plan, world, tmp_path / "out", seed=3)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "replay.json",
        "side_by_side.mp4",
        "world.mcap",
    ]
    assert json.loads((tmp_path / "out" / "replay.json").read_text()) == found
    assert found["frames"] == 33 and found["robot_images"] == 31 and found["path"] == "tf odom -> cam_optical"
    assert found["messages"]["/world/camera/image_raw"] == 33 and "/clock" not in found["messages"]
    start = Start(plan.start.image, plan.start.intrinsics)
    (wanted,) = rollout(world, [start], plan.c2w[None], [3])
    answer = open_bag(tmp_path / "out" / "world.mcap")
    seen = [(time, pixels(message)) for _, time, message in answer.messages(["/world/camera/image_raw"])]
    assert [time for time, _ in seen] == plan.stamps.tolist()
    assert all(np.array_equal(a, b) for (_, a), b in zip(seen, wanted, strict=True))
    speeds = [message.twist.twist.linear.x for _, _, message in answer.messages(["/world/odom"])]
    assert speeds[0] == 0 and np.abs(np.array(speeds[1:]) - 0.5).max() < 0.05  # of the robot's time
    video, fps = read_video(tmp_path / "out" / "side_by_side.mp4")
    assert video.shape == (33, 64, 224, 3) and fps == 16
    assert np.abs(video[0, :, :112].astype(int) - video[0, :, 112:]).mean() < 3  # both begin with the robot's picture


def test_its_own_bag_again(world, tmp_path):
    """The world's own walk, and its own noise: what comes is what was."""
    start = Start(np.random.default_rng(1).integers(0, 256, (64, 112, 3), dtype=np.uint8), np.array([60.0, 60, 56, 32]))
    state, _ = world.start(start.image[None], start.intrinsics[None], [5])
    c2w = rollout_keys("w-16,wd-16")
    with BagWriter(tmp_path / "walk.mcap", single=True) as bag:
        for frame in frames_along(world, state, c2w):
            bag.publish(frame)
    robot = read_recording(open_bag(tmp_path / "walk.mcap"))
    plan = plan_replay(robot, world)
    assert np.abs(plan.c2w - c2w).max() < 1e-9 and np.array_equal(plan.nearest, np.arange(33))
    assert np.array_equal(plan.start.image, start.image) and np.allclose(plan.start.intrinsics, start.intrinsics)
    found = replay(robot, plan, world, tmp_path / "same", seed=5, storage="sqlite3")
    assert found["psnr_db"]["mean"] > 55 and found["path_metres"] > 0.3
    assert (tmp_path / "same" / "world.db3").is_file()
    other = replay(robot, plan, world, tmp_path / "other", seed=6)
    assert other["psnr_db"]["mean"] < found["psnr_db"]["mean"] - 5


def test_the_path_begins_with_the_first_picture_and_ends_with_the_odometry(world, recording):
    late = [line for line in robots.images() if line[2] >= START + 300_000_000]
    robot = recording([*late, *robots.odometries(), robots.mount(), robots.info()])
    plan = plan_replay(robot, world)
    assert plan.stamps[0] == START + 300_000_000 and plan.stamps[-1] <= START + 10**9
    assert len(plan.stamps) == 12 and len(plan_replay(robot, world, seconds=0.25).stamps) == 5
    assert np.abs(plan.c2w[5] - np.linalg.inv(robots.camera_at(0.3)) @ robots.camera_at(0.6125)).max() < 1e-4


def test_robots_that_are_too_fast(world, recording):
    """0.5 m/s is no more than 0.8, but the camera on its arm turns as well."""
    fast = robots.moving("odom", "base_link", lambda seconds: robots.pose_at(3 * seconds))
    robot = recording([*robots.images(), *fast, robots.mount(), robots.info()])
    (note,) = plan_replay(robot, world).notes
    assert "too fast for this world in 16 of 16 frames" in note and "--slow" in note
    slow = float(note.split("--slow ")[1].split()[0])
    assert not plan_replay(robot, world, slow=slow).notes


def test_no_camera_info(world, recording):
    robot = recording([*robots.images(), *robots.odometries(), robots.mount()])
    assert "assuming a horizontal field of view" in plan_replay(robot, world).notes[-1]
    plan = plan_replay(robot, world, fov_deg=90)
    assert not [note for note in plan.notes if "assuming" in note] and plan.start.intrinsics[0] == pytest.approx(56)


def test_clocks_that_differ(world, recording):
    later = [(topic, kind, stamp + 9 * 10**9, message) for topic, kind, stamp, message in robots.odometries()]
    for _, _, stamp, message in later:
        message.header = robots.header(stamp, "odom")
    robot = recording([*robots.images(), *later, robots.mount(), robots.info()])
    with pytest.raises(ValueError, match=r"no image was taken while the path was known.*clocks may differ"):
        plan_replay(robot, world)


def test_nothing_is_left_of_what_failed(world, recording, tmp_path):
    robot = recording(robots.robot())
    plan = plan_replay(robot, world)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there already"):
        replay(robot, plan, world, tmp_path / "there")

    def interrupted(frames):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(robot, plan, world, tmp_path / "out", progress=interrupted)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["robot", "there"]
