"""Minari: round trips, what it cannot hold, and our environments under its own collector."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sanawm_env
from sanawm_env import WorldModel
from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import detect, get_format
from sanawm_env.tasks import get_task
from sanawm_env.world.checkpoints.local import save_checkpoint

pytest.importorskip("minari")
pytest.importorskip("h5py")
Compare = Callable[..., None]
IDS = sorted(name for name in gym.registry if name.startswith("SanaWM"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    model = WorldModel.untrained()
    save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict())
    return str(folder)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_lossless(root: Path, episodes: list[Episode], same: Compare) -> None:
    import minari

    module = get_format("minari").load()
    module.write(root / "doors" / "walks-v0", episodes, author="us", description="five walks")
    assert detect(root / "doors" / "walks-v0").name == "minari" and module.check(root / "doors" / "walks-v0") == []
    found = list(module.read(root / "doors" / "walks-v0"))
    for episode, wanted in zip(found, episodes, strict=True):
        assert episode.name == wanted.name
        same(episode, wanted)
    theirs = minari.load_dataset("doors/walks-v0")
    assert theirs.total_episodes == 5 and theirs.storage.metadata["author"] == {"us"}
    for data, wanted in zip(theirs.iterate_episodes(), episodes, strict=True):
        frames = np.concatenate(list(wanted.frames))[::4]
        assert np.array_equal(data.observations["image"], frames)
        assert theirs.observation_space["image"].contains(data.observations["image"][0])
        assert np.array_equal(data.actions, wanted.actions) and np.array_equal(data.rewards, wanted.rewards)
        assert data.terminations[-1] == wanted.terminated and data.truncations[-1] == wanted.truncated
        assert not data.terminations[:-1].any() and not data.truncations[:-1].any()
        assert np.array_equal(data.infos["c2w"], wanted.c2w[::4])


def test_jpeg_keeps_the_frames_of_steps(root: Path, episodes: list[Episode]) -> None:
    module = get_format("minari").load()
    module.write(root / "walks-v0", episodes, codec="jpeg")
    for episode, wanted in zip(module.read(root / "walks-v0"), episodes, strict=True):
        assert np.array_equal(episode.c2w, wanted.c2w[::4]) and (episode.fps, episode.frames_per_step) == (4, 1)
        error = np.concatenate(list(episode.frames)).astype(float) - np.concatenate(list(wanted.frames))[::4]
        assert 10 * np.log10(255**2 / np.square(error).mean()) > 30
    with pytest.raises(ValueError, match="take its codec"):
        module.write(root / "walks-v0", episodes, mode="append")


def test_append_and_refusals(root: Path, episodes: list[Episode], tmp_path: Path) -> None:
    module = get_format("minari").load()
    target = root / "walks-v0"
    module.write(target, episodes[:2])
    with pytest.raises(FileExistsError, match="is there already"):
        module.write(target, episodes)
    still = replace(episodes[0], actions=np.zeros((0, 6), np.float32), rewards=np.zeros(0), entries={})
    other = replace(episodes[0], entries={})
    cut = replace(episodes[0], frames=[np.zeros((2, *episodes[0].size, 3), np.uint8)])
    small = replace(episodes[0], size=(40, 64))
    for broken, message in ((still, "no steps"), (cut, "and 2 frames"), (small, "one size"), (other, "per task")):
        with pytest.raises(ValueError, match=message):
            module.write(target, [episodes[1], broken], mode="append")
    assert len(list(module.read(target))) == 2
    module.write(target, episodes[2:], mode="append")
    assert [episode.name for episode in module.read(target)] == [episode.name for episode in episodes]
    assert [each.name for each in root.iterdir()] == ["walks-v0"]
    for name in ("walks", "my walks-v0", "gänge-v0"):
        with pytest.raises(ValueError, match="call the folder something like 'walks-v0'"):
            module.write(root / name, episodes)
    with pytest.raises(ValueError, match="unknown codec"):
        module.write(root / "other-v0", episodes, codec="h264")
    (target / "data" / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        list(module.read(target))
    assert any(problem.fatal for problem in module.check(target))


def test_the_environment_comes_back(root: Path, checkpoint: str, episodes: list[Episode]) -> None:
    import minari

    task = get_task("PointNav")
    made = [
        replace(
            each,
            recipe={"checkpoint": checkpoint, "env": {"task": task.to_dict(), "chunk_frames": 1, "fov_deg": 60 + n}},
        )
        for n, each in enumerate(episodes)
    ]
    get_format("minari").load().write(root / "walks-v0", made)
    with minari.load_dataset("walks-v0").recover_environment() as env:
        assert env.spec is not None and env.spec.id == "SanaWM/PointNav-v0"
        assert env.unwrapped.task == task and env.spec.kwargs["chunk_frames"] == 1
        assert "fov_deg" not in env.spec.kwargs
        env.reset(seed=0)


def test_without_the_library(tmp_path: Path) -> None:
    """In a process of its own, in which the library cannot be imported."""
    code = (
        "import sys; sys.modules['minari'] = None\n"
        "from sanawm_env.data.formats import get_format\n"
        "get_format('minari').load()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode and "pip install 'sanawm_env[minari]'" in done.stderr


@pytest.mark.parametrize("name", IDS)
def test_reset_and_step_have_one_kind_of_info(name: str, checkpoint: str) -> None:
    """Minari stacks the infos of reset and steps, so that they must have the same keys, shapes and types."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(each) for key, each in value.items()}
        return np.shape(value), np.asarray(value).dtype

    with gym.make(name, checkpoint=checkpoint, device="cpu", sampler_steps=1) as env:
        _, begin = env.reset(seed=3)
        *_, after = env.step(env.action_space.sample())
    assert shape(begin) == shape(after)


@pytest.mark.parametrize("name", IDS)
def test_data_collector(name: str, judge: Any, checkpoint: str, root: Path) -> None:
    judge("jax")
    minari = judge("minari")
    env = gym.make(name, checkpoint=checkpoint, device="cpu", sampler_steps=1, chunk_frames=1, obs_mode="dict")
    collector = minari.DataCollector(env, record_infos=True, jpeg_encoding=False)
    collector.action_space.seed(0)
    poses, frames = [], []
    for seed in range(2):
        _, info = collector.reset(seed=seed)
        poses.append([info["c2w"]])
        frames.append([info["frames"][-1:]])
        for _ in range(2):
            *_, info = collector.step(collector.action_space.sample())
            poses[-1].extend(info["frame_c2w"])
            frames[-1].append(info["frames"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = collector.create_dataset("ours/try-v0")
    assert dataset.total_episodes == 2
    with minari.load_dataset("ours/try-v0").recover_environment() as again:
        assert again.spec.id == name and isinstance(again.unwrapped, sanawm_env.SanaWMEnv)
        assert again.observation_space == env.observation_space and again.action_space == env.action_space
    found = list(get_format("minari").load().read(root / "ours" / "try-v0"))
    for episode, wanted, pictures in zip(found, poses, frames, strict=True):
        assert np.abs(episode.c2w - np.array(wanted)).max() < 1e-6 and episode.fps == pytest.approx(16)
        assert np.array_equal(np.concatenate(list(episode.frames)), np.concatenate(pictures))
    collector.close()
