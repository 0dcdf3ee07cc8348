"""Behaviour cloning learns a follower's actions, and keeps them in a file."""

import json

import numpy as np
import pytest
import torch
from gymnasium import spaces, wrappers
from safetensors import safe_open
from safetensors.torch import save_file
from sanawm_env.policies import make_policy
from sanawm_env.policies.demonstrations import Demonstrations, _disturbed, collect, low_dimensional
from sanawm_env.policies.imitation import BehaviourClone, CloneConfig, CloneNet, train

from sanawm_env import SanaWMEnv
from sanawm_env.envs.wrappers import DiscreteNavigation, TwistActions
from sanawm_env.tasks import FollowPath, PointNav
from tests.policies.policy_worlds import MODEL, PICTURE, make, play

TASK = PointNav(distance=(1.0, 2.0), bearing_deg=60)


def point_nav(**arguments):
    return make("SanaWM/PointNav-v0", task=TASK, **{"obs_mode": "pose"} | arguments)


@pytest.fixture(scope="module")
def watched():
    """Demonstrations, and some of other episodes."""
    env, expert = point_nav(), make_policy("scripted:follow")
    return collect(env, expert, 12, seed=0, noise=0.2), collect(env, expert, 4, seed=100)


@pytest.fixture(scope="module")
def learnt(watched):
    return train(watched[0], epochs=150, batch=32, hidden=64)


def error(policy, data):
    """Mean squared error of what a policy would do."""
    wrong = 0.0
    for i, action in enumerate(data.actions):
        observation = {name: value[i] for name, value in data.entries.items()}
        wrong += float(((policy.act(observation, {}) - action) ** 2).mean()) / len(data)
    return wrong


def test_what_is_collected(watched):
    data, _ = watched
    assert set(data.entries) == {"pose", "goal"} and data.choices == 0
    assert data.entries["goal"].shape == (len(data), 3) and data.actions.shape == (len(data), 6)
    env = point_nav()
    policy = make_policy("scripted:follow")
    policy.begin(env, *env.reset(seed=0))
    for goal, pose, action in zip(data.entries["goal"], data.entries["pose"], data.actions, strict=True):
        # Disturbed was what was done, not what is written down.
        assert np.array_equal(policy.act({"goal": goal, "pose": pose}, {}), action)


def test_the_loss_falls_and_other_episodes_profit(watched, learnt):
    policy, losses = learnt
    assert losses[-1] < 0.2 * losses[0] and all(np.isfinite(losses))
    untrained = BehaviourClone(CloneNet(policy.net.config))
    mean = np.mean(watched[0].actions, axis=0)
    constant = float(((watched[1].actions - mean) ** 2).mean())
    assert error(policy, watched[1]) < 0.5 * min(error(untrained, watched[1]), constant)


def test_it_gets_nearer_to_goals(learnt):
    policy, _ = learnt
    env = point_nav(max_episode_steps=8)
    left = [play(env, policy, seed)[0][-1]["soft_spl"] for seed in (200, 201, 202)]
    lucky = [play(env, make_policy("random:uniform"), seed)[0][-1]["soft_spl"] for seed in (200, 201, 202)]
    assert np.mean(left) > 0.5 > np.mean(lucky)


def test_training_repeats(watched, learnt):
    torch.manual_seed(5)
    kept = torch.get_rng_state()
    (first, losses), (second, again) = (train(watched[0], epochs=2, seed=7) for _ in range(2))
    assert losses == again and torch.equal(torch.get_rng_state(), kept)
    for mine, theirs in zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_saved_and_loaded(tmp_path, watched, learnt):
    policy, _ = learnt
    policy.save(tmp_path / "clone.safetensors")
    again = make_policy(f"bc:{tmp_path}/clone.safetensors")
    assert again.net.config == policy.net.config
    env = point_nav()
    observation, info = env.reset(seed=0)
    again.begin(env, observation, info)
    action = again.act(observation, info)
    assert action in env.action_space and np.array_equal(action, policy.act(observation, info))


def test_pictures():
    env = make("SanaWM/FollowPath-v0", task=FollowPath(stop_action=True), max_episode_steps=3)
    data = collect(env, make_policy("scripted:follow"), 2, entries=["waypoints"], image=True)
    assert data.entries["image"].shape[1:] == (32, 48, 3) and data.entries["image"].dtype == np.uint8
    policy, _ = train(data, epochs=2)
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    action = policy.act(observation, info)
    assert action in env.action_space and action.shape == (7,)
    changed = {**observation, "image": 255 - observation["image"]}
    assert not np.array_equal(action, policy.act(changed, info))


