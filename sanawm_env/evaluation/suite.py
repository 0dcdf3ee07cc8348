"""Which parts of an evaluation run on how many scenes, and the runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sanawm_env.evaluation.captions import Captions
from sanawm_env.evaluation.parts import PARTS, Setting
from sanawm_env.evaluation.provenance import numbers_depend_on
from sanawm_env.evaluation.store import PartStore
from sanawm_env.world.model import WorldModel

__all__ = ["SUITES", "Results", "Suite", "run_suite"]

Results = dict[str, dict[int, dict[str, Any]]]
"""Part, then scene seed, then what the part returned."""


@dataclass(frozen=True)
class Suite:
    """Scenes per part; scene seeds count up from one number, and every part takes the first ones."""

    name: str
    scenes: dict[str, int]
    """Number of scenes of each part of `parts.PARTS`."""
    long_s: float = 60.0
    """Seconds of long rollouts."""

    def jobs(self, first_seed: int) -> Iterator[tuple[str, int]]:
        """Part and seed of every piece of work."""
        for part, count in self.scenes.items():
            for seed in range(first_seed, first_seed + count):
                yield part, seed


SUITES = {
    "smoke": Suite("smoke", {part: 1 for part in PARTS}, long_s=20.0),
    "quick": Suite("quick", {"fidelity": 12, "flow": 12, "revisit": 6, "drift": 2, "idle": 1, "random": 4, "steps": 6}),
    "full": Suite(
        "full", {"fidelity": 40, "flow": 40, "revisit": 40, "drift": 12, "idle": 6, "random": 100, "steps": 20}
    ),
}
"""`smoke` shows that everything runs, `quick` takes minutes, `full` is for reports."""


def run_suite(
    world: WorldModel, suite: Suite, first_seed: int, setting: Setting, folder: Path, *, progress: bool = True
) -> Results:
    """Run a suite, or what is left of it.

    Args:
        world: The world.
        suite: What to do.
        first_seed: Scene seeds count up from here.
        setting: How the world is run; its `long_s` is replaced by the suite's.
        folder: Where results of single scenes are kept, and taken up as long as nothing that they depend on changes.
        progress: Show a bar.
    """
    how = replace(setting, long_s=suite.long_s, captions=setting.captions or Captions(world))
    store = PartStore(folder, numbers_depend_on(world) | how.key())
    results: Results = {part: {} for part in suite.scenes}
    jobs = list(suite.jobs(first_seed))
    with tqdm(jobs, unit="scene", disable=not progress) as bar:
        for part, seed in bar:
            bar.set_postfix_str(part)
            done = store.get(part, seed)
            results[part][seed] = done if done is not None else store.put(part, seed, PARTS[part](world, seed, how))
    return results
