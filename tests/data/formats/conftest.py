"""Five episodes that every format gets, and the other projects' readers that judge what came of them."""

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sanawm_env.camera.pose import rollout_actions
from sanawm_env.data.episode import Episode

SIZE = (48, 64)
STEP = 4
NAMES = ("000000", "Küche 2", "a/b:c", "000003", "日本")


def make_episode(number: int, steps: int = 3, depth: bool = True) -> Episode:
    """A camera that turns and moves in front of smooth colours, which no codec finds hard."""
    rng = np.random.default_rng(number)
    actions = rng.uniform(-1, 1, (steps, 6)).astype(np.float32)
    c2w = rollout_actions(np.eye(4), actions, STEP, 0.5, 0.4)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / np.array(SIZE).reshape(2, 1, 1)
    phase = rng.uniform(0, 6, 3)
    frames = np.stack(
        [
            np.stack([127 + 100 * np.sin(4 * rows + 3 * columns * k + phase[k] + 0.2 * t) for k in range(3)], -1)
            for t in range(len(c2w))
        ]
    ).astype(np.uint8)
    far = [np.full((1, *SIZE), 1.5 + 0.1 * t + number, np.float32) for t in range(len(c2w))]
    return Episode(
        frames=[frames[:2], frames[2:]],
        c2w=c2w,
        intrinsics=np.array([50.25, 49.5, 31.0, 23.75]),
        size=SIZE,
        frames_per_step=STEP,
        actions=actions,
        rewards=rng.normal(size=steps),
        terminated=number % 2 == 0,
        truncated=number % 2 == 1,
        success=(True, False, None, True, False)[number],
        entries={"goal": rng.normal(size=(steps + 1, 3)).astype(np.float32)},
        text=f"go to the door № {number}",
        depth=far if depth else None,
        measures={"spl": 0.5 + number / 10, "nothing": float("nan")},
        recipe={"format": "sanawm_env.recipe", "checkpoint_hash": "abc", "seed": number},
        name=NAMES[number],
    )


@pytest.fixture
def episodes() -> list[Episode]:
    return [make_episode(number, steps=2 + number % 2) for number in range(5)]


@pytest.fixture
def judge() -> Any:
    """Imports another project's reader; where it is not installed the test is skipped, or fails in .ci/formats."""

    def load(name: str) -> ModuleType:
        if os.environ.get("REQUIRE_FORMATS"):
            return importlib.import_module(name)
        return pytest.importorskip(name)

    return load


def pixels(episode: Episode) -> NDArray[np.uint8]:
    return np.concatenate(list(episode.frames))


@pytest.fixture
def same() -> Any:
    """Compares two episodes: poses to 1e-6, frames exactly or by PSNR, steps exactly, depth to half a unit of it."""

    def compare(found: Episode, wanted: Episode, psnr: float | None = None, depth: float | None = None) -> None:
        assert np.abs(found.c2w - wanted.c2w).max() < 1e-6
        assert np.abs(found.intrinsics - wanted.intrinsics).max() < 1e-6
        a, b = pixels(found), pixels(wanted)
        assert a.shape == b.shape
        if psnr is None:
            assert np.array_equal(a, b)
        else:
            error = np.square(a.astype(float) - b).mean()
            assert 10 * np.log10(255**2 / max(error, 1e-9)) > psnr
        assert np.array_equal(found.actions, wanted.actions) and found.actions.dtype == wanted.actions.dtype
        assert np.array_equal(found.rewards, wanted.rewards)
        assert set(found.entries) == set(wanted.entries)
        for name, values in wanted.entries.items():
            assert np.array_equal(found.entries[name], values)
        for name in ("size", "fps", "frames_per_step", "terminated", "truncated", "success", "text", "recipe"):
            assert getattr(found, name) == getattr(wanted, name), name
        assert found.measures["spl"] == wanted.measures["spl"] and np.isnan(found.measures["nothing"])
        if depth is not None:
            assert found.depth is not None and wanted.depth is not None
            assert np.abs(np.concatenate(list(found.depth)) - np.concatenate(list(wanted.depth))).max() <= depth

    return compare
