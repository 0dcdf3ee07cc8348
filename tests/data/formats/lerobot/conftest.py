import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sanawm_env.data import Episode, EpisodeRecipe

SIZE = 64, 96


def moving_frames(count, seed):
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 256, (count // 8 + 10, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([canvas[i : i + SIZE[0], i // 2 : i // 2 + SIZE[1]] for i in range(count)])


def recipe_of(count, every, name="tiny", **changes):
    values = {
        "checkpoint": name,
        "checkpoint_hash": f"hash of {name}",
        "checkpoint_name": name,
        "env": {},
        "seed": 3,
        "options": {},
        "image": None,
        "start": {"scene_seed": 1, "noise_seed": 2, "intrinsics": [60.0, 60.0, 47.5, 31.5], "goal": None},
        "actions": [[0.0] * 6] * ((count - 1) // every),
        "policy": "scripted:orbit",
        "frames": count,
        "frames_per_step": every,
        "size": SIZE,
        "fps": 16.0,
        "digests": [],
        "frames_sha256": "",
        "depends_on": {},
    }
    return EpisodeRecipe(**values | changes).to_dict()


@pytest.fixture
def make_episode():
    """An episode of a walk that never was; deterministic."""

    def make(seed=0, steps=3, every=8, world="tiny", **changes):
        rng = np.random.default_rng(seed)
        count = 1 + steps * every if steps else 20
        c2w = np.tile(np.eye(4), (count, 1, 1))
        c2w[:, :3, :3] = Rotation.from_rotvec(np.linspace(0, 1, count)[:, None] * rng.normal(size=3)).as_matrix()
        c2w[:, :3, 3] = np.linspace(0, 1, count)[:, None] * rng.normal(size=3) * 3
        frames = moving_frames(count, seed)
        values = {
            "frames": [frames[:5], frames[5:]],
            "c2w": c2w,
            "intrinsics": np.array([60.0, 60.0, 47.5, 31.5]),
            "size": SIZE,
            "text": f"walk number {seed % 2}",
        }
        if steps:
            values |= {
                "frames_per_step": every,
                "actions": rng.uniform(-1, 1, (steps, 6)).astype(np.float32),
                "rewards": rng.normal(size=steps),
                "terminated": True,
                "success": seed % 2 == 0,
                "entries": {"goal": rng.normal(size=(steps + 1, 3)).astype(np.float32)},
                "measures": {"spl": 0.5},
                "recipe": recipe_of(count, every, world) if world else None,
            }
        return Episode(**values | changes)

    return make
