import numpy as np
import pytest
from sanawm_env.policies.imitation import train

from sanawm_env.data.episode import Episode
from sanawm_env.data.imitation import demonstrations


def episode(seed: int = 0, steps: int = 3, **changes) -> Episode:
    rng = np.random.default_rng(seed)
    count = 1 + 2 * steps
    c2w = np.tile(np.eye(4), (count, 1, 1))
    c2w[:, 2, 3] = np.arange(count)
    frames = np.full((count, 8, 16, 3), np.arange(count, dtype=np.uint8)[:, None, None, None])
    values = {
        "frames": [frames[:4], frames[4:]],
        "c2w": c2w,
        "intrinsics": np.array([10.0, 10, 8, 4]),
        "size": (8, 16),
        "frames_per_step": 2,
        "actions": rng.uniform(-1, 1, (steps, 6)).astype(np.float32),
        "rewards": np.zeros(steps),
        "entries": {"goal": rng.normal(size=(steps + 1, 3)).astype(np.float32)},
        "name": f"{seed:06d}",
    }
    return Episode(**values | changes)


def test_a_pair_is_what_was_seen_before_the_step_and_the_action():
    one = episode()
    data = demonstrations([one, episode(1)], image_size=(8, 16))
    assert len(data) == 6
    assert np.array_equal(data.actions[:3], one.actions)
    assert np.array_equal(data.entries["goal"][:3], one.entries["goal"][:3])
    assert data.entries["pose"][:3, 2].tolist() == [0, 2, 4]  # metres ahead at frames 0, 2, 4
    assert data.entries["image"][:3, 0, 0, 0].tolist() == [0, 2, 4]


def test_a_clone_learns_from_them():
    episodes = [episode(i, 8) for i in range(6)]
    for one in episodes:
        one.actions[:] = np.tanh(one.entries["goal"][:-1, [0, 1, 2, 0, 1, 2]])
    data = demonstrations(episodes, ["goal"])
    _, losses = train(data, epochs=40)
    assert losses[-1] < losses[0] / 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no entry 'goal'"):
        demonstrations([episode(), episode(1, entries={})])
    with pytest.raises(ValueError, match="no actions"):
        demonstrations([episode(0, 0, entries={})])
    with pytest.raises(ValueError, match="no episodes"):
        demonstrations([])
    with pytest.raises(ValueError, match="other actions"):
        demonstrations([episode(), episode(1, actions=np.zeros((3, 7), np.float32))])
    with pytest.raises(ValueError, match="7 poses and 4 frames"):
        demonstrations([episode(frames=[np.zeros((4, 8, 16, 3), np.uint8)])], image_size=(8, 16))


def test_entries_have_a_row_per_step_and_a_last_one():
    with pytest.raises(ValueError, match="must have 4 rows"):
        episode(entries={"goal": np.zeros((3, 3), np.float32)})
