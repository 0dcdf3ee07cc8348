"""All ranges of seeds in one place: which scenes and episodes are whose.

A *scene seed* makes one procedural scene. A *reset seed* is what `env.reset(seed=...)` takes: from it the environment
draws a scene seed among `WORLD_SEEDS`. The two kinds are numbers of different things and may be equal.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BENCH_SEEDS",
    "EVAL_SEEDS",
    "HELD_OUT_RESETS",
    "LEARNER_RESETS",
    "STAGE_SEEDS",
    "SUITE_SEEDS",
    "TRAINING_RESETS",
    "TRAIN_SEEDS",
    "VALIDATION_SEEDS",
    "WORLD_SEEDS",
    "SceneSeeds",
    "check_training_seeds",
]

TRAIN_SEEDS = range(0, 10_000_000)
"""Scenes of training a world: those that it learns from and, last, those that a run looks at as it goes on."""
WORLD_SEEDS = range(10_000_000, 20_000_000)
"""Scenes of the environment's own first frames. Nobody trains a world on them."""
EVAL_SEEDS = range(20_000_000, 30_000_000)
"""Scenes of evaluating worlds. Nobody trains on them."""

STAGE_SEEDS = {
    "world": range(0, 6_000_000),  # and distillation, which goes on from a trained world
    "depth": range(6_000_000, 7_000_000),
    "decoder": range(7_000_000, 8_000_000),
    "vae": range(8_000_000, 9_000_000),
}
"""Parts of `TRAIN_SEEDS`: what each stage of training learns from."""
VALIDATION_SEEDS = range(9_000_000, 10_000_000)
"""The last part of `TRAIN_SEEDS`: contact sheets and reported errors of all stages, which none learns from."""

SUITE_SEEDS = range(20_000_000, 25_000_000)
"""Part of `EVAL_SEEDS`: `sanawm evaluate` and the other checks."""
BENCH_SEEDS = range(25_000_000, 30_000_000)
"""Part of `EVAL_SEEDS`: our bench."""

TRAINING_RESETS = range(0, 1_000_000)
"""Reset seeds of training policies."""
HELD_OUT_RESETS = range(1_000_000, 2_000_000)
"""Reset seeds kept for evaluating policies. (The *world* never trained on a scene of any reset, see `WORLD_SEEDS`.)"""
LEARNER_RESETS = range(1_500_000, 2_000_000)
"""Part of `HELD_OUT_RESETS`: evaluations while a policy learns. A final test begins with the ones before, which nobody
has looked at by then."""


def check_training_seeds(seeds: Iterable[int]) -> list[int]:
    """Scene seeds that a world may learn from, as a list.

    Raises:
        ValueError: One that is kept for something else.
    """
    found = [int(seed) for seed in seeds]
    for seed in found:
        if seed not in TRAIN_SEEDS or seed in VALIDATION_SEEDS:
            kept = {"validation": VALIDATION_SEEDS, "the environment": WORLD_SEEDS, "evaluation": EVAL_SEEDS}
            owner = next((f", which is kept for {name}" for name, part in kept.items() if seed in part), "")
            raise ValueError(
                f"training may not use scene seed {seed}{owner}; choose a first_seed in "
                f"{TRAIN_SEEDS.start}..{VALIDATION_SEEDS.start - 1}."
            )
    return found


class SceneSeeds:
    """The scenes that one process of a training run learns from: every training draw goes through `take`.

    The processes take turns along the stage's part of `TRAIN_SEEDS`, and at its end begin it anew, so that however
    many there are none leaves it. A single process counts up from `first`.
    """

    def __init__(self, first: int, rank: int = 0, ranks: int = 1) -> None:
        """Begin.

        Args:
            first: Where the run begins, or `next_seed` of an earlier call; the part of `TRAIN_SEEDS` around it is used.
            rank: Of this process.
            ranks: Number of processes.

        Raises:
            ValueError: `first` lies outside of what training may use.
        """
        check_training_seeds([first])
        self._part = next(part for part in STAGE_SEEDS.values() if first in part)
        self._at, self._rank, self._ranks = first - self._part.start, rank, ranks

    @property
    def next_seed(self) -> int:
        """Where this run goes on, whatever the number of processes will be then."""
        return self._part[self._at]

    def skip(self, count: int) -> None:
        """Leave out `count` scenes of every process."""
        self._at = (self._at + count * self._ranks) % len(self._part)

    def take(self, count: int) -> list[int]:
        """This process's next `count` seeds."""
        size, first = len(self._part), self._at + self._rank
        seeds = [self._part[(first + i * self._ranks) % size] for i in range(count)]
        self.skip(count)
        return check_training_seeds(seeds)
