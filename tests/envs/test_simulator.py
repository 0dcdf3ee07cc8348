"""`Simulator`: what both environments share, and faults that were found in it."""

import copy
import pickle
import stat

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from PIL import Image

from sanawm_env import EnvSnapshot, SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.camera.keymaps import get_keymap
from sanawm_env.envs import simulator
from sanawm_env.envs.actions import ActionError
from sanawm_env.envs.options import resets
from sanawm_env.envs.options.slots import naming
from sanawm_env.tasks import PointNav

WORLD = WorldModel.untrained()
FORWARD = [0, 0, 0.5, 0, 0.2, 0]
TASKS = [None, "PointNav", "ImageNav", "FollowPath", "Explore", "LoopClosure"]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and np.shape(a) == np.shape(b) and np.array_equal(a, b)


def test_a_pickle_of_a_task_environment_carries_no_weights():
    plain, task = SanaWMEnv("tiny"), SanaWMEnv("tiny", task="ImageNav")
    for env in (plain, task):
        env.reset(seed=0)
    sizes = [len(pickle.dumps(env)) for env in (plain, task)]
    weights = sum(value.nbytes for value in task.model.transformer.state_dict().values())
    assert sizes[1] < sizes[0] + weights / 10
    twin = pickle.loads(pickle.dumps(task))
    assert twin.simulation.runner.context.model is twin.model
    out, theirs = task.step(FORWARD), twin.step(FORWARD)
    assert same(out[0], theirs[0]) and same(out[4], theirs[4])


def test_another_batching_is_one_model():
    other = SanaWMEnv(WORLD, task="PointNav").simulation.with_batching(not WORLD.batched)
    assert other.model.batched is not WORLD.batched and other.runner.context.model is other.model
    assert WORLD.batched is SanaWMEnv(WORLD).model.batched


def test_a_spec_does_not_copy_the_world():
    env = gym.make("SanaWM-v0", checkpoint=WORLD)
    assert env.spec.kwargs["checkpoint"] is WORLD
    assert copy.deepcopy({"checkpoint": WORLD})["checkpoint"] is WORLD


@pytest.mark.parametrize("task", TASKS)
def test_info_has_one_structure(task):
    env = SanaWMEnv(WORLD, task=task)
    _, after_reset = env.reset(seed=0)
    *_, after_step = env.step(FORWARD)
    _, after_restore = env.restore(env.snapshot())

    def structure(info):
        return {k: structure(v) if isinstance(v, dict) else (type(v), np.shape(v)) for k, v in info.items()}

    assert structure(after_reset) == structure(after_step) == structure(after_restore)
    if task is not None:
        assert set(after_reset["reward_terms"].values()) == {0.0}


def test_frames_can_be_left_out_of_info():
    env, envs = SanaWMEnv(WORLD, info_frames=False), SanaWMVectorEnv(2, WORLD, info_frames=False)
    infos = [env.reset(seed=0)[1], envs.reset(seed=0)[1], env.step(FORWARD)[4], envs.step([FORWARD] * 2)[4]]
    assert all("frames" not in info and "frame_c2w" in info for info in infos)


def test_what_is_shown_is_the_users_own():
    env = SanaWMEnv(WORLD, obs_mode="dict", task="PointNav")
    env.reset(seed=0)
    observation, *_, info = env.step(FORWARD)
    before = env.snapshot()
    kept = before.frames.copy()
    for values in (observation["frames"], info["frames"], info["c2w"], info["frame_c2w"]):
        values[...] = 0
    assert np.array_equal(env.snapshot().frames, kept) and env.snapshot().state.c2w[0].numpy().any()


def test_a_reset_that_fails_leaves_the_random_numbers(monkeypatch):
    env, twin = SanaWMEnv(WORLD, task="PointNav"), SanaWMEnv(WORLD, task="PointNav")
    for one in (env, twin):
        one.reset(seed=3)
    envs = SanaWMVectorEnv(2, WORLD, task="PointNav")
    envs.reset(seed=3)
    state = [copy.deepcopy(rng.bit_generator.state) for rng in envs.np_random]

    def fail(*_):
        raise ValueError("no goal anywhere")

    monkeypatch.setattr(simulator.TaskRunner, "begin", fail)
    for seed in (5, None):
        with pytest.raises(ValueError, match="no goal anywhere"):
            env.reset(seed=seed)
        with pytest.raises(ValueError, match="no goal anywhere"):
            envs.reset(seed=seed)
    monkeypatch.undo()
    assert env.np_random_seed == 3 and [rng.bit_generator.state for rng in envs.np_random] == state
    assert same(env.reset()[0], twin.reset()[0])