def test_discrete_actions():
    task = PointNav(distance=(0.5, 1.0), stop_action=True)
    env = DiscreteNavigation(make("SanaWM/PointNav-v0", task=task, obs_mode="pose"))
    data = collect(env, make_policy("scripted:follow"), 3, noise=0.1)
    assert data.choices == 4 and data.actions.ndim == 1 and set(data.actions) <= {0, 1, 2, 3}
    policy, losses = train(data, epochs=100, batch=16)
    assert losses[-1] < 0.5 * losses[0]
    observation, info = env.reset(seed=0)
    policy.begin(env, observation, info)
    assert policy.act(observation, info) in env.action_space
    right = [policy.act({k: v[i] for k, v in data.entries.items()}, {}) == a for i, a in enumerate(data.actions)]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize(
    "wrap", [TwistActions, lambda env: wrappers.RescaleAction(env, np.float32(0), np.float32(1)), wrappers.ClipAction]
)
def test_noise_and_clones_keep_to_the_action_space(wrap):
    """Metres per second or shares of a range: noise is in units of half the range, and nothing leaves the space."""
    env = wrap(make("SanaWM/PointNav-v0", task=PointNav(stop_action=True), obs_mode="pose", max_episode_steps=8))
    space, taken = env.action_space, []

    class Still:
        def begin(self, env, observation, info):
            pass

        def act(self, observation, info):
            if not space.is_bounded():
                return np.append(np.zeros(6), -1).astype(np.float32)
            return np.append((space.low[:6] + space.high[:6]) / 2, space.low[6]).astype(np.float32)

    step = env.step
    env.step = lambda action: (taken.append(action), step(action))[1]
    data = collect(env, Still(), 4, noise=0.3)
    assert all(action in space for action in taken)
    half = (space.high - space.low)[:6] / 2 if space.is_bounded() else np.ones(6)
    moved = np.array(taken)[:, :6] - np.array(data.actions)[:, :6]
    assert (moved / half).std() == pytest.approx(0.3, rel=0.25)
    assert (np.array(taken)[:, 6] == data.actions[:, 6]).all()
    policy, losses = train(data, epochs=30)
    assert losses[-1] < losses[0]
    observation, info = env.reset(seed=50)
    policy.begin(env, observation, info)
    assert policy.act(observation, info) in space
    if space.is_bounded():
        with pytest.raises(ValueError, match="learnt actions within"):
            policy.begin(env.env, observation, info)


def test_noise_of_pose_deltas_is_as_it_was():
    env = point_nav()
    action = np.array([0.9, -0.2, 0, 0, 0.5, -1], np.float32)
    rng = np.random.default_rng(3)
    wanted = (action + rng.normal(0, 0.4, 6).astype(np.float32)).clip(-1, 1)
    assert np.array_equal(_disturbed(action, 0.4, np.random.default_rng(3), env), wanted)


def test_files_of_before_have_no_limits(tmp_path, learnt):
    policy, _ = learnt
    policy.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", framework="pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    config = json.loads(metadata["config"])
    assert config.pop("limits") == [[-1.0] * 6, [1.0] * 6]
    save_file(weights, tmp_path / "old.safetensors", metadata | {"config": json.dumps(config)})
    again, env = BehaviourClone.load(tmp_path / "old.safetensors"), point_nav()
    observation, info = env.reset(seed=0)
    again.begin(env, observation, info)
    assert np.array_equal(again.act(observation, info), policy.act(observation, info))


def test_actions_that_it_cannot_learn():
    for mode in ("keys", "per_frame"):
        env = SanaWMEnv(MODEL, PICTURE, task=TASK, obs_mode="pose", action_mode=mode)
        with pytest.raises(ValueError, match="one motion per step"):
            collect(env, make_policy("random:uniform"), 1)


def test_where_it_does_not_fit(learnt):
    policy, _ = learnt
    for env, message in (
        (DiscreteNavigation(point_nav()), "learnt Box"),
        (make("SanaWM/PointNav-v0", task=PointNav(stop_action=True)), "learnt Box"),
        (make("SanaWM/Explore-v0"), "reads the observation's 'goal'"),
        (make(), "got none"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.begin(env, *env.reset(seed=0))


def test_bad_input(tmp_path):
    env, expert = point_nav(), make_policy("scripted:follow")
    with pytest.raises(ValueError, match="at least 1"):
        collect(env, expert, 0)
    with pytest.raises(ValueError, match="no entry 'home'"):
        collect(env, expert, 1, entries=["home"])
    with pytest.raises(ValueError, match="no entry 'image'"):
        collect(env, expert, 1, image=True)
    with pytest.raises(ValueError, match="entries such as"):
        low_dimensional(spaces.Box(0, 255, (4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="at least one pair"):
        train(Demonstrations({"goal": np.zeros((0, 3), np.float32)}, np.zeros((0, 6), np.float32)))
    with pytest.raises(FileNotFoundError, match="no file"):
        make_policy(f"bc:{tmp_path}/nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    config = CloneConfig((("goal", (3,)),), None, 0, 6)
    BehaviourClone(CloneNet(config)).save(tmp_path / "good.safetensors")
    assert make_policy(f"bc:{tmp_path}/good.safetensors")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match="no behaviour clone"):
            make_policy(f"bc:{tmp_path}/{name}.safetensors")
