"""TorchRL's own `GymEnv` takes every id as it is; so there is no bridge for it."""

import pytest

pytestmark = pytest.mark.judge


def test_check_env_specs(env_id, world, need):
    need("torchrl")
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import check_env_specs

    env = GymEnv(env_id, device="cpu", **world)
    env.set_seed(0)
    check_env_specs(env)


def test_rollout(small, need):
    need("torchrl")
    from torchrl.envs import GymEnv

    env = GymEnv("SanaWM/PointNav-v0", device="cpu", max_episode_steps=4, **small)
    env.set_seed(0)
    rollout = env.rollout(10, break_when_any_done=False)
    assert (
        rollout["next", "truncated"].squeeze(-1).tolist() == [False] * 3 + [True] + [False] * 3 + [True] + [False] * 2
    )
    assert rollout["image"].shape[0] == 10 and rollout["next", "reward"].isfinite().all()