def test_a_picture_is_read_once(monkeypatch, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)).save(path)
    env = SanaWMEnv(WORLD, image=path)
    first, _ = env.reset(seed=0)
    path.unlink()
    monkeypatch.setattr(resets, "fit", lambda *_, **__: pytest.fail("the picture was fitted again"))
    assert np.array_equal(env.reset(seed=0)[0], first)


def test_key_maps_tell_the_task_their_speeds():
    keymap = get_keymap("nvlabs")
    env = SanaWMEnv(WORLD, action_mode="keys", task="PointNav")
    context = env.simulation.runner.context
    assert context.max_translation == pytest.approx(keymap.translation_speed * env.frames_per_step)
    assert context.max_rotation == pytest.approx(np.radians(keymap.rotation_speed_deg) * env.frames_per_step)


def test_files_of_many_slots(tmp_path):
    envs = SanaWMVectorEnv(3, WORLD)
    envs.reset(seed=0)
    envs.step([FORWARD] * 3)
    envs.state.save(tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match="3 slots"):
        EnvSnapshot.load(tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match="3 slots"):
        SanaWMEnv(WORLD).restore(tmp_path / "three.safetensors")
    others = SanaWMVectorEnv(3, WORLD)
    others.restore(tmp_path / "three.safetensors")
    assert others.state.equal(envs.state)


def test_snapshots_can_be_read_by_a_colleague(tmp_path):
    env = SanaWMEnv(WORLD, task="PointNav")
    env.reset(seed=0)
    (tmp_path / "plain").write_text("")
    env.snapshot().save(tmp_path / "a.safetensors")
    env.snapshot().state.save(tmp_path / "b.safetensors")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1 and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("limit", [None, -1, 2])
def test_both_environments_count_steps_alike(limit):
    one = SanaWMEnv(WORLD, max_episode_steps=limit)
    many = SanaWMVectorEnv(1, WORLD, max_episode_steps=limit)
    one.reset(seed=0), many.reset(seed=0)
    for _ in range(3):
        if limit == 2 and many._ended.any():
            break
        assert one.step(FORWARD)[3] == many.step([FORWARD])[3][0]


def test_errors_of_slots_keep_their_kind():
    with pytest.raises(ResetNeeded, match="slot 2: first"), naming(2):
        raise ResetNeeded("first")
    envs = SanaWMVectorEnv(2, WORLD)
    envs.reset(seed=0)
    with pytest.raises(ActionError, match="slot 1: action has NaN") as caught:
        envs.step(np.array([FORWARD, [np.nan] * 6]))
    assert caught.value.slot == 1


def test_imagined_slots_have_no_end():
    env = SanaWMEnv(WORLD, task=PointNav(), max_episode_steps=1)
    env.reset(seed=0)
    assert env.step(FORWARD)[3]
    many = SanaWMVectorEnv.of(env, 2)
    assert not many.step([FORWARD] * 2)[3].any()


def test_errors_that_a_caller_may_catch(tmp_path):
    import sanawm_env

    env, other = SanaWMEnv(WORLD), SanaWMEnv(WorldModel.untrained(seed=1))
    env.reset(seed=0), other.reset(seed=0)
    (tmp_path / "half.safetensors").write_bytes(b"half")
    (tmp_path / "config.json").write_text("{}")
    attempts = {
        sanawm_env.ActionError: [lambda: env.step([2, 0, 0, 0, 0, 0])],
        sanawm_env.StateError: [
            lambda: env.restore(other.snapshot()),
            lambda: env.restore(tmp_path / "half.safetensors"),
            lambda: SanaWMEnv(WORLD, task="PointNav").restore(env.snapshot()),
            lambda: WORLD.step(other.snapshot().state, np.eye(4)[None, None].repeat(4, 1)),
        ],
        sanawm_env.CheckpointError: [lambda: WorldModel.load(tmp_path)],
    }
    for kind, calls in attempts.items():
        assert issubclass(kind, ValueError)
        for call in calls:
            with pytest.raises(kind):
                call()
