"""`TaskState`: what a task remembers of an episode between two steps, as a value.

Environments keep it in every snapshot; nobody changes one, so that snapshots and forks share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["TaskState"]


@dataclass(frozen=True, eq=False)
class TaskState:
    """Named arrays that are never written, so that snapshots and forks share them at no cost.

    Being nothing but arrays, it lies in a snapshot's safetensors file beside the world's state.
    """

    task: str
    """Name of the task that made it; another task cannot go on with it."""
    values: Mapping[str, NDArray]
    """By name; numbers are arrays of shape ()."""

    def __post_init__(self) -> None:
        frozen = {}
        for name, value in self.values.items():
            array = np.asarray(value).view()
            array.flags.writeable = False
            frozen[name] = array
        object.__setattr__(self, "values", frozen)

    @classmethod
    def of(cls, task: str, **values: ArrayLike) -> TaskState:
        """A state from numbers and arrays."""
        return cls(task, {name: np.asarray(value) for name, value in values.items()})

    def __getitem__(self, name: str) -> NDArray:
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def number(self, name: str) -> float:
        """A value of shape () as a Python number."""
        return float(self.values[name])

    def with_(self, **changes: ArrayLike) -> TaskState:
        """A copy with some values changed or added."""
        return TaskState.of(self.task, **{**self.values, **changes})

    def equal(self, other: TaskState | None) -> bool:
        """Whether both hold the same bits."""
        if other is None or self.task != other.task or self.values.keys() != other.values.keys():
            return False
        return all(
            mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
            for mine, theirs in ((value, other.values[name]) for name, value in self.values.items())
        )
