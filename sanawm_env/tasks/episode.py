"""`Episode`: what a task remembers between two steps, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Episode"]


@dataclass(frozen=True, eq=False)
class Episode:
    """Named arrays that are never written, so that snapshots and forks share them at no cost.

    Being nothing but arrays, an episode lies in a snapshot's safetensors file beside the world's state.
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
    def of(cls, task: str, **values: ArrayLike) -> Episode:
        """An episode from numbers and arrays."""
        return cls(task, {name: np.asarray(value) for name, value in values.items()})

    def __getitem__(self, name: str) -> NDArray:
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def number(self, name: str) -> float:
        """A value of shape () as a Python number."""
        return float(self.values[name])

    def with_(self, **changes: ArrayLike) -> Episode:
        """A copy with some values changed or added."""
        return Episode.of(self.task, **{**self.values, **changes})

    def equal(self, other: Episode | None) -> bool:
        """Whether both hold the same bits."""
        if other is None or self.task != other.task or self.values.keys() != other.values.keys():
            return False
        return all(
            mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
            for mine, theirs in ((value, other.values[name]) for name, value in self.values.items())
        )
