"""`Slots`: many rollouts in one `WorldState`, each with the bookkeeping of its environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.trajectory import KeyboardState
from sanawm_env.envs.actions import Controls
from sanawm_env.envs.observations import Observation
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.tasks.state import TaskState
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["Mark", "Slots", "join_observations"]

Move: TypeAlias = tuple[NDArray[np.float64], KeyboardState | None]


@dataclass(frozen=True, eq=False)
class Mark:
    """What an `EnvSnapshot` holds beside the state; see there."""

    elapsed_steps: int
    """Steps since the slot's last reset."""
    keyboard: KeyboardState | None
    """Inertia of the keys; None is at rest."""
    frames: NDArray[np.uint8] | None
    """`(F, H, W, 3)` frames of the last step; None stands for the state's last frame alone. Never written."""
    frame_c2w: NDArray[np.float64] | None
    """`(F, 4, 4)` poses of `frames`."""
    task: TaskState | None
    """What the slot's task remembers."""


@dataclass(frozen=True, eq=False)
class Slots:
    """N rollouts, as a value: whatever happens to some of them makes a new `Slots`."""

    state: WorldState
    """Of N slots."""
    marks: tuple[Mark, ...]
    """One per slot."""

    def __len__(self) -> int:
        return len(self.marks)

    @classmethod
    def of(cls, moments: Sequence[EnvSnapshot]) -> Slots:
        """One slot per moment.

        Raises:
            ValueError: The states do not fit together (`WorldState.cat`).
        """
        state = moments[0].state if len(moments) == 1 else WorldState.cat([moment.state for moment in moments])
        return cls(state, tuple(Mark(m.elapsed_steps, m.keyboard, m.frames, m.frame_c2w, m.task) for m in moments))

    def look(self, slot: int) -> EnvSnapshot:
        """One slot's moment in the memory of this value: cheap, but it keeps all slots' memory alive."""
        state = self.state if len(self) == 1 else self.state.map(lambda value: value[slot : slot + 1])
        mark = self.marks[slot]
        return EnvSnapshot(state, mark.elapsed_steps, mark.keyboard, mark.frames, mark.frame_c2w, mark.task)

    def take(self, slot: int) -> EnvSnapshot:
        """One slot's moment in memory of its own: the bytes of one slot are copied."""
        mark = self.marks[slot]
        frames = None if mark.frames is None else mark.frames.copy()
        poses = None if mark.frame_c2w is None else mark.frame_c2w.copy()
        return EnvSnapshot(self.state.select([slot]), mark.elapsed_steps, mark.keyboard, frames, poses, mark.task)

    def select(self, indices: Sequence[int]) -> Slots:
        """Some slots in the order given; an index may repeat."""
        if list(indices) == list(range(len(self))):
            return self
        return Slots(self.state.select(indices), tuple(self.marks[i] for i in indices))

    def put(self, indices: Sequence[int], others: Slots) -> Slots:
        """These slots, where slot `indices[k]` is slot k of `others`.

        Raises:
            ValueError: The states do not fit together (`WorldState.replace_slots`).
        """
        if list(indices) == list(range(len(self))):
            return others
        marks = list(self.marks)
        for i, mark in zip(indices, others.marks, strict=True):
            marks[i] = mark
        return Slots(self.state.replace_slots(indices, others.state), tuple(marks))

    def remember(self, slot: int, task: TaskState | None) -> Slots:
        """These slots, where one's task remembers something else."""
        if task is self.marks[slot].task:
            return self
        marks = list(self.marks)
        marks[slot] = replace(marks[slot], task=task)
        return Slots(self.state, tuple(marks))

    def move(self, slot: int, controls: Controls, action: Any) -> Move:
        """Poses `(F, 4, 4)` of a slot's next frames, and its keyboard after them.

        Raises:
            ValueError: The action does not lie in the space.
        """
        return controls.move(self.state.c2w[slot].cpu().numpy(), self.marks[slot].keyboard, action)

    def advance(self, model: WorldModel, moves: Sequence[Move], sigmas: Sequence[float]) -> Slots:
        """One step of every slot, along the poses of its `move`."""
        poses = np.stack([path for path, _ in moves])
        state, frames = model.step(self.state, poses, sigmas=sigmas)
        marks = [
            Mark(mark.elapsed_steps + 1, keyboard, frames[k], poses[k], mark.task)
            for k, (mark, (_, keyboard)) in enumerate(zip(self.marks, moves, strict=True))
        ]
        return Slots(state, tuple(marks))


def join_observations(observations: Sequence[Observation]) -> Observation:
    """Observations of single environments as one of the vector environment."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: np.stack([cast(dict[str, Any], o)[key] for o in observations]) for key in first}
    return np.stack(cast(Sequence[NDArray[np.uint8]], observations))
