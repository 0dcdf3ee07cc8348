"""Models of Stable-Baselines3 act here as they do there."""

import zipfile

import numpy as np
import pytest
from gymnasium.wrappers import ResizeObservation
from sanawm_env.policies import make_policy

from sanawm_env.envs.wrappers import DiscreteNavigation
from sanawm_env.tasks import PointNav
from tests.policies.policy_worlds import make

sb3 = pytest.importorskip("stable_baselines3")


def small(algorithm, env, **settings):
    return algorithm("MultiInputPolicy", env, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0, **settings)


def points(**arguments):
    return make("SanaWM/PointNav-v0", **{"obs_mode": "pose"} | arguments)


def goals():
    return points(task=PointNav(goal_env=True))


def big_picture():
    return ResizeObservation(make(), (40, 48))


CASES = {
    "PPO": (lambda e: small(sb3.PPO, e, n_steps=8, batch_size=8), points),
    "A2C": (lambda e: small(sb3.A2C, e), points),
    "TD3": (lambda e: small(sb3.TD3, e, buffer_size=100), points),
    "SAC with HER": (
        lambda e: small(sb3.SAC, e, buffer_size=100, replay_buffer_class=sb3.HerReplayBuffer),
        goals,
    ),
    "DQN": (lambda e: small(sb3.DQN, e, buffer_size=100), lambda: DiscreteNavigation(points())),
    "PPO of pictures": (lambda e: sb3.PPO("CnnPolicy", e, n_steps=8, batch_size=8, device="cpu", seed=0), big_picture),
}


@pytest.mark.parametrize("case", CASES)
def test_acts_as_the_model_does(case, tmp_path):
    build, world = CASES[case]
    env = world()
    model = build(env)
    model.save(tmp_path / "model.zip")
    policy = make_policy(f"sb3:{tmp_path}/model.zip")
    assert type(policy.model) is type(model)
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    action = policy.act(observation, info)
    assert action in env.action_space
    assert np.array_equal(action, model.predict(observation, deterministic=True)[0])


def test_what_does_not_fit(tmp_path):
    env = points()
    path = tmp_path / "model.zip"
    CASES["PPO"][0](env).save(path)
    policy = make_policy(f"sb3:{path}")
    other = DiscreteNavigation(env)
    with pytest.raises(ValueError, match="trained for actions Box"):
        policy.begin(other, *other.reset(seed=0))
    other = make()
    with pytest.raises(ValueError, match="trained for observations Dict"):
        policy.begin(other, *other.reset(seed=0))
    with pytest.raises(ValueError, match="must be one of PPO"):
        make_policy(f"sb3:{path}", algorithm="REINFORCE")


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="save one with"):
        make_policy(f"sb3:{tmp_path}/none.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    with zipfile.ZipFile(tmp_path / "unknown.zip", "w") as archive:
        archive.writestr("data", "{}")
    for name, message in (("text", "is no model"), ("other", "is no model"), ("unknown", "cannot tell")):
        with pytest.raises(ValueError, match=message):
            make_policy(f"sb3:{tmp_path}/{name}.zip")
