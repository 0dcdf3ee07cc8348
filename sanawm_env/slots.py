"""`Slots`: many rollouts in one `WorldState`, each with the bookkeeping of its environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sanawm_env.actions import Controls
from sanawm_env.camera.trajectory import KeyboardState
from sanawm_env.observations import Observation
from sanawm_env.snapshot import EnvSnapshot
from sanawm_env.state import WorldState
from sanawm_env.world import WorldModel

__all__ = ["Mark", "Slots", "join_observations", "level_frames"]

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
        return cls(state, tuple(Mark(m.elapsed_steps, m.keyboard, m.frames, m.frame_c2w) for m in moments))

    def look(self, slot: int) -> EnvSnapshot:
        """One slot's moment in the memory of this value: cheap, but it keeps all slots' memory alive."""
        state = self.state if len(self) == 1 else self.state.map(lambda value: value[slot : slot + 1])
        mark = self.marks[slot]
        return EnvSnapshot(state, mark.elapsed_steps, mark.keyboard, mark.frames, mark.frame_c2w)

    def take(self, slot: int) -> EnvSnapshot:
        """One slot's moment in memory of its own: the bytes of one slot are copied."""
        mark = self.marks[slot]
        frames = None if mark.frames is None else mark.frames.copy()
        poses = None if mark.frame_c2w is None else mark.frame_c2w.copy()
        return EnvSnapshot(self.state.select([slot]), mark.elapsed_steps, mark.keyboard, frames, poses)

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
        steps = enumerate(zip(self.marks, moves, strict=True))
        return Slots(
            state, tuple(Mark(m.elapsed_steps + 1, keyboard, frames[k], poses[k]) for k, (m, (_, keyboard)) in steps)
        )


def join_observations(observations: Sequence[Observation]) -> Observation:
    """Observations of single environments as one of the vector environment."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: np.stack([cast(dict[str, Any], o)[key] for o in observations]) for key in first}
    return np.stack(cast(Sequence[NDArray[np.uint8]], observations))


def level_frames(infos: Sequence[dict[str, Any]]) -> None:
    """Give all infos as many frames (and poses of frames), by repeating each one's first.

    Gymnasium's arrays over slots have one shape, but a slot after its reset shows one frame and others F.
    """
    most = max((len(info["frames"]) for info in infos), default=0)
    for info in infos:
        for key in ("frames", "frame_c2w"):
            if missing := most - len(info[key]):
                info[key] = np.concatenate([np.repeat(info[key][:1], missing, axis=0), info[key]])
