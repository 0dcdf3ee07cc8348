"""`Group`: episodes that are stepped in one call."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sanawm_env.data.collection.slots.seat import Seat
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.simulator import StepResult
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot

__all__ = ["Group", "Stepped"]


@dataclass(eq=False)
class Stepped:
    """What a step of a group gave."""

    actions: list[Any] = field(default_factory=list)
    """Of those that went on, in the order of the group's seats."""
    result: StepResult | None = None
    """Of those that went on; None if none did."""
    failed: dict[Seat, str] = field(default_factory=dict)
    """Why the others could not; they have left the group."""


@dataclass(eq=False)
class Group:
    """Episodes that are stepped in one call: they share model and controls."""

    env: SanaWMEnv
    now: Slots
    """A slot for each seat."""
    seats: list[Seat] = field(default_factory=list)

    def join(self, seat: Seat, begun: Slots) -> None:
        """Take in an episode that has begun."""
        moments = [self.now.take(i) for i in range(len(self.seats))]
        self.now = Slots.of([*moments, begun.take(0)])
        self.seats.append(seat)

    def leave(self, seats: Collection[Seat]) -> None:
        """Let episodes go."""
        stay = [i for i, seat in enumerate(self.seats) if seat not in seats]
        if stay and len(stay) < len(self.seats):
            self.now = self.now.select(stay)
        self.seats = [self.seats[i] for i in stay]

    def present(self, seat: Seat) -> EnvSnapshot:
        """The moment of one of its episodes."""
        return self.now.take(self.seats.index(seat))

    def step(self, actions: list[Any]) -> Stepped:
        """Step all of them, by actions in the order of `seats`; where one is refused, each by itself."""
        try:
            self.now, result = self.env.simulation.step(self.now, actions)
        except ValueError:
            return self._one_by_one(actions)
        return Stepped(actions, result)

    def _one_by_one(self, actions: list[Any]) -> Stepped:
        """Step slots by themselves after one of them was refused, so that it takes no other along."""
        stepped, moments, results = Stepped(), [], []
        for i, (seat, action) in enumerate(zip(self.seats, actions, strict=True)):
            try:
                after, result = self.env.simulation.step(self.now.select([i]), [action])
            except ValueError as error:
                stepped.failed[seat] = " ".join(f"step: {type(error).__name__}: {error}".split())
                continue
            moments.append(after.only)
            results.append(result)
            stepped.actions.append(action)
        self.leave(stepped.failed)
        if moments:
            self.now = Slots.of(moments)
            stepped.result = _together(results)
        return stepped


def _together(results: list[StepResult]) -> StepResult:
    return StepResult(
        np.concatenate([result.rewards for result in results]),
        np.concatenate([result.terminated for result in results]),
        np.concatenate([result.truncated for result in results]),
        [info for result in results for info in result.infos],
    )
