"""Episodes on disk: those of the same world and policy come back as they were, failed ones are tried again."""

from dataclasses import replace

from sanawm_env.evaluation.policy.stored import TrialStore
from sanawm_env.evaluation.policy.trials import Trial

TRIAL = Trial("p", "PointNav", 7, "truncated", None, 3, 0.1 + 0.2, 12, 0, 1.5, {"success": 0.0, "spl": 1 / 3})


def test_an_episode_comes_back_as_it_was(tmp_path):
    store = TrialStore(tmp_path, {"checkpoint": "a"})
    assert store.get(7) is None
    store.put(TRIAL)
    assert store.get(7) == TRIAL and store.get(8) is None
    assert TrialStore(tmp_path, {"checkpoint": "a"}).get(7) == TRIAL
    assert TrialStore(tmp_path, {"checkpoint": "b"}).get(7) is None


def test_failed_and_broken_ones_are_not_there(tmp_path):
    store = TrialStore(tmp_path, {})
    store.put(replace(TRIAL, ending="failed", reason="no idea"))
    assert store.get(7) is None
    store.put(TRIAL)
    (path,) = tmp_path.glob("*/episodes/7.json")
    for text in ('{"policy": "p"}', path.read_text()[:20]):
        path.write_text(text)
        assert store.get(7) is None
