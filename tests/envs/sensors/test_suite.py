"""Sensors and contact in environments: what is shown, counted, blocked, saved."""

import numpy as np
import pytest

from sanawm_env import Body, Depth, SanaWMEnv, SanaWMVectorEnv, Scan, WorldModel
from sanawm_env.envs.sensors.contact import Contact
from sanawm_env.tasks import PointNav, TaskRunner
from sanawm_env.world.config import small_config

WORLD = WorldModel.untrained()
FORWARD = np.array([0, 0, 1, 0, 0, 0], np.float32)
NEAR = 0.4
"""Metres to the wall of `walled`, wherever the camera goes."""
METRES = 0.6
"""Of a full step."""
REACH = NEAR - Body().radius
"""Metres that a body may come nearer to that wall."""


def wall(image, intrinsics):
    return np.full(image.shape[:2], NEAR)


def walled(contact, **arguments):
    return SanaWMEnv(WORLD, sensors=(Depth(source=wall), "scan"), contact=contact, max_translation=METRES, **arguments)


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ({}, {"image", "pose"}),
        ({"obs_mode": "pose"}, {"pose"}),
        ({"obs_mode": "dict"}, {"frames", "pose", "intrinsics"}),
        ({"task": "PointNav"}, {"image", "pose", "goal"}),
    ],
)
def test_spaces(arguments, keys):
    env = walled("none", **arguments)
    assert set(env.observation_space) == keys | {"depth", "scan"}
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    observation, *_ = env.step(FORWARD)
    assert observation in env.observation_space
    assert {"depth", "scan", "scan_angles"} <= set(info) and not {"collisions", "collided", "clearance"} & set(info)


def test_not_asked_for_it_is_not_there():
    env = SanaWMEnv(WORLD)
    observation, info = env.reset(seed=0)
    assert env.simulation.suite is None and isinstance(observation, np.ndarray)
    moment = env.snapshot()
    assert moment.depth is None and moment.contact is None
    assert not {"depth", "scan", "scan_angles", "collisions", "collided", "clearance"} & set(info)


def test_contact_alone_leaves_the_observation_as_it_is():
    config = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1)
    world = WorldModel.untrained(config.replace(model=config.model.replace(anchor=True)))
    env, plain = SanaWMEnv(world, contact="report"), SanaWMEnv(world)
    assert env.observation_space == plain.observation_space
    observation, info = env.reset(seed=0)
    assert np.array_equal(observation, plain.reset(seed=0)[0]) and info["collisions"] == 0 and "depth" not in info


def test_what_cannot_be_seen_is_free_to_a_policy():
    """Observations are finite: no return is `range_max`, too near is 0. Info is as REP 117 has it."""
    sensors = (Depth(source=lambda image, _: np.full(image.shape[:2], np.inf)), Scan(rays=9, fov_deg=170, range_max=4))
    observation, info = SanaWMEnv(WORLD, sensors=sensors).reset(seed=0)
    assert (observation["scan"] == 4).all()
    assert not info["scan_seen"][[0, -1]].any() and info["scan_seen"][4]
    assert (info["scan"][[0, 4, -1]] == np.inf).all()
    assert np.allclose(np.degrees(info["scan_angles"]), np.linspace(-85, 85, 9), atol=1e-4)
    near = (Depth(source=lambda image, _: np.full(image.shape[:2], 0.05)), Scan(rays=9, fov_deg=30))
    observation, info = SanaWMEnv(WORLD, sensors=near).reset(seed=0)
    assert (observation["scan"] == 0).all() and (info["scan"] == -np.inf).all()


def test_report_counts_and_moves_nothing():
    env, free = walled("report"), walled("none")
    for world in (env, free):
        _, info = world.reset(seed=0)
    assert env.snapshot().contact == Contact(0, False, env.snapshot().contact.clearance)
    assert env.snapshot().contact.clearance == pytest.approx(REACH, abs=0.02)
    for count in (1, 2):
        *_, info = env.step(FORWARD)
        assert info["collisions"] == count and info["collided"] is True and type(info["collisions"]) is int
        free.step(FORWARD)
    *_, info = env.step(-FORWARD)
    free.step(-FORWARD)
    assert info["collisions"] == 2 and info["collided"] is False
    assert env.snapshot().state.equal(free.snapshot().state)


