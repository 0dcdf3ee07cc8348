"""The arithmetic under a robot's base."""

import math

import numpy as np
import pytest
from gymnasium import spaces

from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.envs.wrappers import camera_mount
from sanawm_env.envs.wrappers.unicycle import Unicycle


class World:
    """The numbers of an environment."""

    max_translation, max_rotation, step_seconds, frames_per_step = 0.5, 0.5, 0.25, 4
    unwrapped = property(lambda self: self)


def unicycle(mount=None):
    return Unicycle.of(World(), spaces.Box(-1, 1, (6,)), "test", (0.5, 1.0, math.inf, math.inf), mount)


def test_camera_mount_is_urdfs():
    assert np.allclose(camera_mount()[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    assert np.allclose(camera_mount((1, 2, 3))[:3, 3], [1, 2, 3])
    assert np.allclose(camera_mount(rpy=(0, 0.3, 0))[:3, 2], [math.cos(0.3), 0, -math.sin(0.3)]), "looks down"
    assert np.allclose(camera_mount(rpy=(0, 0, 0.3))[:3, 2], [math.cos(0.3), math.sin(0.3), 0]), "looks left"


@pytest.mark.parametrize("mount", [None, camera_mount((0.1, 0.2, 0.3), (0.0, 0.2, 0.4))])
def test_rounding_is_put_right_and_a_lifted_base_is_not(mount):
    base, pose = unicycle(mount), np.linalg.inv(camera_mount() if mount is None else mount)
    for lifted, back in ((5e-4, True), (0.2, False)):
        up = np.eye(4)
        up[2, 3] = lifted
        camera = pose @ up @ np.linalg.inv(pose)  # frame 0's camera is at the origin
        action = base.action(np.float32([0.4, 0.3]), camera[None])
        after = geodesic(camera, action_to_delta(action, 0.5, 0.5), 4)
        place = np.linalg.inv(pose) @ after[-1] @ pose
        assert place[2, 3] == pytest.approx(0.0 if back else lifted, abs=1e-7)
        assert base.info(after)["base_velocity"] == pytest.approx([0.4, 0.3], abs=1e-5)


def test_one_frame_has_no_velocity():
    assert not unicycle().info(np.eye(4)[None])["base_velocity"].any()
