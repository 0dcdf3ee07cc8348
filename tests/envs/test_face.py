"""What both environments show of their simulator."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1))
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def test_step_poses():
    env, envs = SanaWMEnv(MODEL, PICTURE), SanaWMVectorEnv(2, MODEL, image=PICTURE)
    for either in (env, envs):
        with pytest.raises(ResetNeeded):
            _ = either.step_poses
        either.reset(seed=0)
        assert all(np.array_equal(poses, np.eye(4)[None]) for poses in either.step_poses)
    *_, info = env.step([0, 0, 1, 0, 0.5, 0])
    assert np.array_equal(env.step_poses[0], info["frame_c2w"])
    *_, infos = envs.step(np.float32([[0, 0, 1, 0, 0.5, 0], [0, 0, 0, 0, 0, 0]]))
    assert np.array_equal(np.stack(envs.step_poses), infos["frame_c2w"])
    envs.restore(env.snapshot(), 1)
    assert np.array_equal(envs.step_poses[1], info["frame_c2w"])