@pytest.mark.parametrize("mode", ["delta", "per_frame"])
def test_block_stops_at_the_wall(mode):
    env = walled("block", action_mode=mode)
    env.reset(seed=0)
    action = FORWARD if mode == "delta" else np.tile(FORWARD, (env.frames_per_step, 1))
    for count in (1, 2):  # a wall that goes along
        *_, info = env.step(action)
        assert info["collisions"] == count
        assert info["c2w"][2, 3] == pytest.approx(count * REACH, abs=0.02 * count)
        assert info["c2w"][2, 3] <= count * REACH + 1e-9
        assert np.array_equal(info["frame_c2w"][-1], info["c2w"])
    assert env.snapshot().state.c2w[0].numpy() == pytest.approx(info["c2w"])


def test_keys_know_where_the_camera_was_stopped():
    env = SanaWMEnv(WORLD, sensors=Depth(source=wall), contact="block", action_mode="keys")
    env.reset(seed=0)
    held = np.array([key in ("w", "l") for key in env.keys], np.int8)
    for _ in range(6):
        _, _, _, _, info = env.step(held)
        keyboard = env.snapshot().keyboard
        assert np.array_equal(keyboard.c2w, info["c2w"])
        if info["collided"]:
            assert keyboard.velocity[:2] == (0, 0)
    assert info["collisions"] > 0
    *_, info = env.step(np.zeros_like(held))
    before = keyboard.c2w
    step = np.linalg.norm(info["frame_c2w"][0][:3, 3] - before[:3, 3])
    assert step < 0.1  # goes on from the wall and not from behind it


def test_contact_is_part_of_moments_and_their_files(tmp_path):
    env = walled("report")
    env.reset(seed=0)
    env.step(FORWARD)
    observation, *_, info = env.step(FORWARD)
    moment = env.snapshot()
    moment.save(tmp_path / "moment.safetensors")
    other = walled("report")
    for past in (moment, tmp_path / "moment.safetensors"):
        for twin in (env, other, env.fork(1)[0]):
            again, known = twin.restore(past)
            assert twin.snapshot().equal(moment)
            for key in ("depth", "scan", "collisions", "collided", "clearance"):
                assert same(known[key], info[key])
            assert same(again["depth"], observation["depth"]) and same(again["scan"], observation["scan"])
    assert not moment.equal(walled_without_contact(moment))
    _, info = env.reset(options={"state": moment})
    assert info["collisions"] == 0 and info["collided"] is False


def walled_without_contact(moment):
    """The moment as an environment without contact takes it, and back."""
    plain = SanaWMEnv(WORLD)
    _, info = plain.restore(moment)
    assert "collisions" not in info and plain.snapshot().depth is None and plain.snapshot().contact is None
    env = walled("report")
    _, info = env.restore(plain.snapshot())
    assert info["collisions"] == 0 and info["clearance"] == pytest.approx(REACH, abs=0.02)
    return plain.snapshot()


def test_slots_touch_on_their_own():
    def by_brightness(image, _):
        return np.full(image.shape[:2], 0.3 if image[0, 0, 0] > 127 else 9.0)

    bright, dark = np.full((64, 112, 3), 255, np.uint8), np.zeros((64, 112, 3), np.uint8)
    arguments = {"sensors": Depth(source=by_brightness), "contact": "block", "max_translation": METRES}
    envs = SanaWMVectorEnv(2, WORLD, **arguments)
    envs.reset(seed=0, options={"per_slot": [{"image": bright}, {"image": dark}]})
    *_, infos = envs.step([FORWARD, FORWARD])
    assert infos["collisions"].tolist() == [1, 0] and infos["collided"].tolist() == [True, False]
    assert infos["c2w"][0, 2, 3] < 0.13 and infos["c2w"][1, 2, 3] == pytest.approx(METRES)
    single = SanaWMEnv(WORLD, **arguments)
    single.reset(seed=1, options={"image": dark})
    *_, info = single.step(FORWARD)
    assert same(info["depth"], infos["depth"][1]) and same(info["c2w"], infos["c2w"][1])


def test_collision_reward():
    task = PointNav(rewards={"collision": 0.5})
    env = walled("block", task=task)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(FORWARD)
    assert reward == -0.5 == info["reward_terms"]["collision"]
    _, reward, _, _, info = env.step(-FORWARD)
    assert reward == 0 == info["reward_terms"]["collision"]


def test_a_runner_without_contact_refuses_the_collision_reward():
    env = walled("report", task=PointNav(rewards={"collision": 1.0}))
    env.reset(seed=0)
    runner, slots = env.simulation.runner, env._now
    assert isinstance(runner, TaskRunner)
    view = env.simulation._views(slots)[0]
    with pytest.raises(ValueError, match="'collision' needs contact"):
        runner.step(view, np.eye(4)[None], view.frame, stop=False)
    assert runner.step(view, np.eye(4)[None], view.frame, stop=False, collided=True).reward == -1
