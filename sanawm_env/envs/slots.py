"""`Slots`: the present of N rollouts, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.trajectory import KeyboardState
from sanawm_env.envs.sensors.contact import Contact
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.tasks import TaskState
from sanawm_env.world.state import WorldState

__all__ = ["Slots"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Slots:
    """N rollouts in one `WorldState`, each with what its environment knows; see `EnvSnapshot` for the parts.

    Never written: whatever happens to some slots makes a new `Slots`.
    """

    state: WorldState
    """Of N slots."""
    elapsed_steps: tuple[int, ...]
    keyboards: tuple[KeyboardState | None, ...]
    frames: tuple[NDArray[np.uint8] | None, ...]
    """Each `(F, H, W, 3)`; None stands for the state's last frame alone."""
    frame_c2w: tuple[NDArray[np.float64] | None, ...]
    tasks: tuple[TaskState | None, ...]
    depth: tuple[NDArray[np.float32] | None, ...]
    """Each `(H, W)`; None where no sensor asked for it."""
    contacts: tuple[Contact | None, ...]
    """None where contact is not sensed."""

    def __len__(self) -> int:
        return len(self.elapsed_steps)

    @classmethod
    def of(cls, moments: Sequence[EnvSnapshot]) -> Slots:
        """One slot per moment.

        Raises:
            ValueError: The states do not fit together (`WorldState.cat`).
        """
        state = moments[0].state if len(moments) == 1 else WorldState.cat([moment.state for moment in moments])
        return cls(
            state,
            tuple(moment.elapsed_steps for moment in moments),
            tuple(moment.keyboard for moment in moments),
            tuple(moment.frames for moment in moments),
            tuple(moment.frame_c2w for moment in moments),
            tuple(moment.task for moment in moments),
            tuple(moment.depth for moment in moments),
            tuple(moment.contact for moment in moments),
        )

    # -- looking ----------------------------------------------------------------------------------------

    @cached_property
    def c2w(self) -> NDArray[np.float64]:
        """`(N, 4, 4)` poses of the last frames."""
        return self.state.c2w.cpu().numpy()

    @cached_property
    def last_frames(self) -> tuple[NDArray[np.uint8], ...]:
        """The last frame `(H, W, 3)` of each slot."""
        last = [None if frames is None else frames[-1] for frames in self.frames]
        stored = self.state.last_frame.cpu().numpy() if any(frame is None for frame in last) else ()
        return tuple(stored[i] if frame is None else frame for i, frame in enumerate(last))

    def step_frames(self, slot: int) -> NDArray[np.uint8]:
        """Frames `(F, H, W, 3)` of a slot's last step, or its last frame alone where the rest is not known."""
        frames = self.frames[slot]
        return self.last_frames[slot][None] if frames is None else frames

    def step_poses(self, slot: int) -> NDArray[np.float64]:
        """Their poses `(F, 4, 4)`."""
        poses = self.frame_c2w[slot]
        return self.c2w[slot][None] if poses is None else poses

    @cached_property
    def only(self) -> EnvSnapshot:
        """The moment of the only slot: no copy, and the same object each time."""
        (elapsed,), (keyboard,), (frames,), (poses,) = self.elapsed_steps, self.keyboards, self.frames, self.frame_c2w
        return EnvSnapshot(self.state, elapsed, keyboard, frames, poses, self.tasks[0], self.depth[0], self.contacts[0])

    def take(self, slot: int) -> EnvSnapshot:
        """One slot's moment in memory of its own: the bytes of one slot are copied, unless there is no other."""
        if len(self) == 1:
            return self.only
        frames, poses, depth = self.frames[slot], self.frame_c2w[slot], self.depth[slot]
        return EnvSnapshot(
            self.state.select([slot]),
            self.elapsed_steps[slot],
            self.keyboards[slot],
            None if frames is None else frames.copy(),
            None if poses is None else poses.copy(),
            self.tasks[slot],
            None if depth is None else depth.copy(),
            self.contacts[slot],
        )

    # -- new ones from old ------------------------------------------------------------------------------

    def select(self, indices: Sequence[int]) -> Slots:
        """Some slots in the order given; an index may repeat."""
        if list(indices) == list(range(len(self))):
            return self

        def pick(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[i] for i in indices)

        return Slots(
            self.state.select(indices),
            pick(self.elapsed_steps),
            pick(self.keyboards),
            pick(self.frames),
            pick(self.frame_c2w),
            pick(self.tasks),
            pick(self.depth),
            pick(self.contacts),
        )

    def put(self, indices: Sequence[int], others: Slots) -> Slots:
        """These slots, where slot `indices[k]` is slot k of `others`.

        Raises:
            ValueError: The states do not fit together (`WorldState.replace_slots`).
        """
        if list(indices) == list(range(len(self))):
            return others

        def mix(mine: tuple[T, ...], theirs: tuple[T, ...]) -> tuple[T, ...]:
            mixed = list(mine)
            for i, value in zip(indices, theirs, strict=True):
                mixed[i] = value
            return tuple(mixed)

        return Slots(
            self.state.replace_slots(indices, others.state),
            mix(self.elapsed_steps, others.elapsed_steps),
            mix(self.keyboards, others.keyboards),
            mix(self.frames, others.frames),
            mix(self.frame_c2w, others.frame_c2w),
            mix(self.tasks, others.tasks),
            mix(self.depth, others.depth),
            mix(self.contacts, others.contacts),
        )

    def with_tasks(self, tasks: Sequence[TaskState | None]) -> Slots:
        """The same, with other memories of the task."""
        return replace(self, tasks=tuple(tasks))
