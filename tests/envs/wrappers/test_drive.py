"""A robot's base: it goes where two wheels take it, no faster than it can, and stays on the ground."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.envs.sensors.contact import Body
from sanawm_env.envs.sensors.depth import Depth
from sanawm_env.envs.sensors.scan import Scan
from sanawm_env.envs.sensors.sources import FunctionDepth
from sanawm_env.envs.wrappers import DifferentialDrive, VectorDifferentialDrive, camera_mount
from sanawm_env.tasks import PointNav
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
SECONDS = 0.25  # four frames of 1/16 s
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)  # no scene to render at resets
LIMITS = {"max_translation": 0.5, "max_rotation": 0.5}
FREE = {"max_acceleration": math.inf, "max_turn_acceleration": math.inf}
MOUNT = camera_mount(xyz=(0.12, -0.03, 0.4), rpy=(0, math.radians(8), 0))


def world(**arguments):
    return SanaWMEnv(MODEL, PICTURE, **LIMITS | arguments)


class Camera(gym.Env):
    """The motion of an environment of this package, and nothing to see: what thousands of steps can be made of."""

    max_translation, max_rotation, step_seconds, frames_per_step = 0.5, 0.5, SECONDS, 4
    action_space = spaces.Box(-1, 1, (6,), np.float32)
    observation_space = spaces.Box(0, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_poses = (np.eye(4)[None],)
        return np.zeros(1, np.float32), {"frame_c2w": np.eye(4)[None].repeat(4, 0)}

    def step(self, action):
        assert action in self.action_space
        poses = geodesic(self.step_poses[0][-1], action_to_delta(action, 0.5, 0.5), 4)
        self.step_poses = (poses,)
        return np.zeros(1, np.float32), 0.0, False, False, {"frame_c2w": poses}


def unicycle(commands, change=(math.inf, math.inf), seconds=SECONDS):
    """x, y, yaw, v and w after each step of constant (v, w), from the formula of the arc."""
    x = y = yaw = 0.0
    now, told = np.zeros(2), []
    for command in commands:
        now = now + np.clip(command - now, -np.array(change) * seconds, np.array(change) * seconds)
        v, w = now
        turn = w * seconds
        ahead, aside = (
            (v * seconds, 0.0) if abs(turn) < 1e-9 else (v / w * math.sin(turn), v / w * (1 - math.cos(turn)))
        )
        x, y = x + math.cos(yaw) * ahead - math.sin(yaw) * aside, y + math.sin(yaw) * ahead + math.cos(yaw) * aside
        yaw = math.remainder(yaw + turn, 2 * math.pi)
        told.append([x, y, yaw, v, w])
    return np.array(told)


def told(info):
    return np.append(info["base_pose"], info["base_velocity"])


# -- the motion -------------------------------------------------------------------------------------------


def test_ahead_and_to_the_left():
    env = DifferentialDrive(world(), max_turn=1.0, **FREE)
    assert env.action_space == spaces.Box(np.float32([-0.5, -1]), np.float32([0.5, 1]))
    _, info = env.reset(seed=0)
    assert np.array_equal(info["base_pose"], [0, 0, 0]) and np.array_equal(info["base_velocity"], [0, 0])
    *_, info = env.step(np.float32([0.4, 0]))
    assert np.allclose(info["c2w"][:3, 3], [0, 0, 0.1], atol=1e-7), "ahead is the camera's z"
    assert np.allclose(told(info), [0.1, 0, 0, 0.4, 0], atol=1e-6)
    *_, info = env.step(np.float32([0, 1]))
    assert np.allclose(info["c2w"][:3, 2], [-math.sin(0.25), 0, math.cos(0.25)], atol=1e-7), "left is -x"
    assert np.allclose(told(info), [0.1, 0, 0.25, 0, 1], atol=1e-6)
    *_, info = env.step(np.float32([-0.4, 0]))
    assert np.allclose(told(info), [0.1 - 0.1 * math.cos(0.25), -0.1 * math.sin(0.25), 0.25, -0.4, 0], atol=1e-6)


COMMANDS = st.lists(st.tuples(st.floats(-0.5, 0.5, width=32), st.floats(-1, 1, width=32)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(COMMANDS, st.sampled_from([None, MOUNT]), st.sampled_from([(math.inf, math.inf), (1.0, 2.0), (0.3, 0.4)]))
def test_it_is_a_unicycle_with_limits(commands, mount, change):
    env = DifferentialDrive(Camera(), 0.5, 1.0, *change, mount=mount)
    env.reset()
    infos = [env.step(np.float32(command))[-1] for command in commands]
    assert np.allclose([told(info) for info in infos], unicycle(commands, change), atol=2e-5)


def test_every_frame_of_a_step_lies_on_the_arc():
    env = DifferentialDrive(world(), max_turn=1.0, mount=MOUNT, **FREE)
    env.reset(seed=0)
    *_, info = env.step(np.float32([0.4, 0.8]))
    places = [(MOUNT @ pose @ np.linalg.inv(MOUNT)) for pose in info["frame_c2w"]]
    expected = unicycle([(0.4, 0.8)] * 4, seconds=1 / 16)
    assert np.allclose([[p[0, 3], p[1, 3], math.atan2(p[1, 0], p[0, 0])] for p in places], expected[:, :3], atol=1e-6)


def test_2000_steps_stay_on_the_ground():
    env, rng = DifferentialDrive(Camera(), max_turn=1.0, mount=MOUNT), np.random.default_rng(0)
    env.reset()
    off = []
    for _ in range(2000):
        *_, info = env.step(rng.uniform(-env.action_space.high, env.action_space.high).astype(np.float32))
        base = MOUNT @ info["frame_c2w"][-1] @ np.linalg.inv(MOUNT)
        off.append(max(abs(base[2, 3]), math.hypot(base[0, 2], base[1, 2])))
    assert max(off) < 1e-8, "rounding does not add up"
    assert np.hypot(*info["base_pose"][:2]) > 1, "it went somewhere"


def test_a_mount_moves_the_camera_about_the_base():
    env = DifferentialDrive(world(), max_turn=1.0, mount=camera_mount(xyz=(0.2, 0, 0.5)), **FREE)
    env.reset(seed=0)
    *_, info = env.step(np.float32([0, 1]))
    assert np.allclose(info["base_pose"], [0, 0, 0.25], atol=1e-7)
    # Turning on the spot to the left swings the camera, 0.2 m ahead of the axis, to the left.
    assert np.allclose(info["c2w"][:3, 3], [-0.2 * math.sin(0.25), 0, 0.2 * math.cos(0.25) - 0.2], atol=1e-7)


# -- the velocity before is the world's, not the wrapper's ------------------------------------------------------


def test_it_speeds_up_and_slows_down():
    env = DifferentialDrive(world(), max_acceleration=0.8)  # 0.2 m/s per step
    env.reset(seed=0)
    speeds = [env.step(np.float32([v, 0]))[-1]["base_velocity"][0] for v in (0.5, 0.5, 0.5, 0, 0, -0.5)]
    assert np.allclose(speeds, [0.2, 0.4, 0.5, 0.3, 0.1, -0.1], atol=1e-6)
    _, info = env.reset(seed=0)
    assert not info["base_velocity"].any()
    assert env.step(np.float32([0.5, 0]))[-1]["base_velocity"][0] == pytest.approx(0.2, abs=1e-6)


def test_a_moment_has_its_velocity(tmp_path):
    env = DifferentialDrive(world(), max_acceleration=0.8)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.float32([0.5, 0.1]))
    here = env.unwrapped.snapshot()
    after = told(env.step(np.float32([0.5, 0]))[-1])
    env.reset(seed=3)
    _, info = env.reset(options={"state": here})
    assert info["base_velocity"][0] == pytest.approx(0.4, abs=1e-6)
    assert np.array_equal(told(env.step(np.float32([0.5, 0]))[-1]), after)
    env.unwrapped.restore(here)  # past the wrapper
    assert np.array_equal(told(env.step(np.float32([0.5, 0]))[-1]), after)
    env.unwrapped.restore(here)
    fork = DifferentialDrive(env.unwrapped.fork(1)[0], max_acceleration=0.8)
    assert np.array_equal(told(fork.step(np.float32([0.5, 0]))[-1]), after)
    wide = VectorDifferentialDrive(SanaWMVectorEnv.of(env.unwrapped, 2, exact=True), max_acceleration=0.8)
    *_, infos = wide.step(np.float32([[0.5, 0], [0.5, 0]]))
    assert np.array_equal(infos["base_pose"], [after[:3]] * 2)
    # A file keeps no frames of the step: at rest.
    here.save(tmp_path / "here.safetensors")
    _, info = env.reset(options={"state": tmp_path / "here.safetensors"})
    assert not info["base_velocity"].any() and info["base_pose"][0] > 0.1


def test_what_has_stopped_the_camera_has_stopped_the_base():
    env = DifferentialDrive(Camera(), max_acceleration=0.8)
    env.reset()
    for _ in range(3):
        env.step(np.float32([0.5, 0]))
    wall = env.unwrapped.step_poses[0][-1:].repeat(4, 0)
    env.unwrapped.step_poses = (wall,)
    assert env.step(np.float32([0.5, 0]))[-1]["base_velocity"][0] == pytest.approx(0.2, abs=1e-5)


def test_a_free_cameras_moment_goes_on_in_its_own_plane():
    free = world()
    free.reset(seed=0)
    for _ in range(2):
        *_, before = free.step([0, -0.3, 0.2, 0.2, 0, 0])  # up, ahead, looking up
    env = DifferentialDrive(world(), **FREE)
    env.reset(options={"state": free.snapshot()})
    *_, info = env.step(np.float32([0.4, 0]))
    assert np.allclose(info["c2w"][:3, 3], before["c2w"][:3, 3] + 0.1 * before["c2w"][:3, 2], atol=1e-6)


# -- as an environment ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")  # of advice on spaces
def test_it_is_a_gymnasium_environment():
    check_env(DifferentialDrive(world(task="PointNav"), mount=MOUNT), skip_render_check=True)
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    sb3.check_env(DifferentialDrive(world(), mount=MOUNT), warn=False)


def test_its_spec_makes_it_again():
    made = DifferentialDrive(gym.make("SanaWM-v0", checkpoint=MODEL, image=PICTURE), mount=MOUNT)
    kwargs = json.loads(json.dumps(made.spec.additional_wrappers[-1].kwargs))
    assert kwargs["max_speed"] == 0.5
    again = gym.make(made.spec)
    for env in (made, again, DifferentialDrive(made.env, **kwargs)):
        env.reset(seed=0)
    assert np.array_equal(*(told(env.step(np.float32([0.2, 0.3]))[-1]) for env in (made, again)))


def test_stop():
    env = DifferentialDrive(world(task=PointNav(stop_action=True)))
    assert env.action_space.shape == (3,)
    env.reset(seed=0)
    assert env.step(np.float32([0.2, 0, -1]))[2] is False
    _, _, terminated, _, info = env.step(np.float32([0.2, 0, 1]))
    assert terminated and not info["base_velocity"].any()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_slots_are_single_environments(mode):
    arguments = {"image": PICTURE, "autoreset_mode": mode, "max_episode_steps": 3, **LIMITS}
    envs = VectorDifferentialDrive(SanaWMVectorEnv(2, MODEL, **arguments), mount=MOUNT, max_acceleration=0.8)
    assert envs.action_space.shape == (2, 2) and envs.single_action_space.shape == (2,)
    singles = [DifferentialDrive(world(), mount=MOUNT, max_acceleration=0.8) for _ in range(2)]
    _, infos = envs.reset(seed=5)
    assert not infos["base_pose"].any() and infos["_base_pose"].all()
    for slot, env in enumerate(singles):
        env.reset(seed=5 + slot)
    envs.action_space.seed(0)
    for step in range(3):
        actions = envs.action_space.sample()
        *_, infos = envs.step(actions)
        ended = mode is AutoresetMode.SAME_STEP and step == 2
        shown = infos["final_info"] if ended else infos
        assert shown["_base_velocity"].all()
        for slot, env in enumerate(singles):
            *_, info = env.step(actions[slot])
            assert np.array_equal(shown["base_pose"][slot], info["base_pose"])
            assert np.array_equal(shown["base_velocity"][slot], info["base_velocity"])
    # The next episode begins at rest, at the origin.
    if mode is AutoresetMode.DISABLED:
        _, infos = envs.reset(options={"reset_mask": np.array([True, False])})
        assert infos["_base_pose"].tolist() == [True, False] and not infos["base_pose"].any()
        return
    if mode is AutoresetMode.NEXT_STEP:
        *_, infos = envs.step(envs.action_space.sample())
    assert not infos["base_pose"].any() and not infos["base_velocity"].any()
    *_, infos = envs.step(np.float32([[0.5, 0], [-0.5, 0]]))
    assert np.allclose(infos["base_velocity"][:, 0], [0.2, -0.2], atol=1e-6)


# -- with sensors ---------------------------------------------------------------------------------------------


def test_a_robot_sees_and_stops_before_a_wall(monkeypatch):
    def wall(self, state, frames):
        """An upright wall 1.2 m ahead of frame 0; the base goes straight on, so its z-depth is the same everywhere."""
        left = 1.2 - state.c2w[:, 2, 3].numpy()
        return [np.full(frame.shape[:2], z, np.float32) for frame, z in zip(frames, left, strict=True)]

    monkeypatch.setattr(FunctionDepth, "depth", wall)
    sensors = [Depth(source=lambda image, intrinsics: None), Scan(rays=31)]
    body = Body(radius=0.2, height=0.4, camera=0.3)
    arguments = {"checkpoint": MODEL, "image": PICTURE, "sensors": sensors, "contact": "block", "body": body, **LIMITS}
    robot = DifferentialDrive(gym.make("SanaWM-v0", **arguments), max_acceleration=0.8)
    observation, info = robot.reset(seed=0)
    assert set(observation) == {"image", "pose", "depth", "scan"} and observation in robot.observation_space
    speeds, places = [], []
    for _ in range(12):
        observation, *_, info = robot.step(np.float32([0.5, 0]))
        assert info["scan"][15] == pytest.approx(1.2 - info["base_pose"][0], abs=1e-4)
        speeds.append(info["base_velocity"][0])
        places.append(info["base_pose"])
    assert info["collided"] and info["collisions"] >= 1
    # It came to rest 0.2 m from the wall, and the scan saw it all the way.
    assert places[-1][0] == pytest.approx(1.0, abs=0.02) and np.abs(places[-1][1:]).max() < 1e-6
    assert max(speeds) == pytest.approx(0.5, abs=1e-5) and abs(speeds[-1]) < 1e-3
    # Backwards it starts from rest.
    *_, info = robot.step(np.float32([-0.5, 0]))
    assert info["base_velocity"][0] == pytest.approx(-0.2, abs=2e-3)


# -- what it refuses ------------------------------------------------------------------------------------------


def test_commands_that_are_refused():
    env = DifferentialDrive(world())
    env.reset(seed=0)
    for command, message in (
        ([0] * 3, r"numbers of shape \(2,\)"),
        (["a", "b"], "numbers of shape"),
        ([0.1, math.nan], "NaN"),
        ([0.6, 0], "beyond the limits"),
        ([0, -0.4], "beyond the limits"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(command))
    assert env.unwrapped.snapshot().elapsed_steps == 0
    envs = VectorDifferentialDrive(SanaWMVectorEnv(2, MODEL, image=PICTURE, **LIMITS))
    envs.reset(seed=0)
    for commands, message in (([[0, 0], [0, 9]], "slot 1: velocity"), ([[0, 0]], "must be 2 velocities")):
        with pytest.raises(ValueError, match=message):
            envs.step(np.array(commands, np.float32))
    assert [moment.elapsed_steps for moment in envs.unwrapped.snapshot()] == [0, 0]


def test_worlds_that_cannot_do_it():
    with pytest.raises(ValueError, match=r"max_speed of 3 m/s .* 0.75 m .* max_translation of 0.5"):
        DifferentialDrive(world(), max_speed=3)
    with pytest.raises(ValueError, match=r"max_turn of 2.5 rad/s .* 0.625 rad .* max_rotation of 0.5"):
        DifferentialDrive(world(), max_turn=2.5)
    # A camera far from the axis is carried round faster than the base goes ahead.
    with pytest.raises(ValueError, match="max_translation"):
        DifferentialDrive(world(), max_speed=1.9, max_turn=1, mount=camera_mount((0.5, 0, 0)))
    with pytest.raises(ValueError, match="max_speed must be a positive number of m/s"):
        DifferentialDrive(world(), max_speed=0)
    with pytest.raises(ValueError, match=r"max_acceleration must be .* got '1'"):
        DifferentialDrive(world(), max_acceleration="1")
    with pytest.raises(ValueError, match="max_turn must be"):
        DifferentialDrive(world(), max_turn=math.inf)
    with pytest.raises(ValueError, match=r"mount must be one pose .* not orthonormal"):
        DifferentialDrive(world(), mount=np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ValueError, match="mount must be one pose"):
        DifferentialDrive(world(), mount=np.eye(4)[None])
    with pytest.raises(ValueError, match="action_mode='delta'"):
        DifferentialDrive(SanaWMEnv(MODEL, action_mode="keys"))
    with pytest.raises(ValueError, match="DifferentialDrive needs actions"):
        DifferentialDrive(gym.make("Pendulum-v1"))


@pytest.mark.parametrize("asked", [{"max_turn": 1.0}, {"max_speed": 1.1}])
def test_both_mends_that_it_names_work(asked):
    def plain(**arguments):
        return SanaWMEnv(MODEL, PICTURE, **arguments)

    with pytest.raises(ValueError) as error:
        DifferentialDrive(plain(), **asked)
    message = str(error.value)
    name, value = message.split("make it with ")[1].split(",")[0].split("=")
    DifferentialDrive(plain(**{name: float(value)}), **asked)
    lowered = message.split("or lower ")[1].rstrip(".").split(" to ")
    DifferentialDrive(plain(), **{lowered[0]: float(lowered[1])})


def test_a_default_world_has_room_for_the_default_base():
    for chunk in (1, 2, 3):
        model = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=3))
        DifferentialDrive(SanaWMEnv(model, PICTURE, chunk_frames=chunk), mount=camera_mount((0.2, 0.1, 0.4)))
