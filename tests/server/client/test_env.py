import subprocess
import sys
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from sanawm_env import EnvSnapshot, SanaWMEnv
from sanawm_env.client import RemoteError, RemoteSanaWMEnv, RemoteSanaWMVectorEnv, RemoteSnapshot
from sanawm_env.envs.sensors.contact import Body
from sanawm_env.envs.sensors.scan import Scan
from sanawm_env.tasks import PointNav
from sanawm_env.world.model import WorldModel
from tests.server.serving import serving

FAST = {"chunk_frames": 1, "sampler_steps": 1}


def same(mine, theirs):
    """Equal bits, types and keys."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for key in theirs:
            same(mine[key], theirs[key])
    elif isinstance(theirs, tuple) or (isinstance(theirs, np.ndarray) and theirs.dtype == object):
        assert len(mine) == len(theirs)
        for each, other in zip(mine, theirs, strict=True):
            same(each, other)
    elif isinstance(theirs, np.ndarray):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        np.testing.assert_array_equal(mine, theirs)
    else:
        assert type(mine) is type(theirs)
        np.testing.assert_equal(mine, theirs)


@pytest.fixture
def make(server):
    made = []

    def one(**settings):
        made.append(RemoteSanaWMEnv(server.url, **(FAST | settings)))
        return made[-1]

    yield one
    for env in made:
        env.close()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"task": "PointNav", "episode_seconds": 2.0},
        {"task": PointNav(stop_action=True)},
        {"obs_mode": "dict", "task": "FollowPath", "obs_size": (32, 56)},
        {"action_mode": "keys", "obs_mode": "pose", "info_frames": False},
        {"action_mode": "per_frame", "fov_deg": 70.0},
    ],
    ids=lambda settings: "-".join(map(str, settings)) or "default",
)
def test_it_equals_the_local_environment(make, model, settings):
    remote, local = make(**settings), SanaWMEnv(model, **FAST, **settings)
    assert remote.action_space == local.action_space and remote.observation_space == local.observation_space
    for name in ("frames_per_step", "step_seconds", "max_translation", "max_rotation", "keys"):
        assert getattr(remote, name) == getattr(local, name), name
    assert remote.metadata["render_fps"] == SanaWMEnv(model, **FAST, render_mode="rgb_array").metadata["render_fps"]
    local.action_space.seed(3)
    for seed in (7, None):
        same(remote.reset(seed=seed), local.reset(seed=seed))
        assert remote.np_random.bit_generator.state == local.np_random.bit_generator.state
        for _ in range(4):
            action = local.action_space.sample()
            same(remote.step(action), local.step(action))


def test_a_moment_is_restored_and_forked(make, model):
    remote, local = make(task="PointNav"), SanaWMEnv(model, **FAST, task="PointNav")
    remote.reset(seed=1), local.reset(seed=1)
    moves = np.random.default_rng(0).uniform(-1, 1, (6, 6)).astype(np.float32)
    remote.step(moves[0]), local.step(moves[0])
    here, there = remote.snapshot("door"), local.snapshot()
    assert isinstance(here, RemoteSnapshot) and here.nbytes == there.nbytes and here.frame_index == 4
    remote.step(moves[1]), local.step(moves[1])
    same(remote.restore(here), local.restore(there))
    left, right = remote.fork(2)
    for move in moves[2:4]:
        expected = local.step(move)
        for env in (remote, left, right):
            same(env.step(move), expected)
    right.step(moves[4])
    same(left.restore(here), local.restore(there))  # another session's handle
    same(left.reset(options={"state": here}), local.reset(options={"state": there}))
    with pytest.raises(ValueError, match="RemoteSnapshot"):
        remote.restore(there)
    with pytest.raises(RemoteError, match="no such snapshot"):
        remote.restore(RemoteSnapshot(here.session, "sxyz", 0, 0.0, 0))
    for env in (left, right):
        env.close()
    same(remote.step(moves[5])[4]["time"], 1.0)  # the others' end is not its own


def test_pictures_and_world_files(make, model, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    remote, local = make(image=picture), SanaWMEnv(model, picture, **FAST)
    same(remote.reset(seed=2), local.reset(seed=2))
    other = picture[::-1]
    same(remote.reset(seed=2, options={"image": other}), local.reset(seed=2, options={"image": other.copy()}))
    path = tmp_path / "world.safetensors"
    path.write_bytes(remote.save())
    assert EnvSnapshot.load(path).equal(local.snapshot())
    remote.step(np.ones(6)), local.step(np.ones(6))
    (tmp_path / "later").mkdir()
    local.snapshot().save(tmp_path / "later" / "w.safetensors")
    opened = remote.open_world((tmp_path / "later" / "w.safetensors").read_bytes())
    observation, _ = remote.restore(opened)
    same(observation, local.restore(local.snapshot())[0])
    foreign = replace(local.snapshot(), state=local.snapshot().state.changed(checkpoint="0" * 16))
    foreign.save(path)
    with pytest.raises(RemoteError, match="checkpoint"):
        remote.open_world(path.read_bytes())
    with pytest.raises(ValueError, match="world file"):
        remote.open_world(b"no world" * 100)


def test_both_checkers(server):
    env = gym.make("sanawm_env.client:RemoteSanaWM-v0", url=server.url, render_mode="rgb_array", **FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(not within the bounds|alternative option|WARN).*")
        check_env(env.unwrapped, skip_render_check=False)
    check_env_sb3(env.unwrapped)
    env.close()


def test_images_may_be_small_or_lossless(make, model):
    local = SanaWMEnv(model, **FAST)
    expected, _ = local.reset(seed=4)
    png, jpeg = make(encoding="png"), make(encoding="jpeg")
    same(png.reset(seed=4)[0], expected)
    seen = jpeg.reset(seed=4)[0]
    assert seen.shape == expected.shape and 0 < np.abs(seen.astype(int) - expected).mean() < 8


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda env: env.step(np.full(6, np.nan)), "NaN"),
        (lambda env: env.step(np.full(6, 2.0)), "outside"),
        (lambda env: env.step(np.zeros(5)), "shape"),
        (lambda env: env.reset(seed=-1), "at least 0"),
        (lambda env: env.reset(options={"nonsense": 1}), "unknown reset option"),
        (lambda env: env.reset(options={"goal": [1, 2, 3]}), "no task"),
        (lambda env: env.fork(0), "at least one"),
    ],
)
def test_mistakes_are_told_and_change_nothing(make, model, do, words):
    remote, local = make(), SanaWMEnv(model, **FAST)
    remote.reset(seed=5), local.reset(seed=5)
    with pytest.raises(ValueError, match=words):
        do(remote)
    same(remote.step(np.zeros(6)), local.step(np.zeros(6)))


def test_settings_that_are_refused(server):
    for settings, words in [
        ({"device": "cpu"}, "cannot set 'device'"),
        ({"chunk_frames": 99}, "chunk_frames"),
        ({"task": "Nonsense"}, "task is one of"),
        ({"task": {"task_class": "antigravity:Task"}}, "task is one of"),
        ({"text_encoder": "/etc"}, "cannot set"),
        ({"image": "/no/such/file.png"}, "no image file"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            RemoteSanaWMEnv(server.url, **settings)
    assert "antigravity" not in sys.modules


def test_before_reset_after_close_and_without_a_server(make, server):
    env = make()
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(6))
    env.close(), env.close()
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.reset()
    with pytest.raises(PermissionError, match="token"):
        RemoteSanaWMEnv(server.url, token="wrong-token")
    with pytest.raises(ConnectionError, match="sanawm serve"):
        RemoteSanaWMEnv("http://127.0.0.1:1/?token=x", patience=0.0)
    with pytest.raises(ValueError, match="printed"):
        RemoteSanaWMEnv("127.0.0.1:8766")


def test_a_session_that_is_there(make, server):
    env = make()
    env.reset(seed=6)
    with pytest.raises(RemoteError, match="somebody else"):
        RemoteSanaWMEnv(server.url, session=env.session)
    other = RemoteSanaWMEnv(server.url, session=env.session, take=True)
    other.step(np.zeros(6))
    with pytest.raises(RemoteError, match="attach"):
        env.step(np.zeros(6))
    other.close()


def test_rewards_of_goals(make, server, model):
    """Single, batched and through SB3's replay of what was reached in place of what was wanted (HER)."""
    for reward in ("sparse", "dense"):
        task = PointNav(goal_env=True, goal_reward=reward)
        remote, local = make(task=task), SanaWMEnv(model, **FAST, task=task)
        same(remote.reset(seed=3), local.reset(seed=3))
        goals = np.random.default_rng(0).normal(0, 0.4, (2, 500, 3)).astype(np.float32)
        for achieved, desired in (goals, goals[:, 0], goals[:, :4].reshape(2, 2, 2, 3), (goals[0], goals[0])):
            expected = local.compute_reward(achieved, desired, {})
            same(remote.compute_reward(achieved, desired, {}), expected)
        same(remote.compute_reward([0.0, 0, 1], [0.0, 0, 0], {}), local.compute_reward([0.0, 0, 1], [0.0, 0, 0], {}))
        same(remote.step(np.zeros(6)), local.step(np.zeros(6)))  # asking is no step
    with pytest.raises(RemoteError, match="of one shape"):
        remote.compute_reward(goals[0], goals[1, :3], {})
    with pytest.raises(RemoteError, match="of one shape"):
        remote.compute_reward(goals[0, :, :2], goals[1, :, :2], {})
    envs = RemoteSanaWMVectorEnv(2, server.url, **FAST, task=task)
    same(envs.compute_reward(*goals, {}), local.compute_reward(*goals, {}))
    envs.close()
    assert not hasattr(make(task="PointNav"), "compute_reward")


