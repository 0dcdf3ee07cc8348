"""`sanawm ros2 record`: the frames of `sanawm rollout` as a bag."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rosbags")

from sanawm_env.bridges.ros2.bags.pictures import pixels
from sanawm_env.bridges.ros2.bags.storage import open_bag

from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.camera import rollout_keys
from sanawm_env.cli.main import main
from sanawm_env.scenes.start_image import built_in, draw_seeds
from sanawm_env.world.rollout import rollout


@pytest.fixture
def record(checkpoint, tmp_path, capsys):
    """Run `sanawm ros2 record`; returns the exit code, and what it printed."""

    def run(*arguments, out="walk.mcap"):
        code = 0
        try:
            line = ["ros2", "record", "-c", checkpoint, "--device", "cpu", "--steps", "1", "--out", tmp_path / out]
            main([str(each) for each in [*line, *arguments]])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def shown(path):
    return np.stack([pixels(each) for _, _, each in open_bag(path).messages(["/camera/image_raw"])])


def test_the_frames_are_those_of_a_rollout(record, checkpoint, tmp_path):
    code, text = record("--seconds", 2.5, "--seed", 4, "--actions", "w-8,wd-8")
    assert code == 0 and "/camera/image_raw: 41" in text and "41 frames" in text
    world = WorldModel.load(checkpoint, device="cpu")
    scene, noise = draw_seeds(np.random.default_rng(4))
    start = built_in(scene, world.config.width, world.config.height)
    c2w = rollout_keys("w-8,wd-8,w-8,wd-8,w-8,wd-8")[:41]
    (wanted,) = rollout(world, [start], c2w[None], [noise], sigmas=SanaWMEnv(world, sampler_steps=1).sigmas)
    assert np.array_equal(shown(tmp_path / "walk.mcap"), wanted)
    counts = {name: topic.count for name, topic in open_bag(tmp_path / "walk.mcap").topics.items()}
    assert counts.pop("/tf_static") == 1 and set(counts.values()) == {41} and len(counts) == 6


def test_the_length_of_the_keys(record, tmp_path):
    assert "22 frames" in record("--actions", "w-21", out="walk")[1]  # no whole number of steps
    assert sorted(each.name for each in (tmp_path / "walk").iterdir()) == ["metadata.yaml", "walk.mcap"]


def test_a_policy(record, tmp_path):
    code, text = record("--policy", "random:smooth", "--seconds", 2, out="walk.db3")
    assert code == 0 and "37 frames" in text  # whole steps
    frames = shown(tmp_path / "walk.db3")
    assert len(frames) == 37 and not np.array_equal(frames[0], frames[-1])


def test_sensors_at_the_end_of_steps(record, tmp_path, monkeypatch):
    """A world without depth of its own is given one."""
    from sanawm_env.envs.sensors import sources

    flat = sources.FunctionDepth(lambda image, intrinsics: np.full(image.shape[:2], 2.0, np.float32))
    monkeypatch.setattr(sources, "depth_source", lambda settings, model: flat)
    monkeypatch.setattr("sanawm_env.envs.sensors.suite.depth_source", lambda settings, model: flat)
    for extra, out in ((["--actions", "w-24"], "a.mcap"), (["--policy", "random:smooth", "--seconds", 1.5], "b.mcap")):
        code, text = record("--sensors", "depth", "scan", *extra, out=out)
        assert code == 0, text
        bag = open_bag(tmp_path / out)
        times = [time for _, time, _ in bag.messages(["/camera/depth/image_raw"])]
        assert times == [10**9 + 62_500_000 * k for k in (0, 12, 24)]  # frame 0 and the end of each step
        scans = [message for _, _, message in bag.messages(["/scan"])]
        assert len(scans) == 3 and len(scans[0].ranges) == 90
        middle = scans[0].ranges[44:46]
        assert np.allclose(middle, 2.0, atol=0.01) and scans[0].range_max == 10.0


def test_depth_in_a_world_that_has_none(record):
    code, text = record("--sensors", "depth", "--actions", "w-8")
    assert code == 2 and "depth" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "random:smooth"], "a policy has no end: give --seconds"),
        (["--policy", "random:smooth", "--seconds", "1", "--actions", "w-8"], "either --actions or --policy"),
        (["--policy", "nobody", "--seconds", "1"], "nobody"),
        (["--seconds", "0"], "--seconds must be positive"),
        (["--seconds", "nan"], "--seconds must be positive"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--image", "nothing.png"], "no file nothing.png"),
        (["--actions", "q-8"], "q"),
        (["--sensors", "radar"], "radar"),
        (["--storage", "sqlite3"], "name it"),
        (["--storage", "bag"], "known are mcap, sqlite3"),
    ],
)
def test_refusals(record, tmp_path, arguments, message):
    code, text = record(*arguments)
    assert code == 2 and message in text and text.startswith("sanawm: error: ") and text.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays(record, tmp_path):
    (tmp_path / "walk.mcap").write_text("mine")
    code, text = record()
    assert code == 2 and "there already" in text and (tmp_path / "walk.mcap").read_text() == "mine"


@pytest.mark.parametrize("command", [["record"], ["replay", "bag"]])
def test_without_rosbags(command, tmp_path):
    code = "import sys; sys.modules['rosbags'] = None; from sanawm_env.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "ros2", *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2 and "bags need rosbags: pip install 'sanawm_env[ros]'" in done.stderr
