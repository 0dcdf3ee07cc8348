"""Depth and scans of collected episodes."""

import numpy as np
import pytest

from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.data.collection.store import Store
from sanawm_env.data.formats.lerobot.items import read_items
from sanawm_env.data.recipe import EpisodeRecipe
from sanawm_env.data.storage.depth import DepthWriter, depth_file
from sanawm_env.world.config import small_config
from tests.data.collection.test_collect import planned, run

SENSING = {
    "chunk_frames": 1,
    "sampler_steps": 1,
    "max_episode_steps": 3,
    "sensors": ["depth", {"rays": 9}],
    "contact": "block",
}


@pytest.fixture(scope="module")
def world():
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1)
    return WorldModel.untrained(config.replace(model=config.model.replace(anchor=True)))


def test_depth_of_every_frame_goes_on_record(world, tmp_path):
    done, _ = run(world, planned(world, "random:smooth", env=SENSING, episodes=2), tmp_path / "ds")
    for item, values in zip(read_items(tmp_path / "ds"), done.values(), strict=True):
        episode, recipe = item.episode(), EpisodeRecipe.from_dict(values["recipe"])
        env = SanaWMEnv(world, **recipe.env)
        observation, info = env.reset(seed=recipe.seed)
        last, scans, at = [info["depth"]], [observation["scan"]], [0]
        for action in recipe.actions:
            observation, *_, info = env.step(action)
            last.append(env.snapshot().depth)
            scans.append(observation["scan"])
            at.append(at[-1] + env.frames_per_step)
        depth = np.concatenate(list(episode.depth))
        assert depth.shape == (len(episode), 32, 48)
        limit = env.simulation.suite.depth.max_depth
        for recorded, shown in zip(depth[at], last, strict=True):
            assert np.array_equal(recorded.clip(0, limit), shown.clip(0, limit))
        assert np.array_equal(episode.entries["scan"], scans)
        assert values["outcome"]["measures"]["collisions"] == info["collisions"]
        assert not np.array_equal(depth[1], depth[2])  # frames between two steps have depth of their own


def test_what_is_dropped_leaves_no_depth(world, tmp_path):
    plan = planned(world, "random:smooth", env=SENSING, episodes=1, keep=("length=60",))
    done, _ = run(world, plan, tmp_path / "ds")
    assert not done[0]["outcome"]["kept"] and not list(tmp_path.rglob("depth/*"))


def test_depth_of_killed_runs_is_cleared_away(world, tmp_path):
    plan = planned(world, "random:smooth", env=SENSING, episodes=1)
    run(world, plan, tmp_path / "ds")
    orphan = depth_file(tmp_path / "ds", 7)
    orphan.write_bytes(b"half")
    with Store(tmp_path / "ds").opened():
        pass
    assert not orphan.exists() and depth_file(tmp_path / "ds", 0).exists()


def test_no_sensor_no_depth(world, tmp_path):
    env = {key: value for key, value in SENSING.items() if key not in ("sensors", "contact")}
    run(world, planned(world, "random:smooth", env=env, episodes=1), tmp_path / "ds")
    (item,) = read_items(tmp_path / "ds")
    assert item.episode().depth is None and set(item.episode().entries) == {"goal"}
    assert not list(tmp_path.rglob("depth/*"))


def test_a_discarded_file_is_gone(tmp_path):
    path = depth_file(tmp_path, 3)
    writer = DepthWriter(path)
    writer.write(np.ones((2, 4, 6)))
    writer.discard()
    writer.discard()
    assert not list(path.parent.iterdir())
    with DepthWriter(path) as whole:
        whole.write(np.ones((2, 4, 6)))
    whole.discard()
    assert path.exists() and [each.name for each in path.parent.iterdir()] == [path.name]
    with pytest.raises(RuntimeError, match="stop"), DepthWriter(depth_file(tmp_path, 4)):
        raise RuntimeError("stop")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