def test_her(server, model):
    settings = FAST | {"task": PointNav(goal_env=True, goal_reward="dense"), "obs_mode": "pose", "max_episode_steps": 6}
    env = gym.make("sanawm_env.client:RemoteSanaWM-v0", url=server.url, **settings)
    learner = SAC(
        "MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=12, batch_size=16, seed=0,
        policy_kwargs={"net_arch": [8]}, device="cpu",
    )  # fmt: skip
    learner.learn(18)
    drawn = learner.replay_buffer.sample(256)
    local = SanaWMEnv(model, **settings)
    reached, wanted = (drawn.next_observations[f"{name}_goal"].numpy() for name in ("achieved", "desired"))
    np.testing.assert_array_equal(drawn.rewards.numpy()[:, 0], local.compute_reward(reached, wanted, {}))
    relabelled = len({tuple(goal) for goal in wanted.tolist()})
    assert relabelled > 3  # more goals than episodes
    env.close()


TORCHLESS = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "scipy", "PIL", "cv2", "safetensors", "av", "starlette", "uvicorn"}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Refuse())
import gymnasium as gym, numpy as np
env = gym.make("sanawm_env.client:RemoteSanaWM-v0", url=sys.argv[1], chunk_frames=1, sampler_steps=1, task="PointNav")
observation, info = env.reset(seed=7)
here = env.unwrapped.snapshot()
env.step(np.zeros(6, np.float32))
env.unwrapped.restore(here)
envs = gym.make_vec("sanawm_env.client:RemoteSanaWM-v0", 2, "vector_entry_point", url=sys.argv[1], chunk_frames=1)
envs.reset(seed=[1, 2], options={"reset_mask": np.array([True, True])})
envs.close(), env.close()
print(int(observation["image"].sum()))
"""


def test_it_needs_no_torch(server, model):
    done = subprocess.run([sys.executable, "-c", TORCHLESS, server.url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    observation, _ = SanaWMEnv(model, **FAST, task="PointNav").reset(seed=7)
    assert int(done.stdout) == int(observation["image"].sum())


@pytest.mark.slow
def test_sensors_and_contact(tmp_path):
    """Of the world that has depth."""
    small = WorldModel.load("small")
    settings = FAST | {"sensors": ("depth", Scan(rays=9)), "contact": "block", "body": Body(radius=0.2)}
    local = SanaWMEnv(small, **settings)
    with serving(small, tmp_path) as running:
        remote = RemoteSanaWMEnv(running.url, **settings)
        assert remote.observation_space == local.observation_space
        same(remote.reset(seed=5), local.reset(seed=5))
        for _ in range(4):
            same(remote.step([0, 0, 1, 0, 0, 0]), local.step([0, 0, 1, 0, 0, 0]))
        here, there = remote.snapshot(), local.snapshot()
        remote.step(np.ones(6)), local.step(np.ones(6))
        same(remote.restore(here), local.restore(there))
        remote.close()


@pytest.mark.slow
def test_two_hundred_steps(make, model):
    remote, local = (
        make(task="PointNav", episode_seconds=None),
        SanaWMEnv(model, task="PointNav", episode_seconds=None, **FAST),
    )
    same(remote.reset(seed=11), local.reset(seed=11))
    moves = np.random.default_rng(11).uniform(-1, 1, (200, 6)).astype(np.float32)
    for move in moves:
        same(remote.step(move), local.step(move))
