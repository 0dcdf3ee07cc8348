"""A policy of its own for each episode: seeds, and what it is made from."""

import sys

import numpy as np
import pytest
from sanawm_env.policies.maker import PolicyMaker, seed_beside

MODULE = """
class Mine:
    def begin(self, env, observation, info): ...
    def act(self, observation, info): ...
"""


def first_draws(policy):
    return policy._rng.normal(size=4).tolist()


def test_seeds_are_counted_up_from_the_setting():
    maker = PolicyMaker("random:smooth", {"seed": 3})
    assert first_draws(maker.make(4)) == np.random.default_rng(7).normal(size=4).tolist()
    assert maker.describe(4) == "random:smooth,seed=7"
    assert PolicyMaker("scripted:follow", {}).describe(4) == "scripted:follow"


def test_a_policy_does_not_draw_what_the_environment_draws():
    seeds = [seed_beside(seed) for seed in range(1000)]
    assert len(set(seeds)) == 1000 and all(0 <= seed < 2**31 for seed in seeds)
    draws = [np.random.default_rng(seed).random() for seed in seeds]
    theirs = [np.random.default_rng(seed).random() for seed in range(1000)]
    assert abs(np.corrcoef(draws, theirs)[0, 1]) < 0.1


def test_the_digest_tells_of_the_users_own_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = []
    for text in (MODULE, MODULE + "\n# changed\n"):
        (tmp_path / "mine_of_maker.py").write_text(text)
        digests.append(PolicyMaker("mine_of_maker:Mine", {}).digest())
        sys.modules.pop("mine_of_maker")
    assert digests[0] != digests[1] != PolicyMaker("random:smooth", {}).digest()


def test_what_cannot_be_made_is_told_at_once():
    with pytest.raises(ValueError, match="cannot be made"):
        PolicyMaker("scripted:follow", {"speed": 3})
