"""Which parts of an evaluation run on how many scenes, and what of it is done."""

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

__all__ = ["SUITES", "Results", "Suite", "SuiteRun", "run_suite"]

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

    def setting(self, world: WorldModel, setting: Setting) -> Setting:
        """How the suite runs a world: with long rollouts of its own length, and the captions of scenes."""
        return replace(setting, long_s=self.long_s, captions=setting.captions or Captions(world))


_SCENES = {
    "quick": {
        "fidelity": 12, "flow": 12, "revisit": 6, "drift": 2, "idle": 1, "random": 4, "steps": 6, "beyond": 4,
    },
    "full": {
        "fidelity": 40, "flow": 40, "revisit": 40, "drift": 12, "idle": 6, "random": 100, "steps": 20, "beyond": 40,
    },
}  # fmt: skip
SUITES = {"smoke": Suite("smoke", {part: 1 for part in PARTS}, long_s=20.0)} | {
    name: Suite(name, scenes) for name, scenes in _SCENES.items()
}
"""`smoke` shows that everything runs, `quick` takes minutes, `full` is for reports."""


class SuiteRun:
    """Pieces of a suite's work by number, and which of them are stored.

    It holds no world: who does the pieces has one, perhaps in another process, and who waits for them needs none.
    """

    def __init__(self, suite: Suite, first_seed: int, folder: Path, key: dict[str, Any]) -> None:
        """Open a folder of results.

        Args:
            suite: What to do.
            first_seed: Scene seeds count up from here.
            folder: Where results of single scenes are kept.
            key: What they depend on, JSON-ready; those of another key are not taken up.
        """
        self.suite, self.jobs = suite, list(suite.jobs(first_seed))
        self._store = PartStore(folder, key)

    def is_done(self, number: int) -> bool:
        """Whether a piece is stored."""
        return self._store.get(*self.jobs[number]) is not None

    def todo(self) -> list[int]:
        """Pieces that are not stored yet."""
        return [number for number in range(len(self.jobs)) if not self.is_done(number)]

    def do(self, number: int, world: WorldModel, setting: Setting) -> None:
        """Do a piece and store it; `setting` is that of `Suite.setting`."""
        part, seed = self.jobs[number]
        self._store.put(part, seed, PARTS[part](world, seed, setting))

    def results(self) -> Results:
        """All of them.

        Raises:
            LookupError: A piece is not done.
        """
        results: Results = {part: {} for part in self.suite.scenes}
        for part, seed in self.jobs:
            if (found := self._store.get(part, seed)) is None:
                raise LookupError(f"{part} of scene {seed} is not there; do it first.")
            results[part][seed] = found
        return results


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
    how = suite.setting(world, setting)
    run = SuiteRun(suite, first_seed, folder, numbers_depend_on(world) | how.key())
    todo = run.todo()
    with tqdm(todo, initial=len(run.jobs) - len(todo), total=len(run.jobs), unit="scene", disable=not progress) as bar:
        for number in bar:
            bar.set_postfix_str(run.jobs[number][0])
            run.do(number, world, how)
    return run.results()
