"""Reward terms: weights, the user's own, and what is refused."""

import pytest

from sanawm_env import SanaWMEnv
from sanawm_env.tasks import Explore, ImageNav, PointNav

FORWARD = [0, 0, 1, 0, 0, 0]


def test_the_reward_is_the_sum_of_the_terms_in_info(world):
    env = SanaWMEnv(world, task=PointNav(rewards={"progress": 2.0, "smoothness": 0.5, "drift": 1.0}))
    _, before = env.reset(seed=3)
    _, reward, _, _, info = env.step(FORWARD)
    terms = info["reward_terms"]
    assert set(terms) == {"progress", "smoothness", "drift"}
    assert reward == pytest.approx(sum(terms.values()))
    assert terms["progress"] == pytest.approx(2 * (before["distance_to_goal"] - info["distance_to_goal"]))
    assert terms["smoothness"] == pytest.approx(-0.5)  # from rest to a full component
    assert terms["drift"] == pytest.approx(-info["drift"]) and info["drift"] > 0


def test_a_steady_motion_costs_no_smoothness(world):
    env = SanaWMEnv(world, task=PointNav(rewards={"smoothness": 1.0}))
    env.reset(seed=3)
    env.step(FORWARD)
    assert env.step(FORWARD)[1] == pytest.approx(0, abs=1e-12)


def test_a_function_of_the_user_counts_with_its_weight(world):
    task = PointNav(rewards={"ahead": 3.0}, terms={"ahead": lambda step: step.c2w[2, 3]})
    env = SanaWMEnv(world, task=task, max_translation=0.5)
    env.reset(seed=3)
    assert env.step(FORWARD)[1] == pytest.approx(1.5)


def test_similarity_adds_up_to_the_gain_over_the_episode(world):
    env = SanaWMEnv(world, task=ImageNav(rewards={"goal_similarity": 1.0}))
    from sanawm_env.tasks.rewards import similarity

    obs, info = env.reset(seed=3)
    first = similarity(info["frames"][-1], obs["goal_image"])
    total = 0.0
    for _ in range(3):
        _, reward, _, _, info = env.step(FORWARD)
        total += reward
    assert total == pytest.approx(similarity(info["frames"][-1], obs["goal_image"]) - first)


def test_novelty_counts_new_views_once(world):
    env = SanaWMEnv(world, task=Explore(rewards={"novelty": 1.0}, cell=0.5), max_translation=1.0)
    env.reset(seed=0)
    forward = env.step(FORWARD)
    back = env.step([0, 0, -1, 0, 0, 0])
    assert forward[1] >= 1 and back[1] == 0


@pytest.mark.parametrize(
    ("rewards", "terms", "words"),
    [
        ({"progess": 1.0}, {}, "unknown reward term 'progess'; known are"),
        ({"novelty": 1.0}, {}, "needs counted views"),
        ({"progress": float("nan")}, {}, "must be a finite number"),
        ({"progress": "much"}, {}, "must be a finite number"),
        ({"own": 1.0}, {"own": 3}, "must be a function"),
        ({}, {"own": lambda step: 0.0}, "has no weight"),
    ],
)
def test_bad_rewards_are_refused_when_the_task_is_made(rewards, terms, words):
    with pytest.raises(ValueError, match=words):
        PointNav(rewards=rewards, terms=terms)


def test_a_term_that_gives_nan_is_named_and_nothing_has_changed(world):
    env = SanaWMEnv(world, task=PointNav(rewards={"own": 1.0}, terms={"own": lambda step: float("nan")}))
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ValueError, match="'own' gave nan"):
        env.step(FORWARD)
    assert env.snapshot().equal(before)
