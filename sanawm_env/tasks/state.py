"""`TaskState`: what a task remembers of an episode between two steps, as a value.

Environments keep it in every snapshot; nobody changes one, so that snapshots and forks share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["TaskState"]


@dataclass(frozen=True, eq=False)
class TaskState:
    """Named arrays of its own that are never written, so that snapshots and forks share them at no cost.

    Being nothing but plain arrays of numbers, it lies in a snapshot's safetensors file beside the world's state. What
    such a file cannot hold is refused here and not at the first `save`.

    Raises:
        ValueError: A value that is no array of numbers or booleans; names it.
    """

    task: str
    """Name of the task that made it; another task cannot go on with it."""
    values: Mapping[str, NDArray[Any]]
    """By name; numbers are arrays of shape ()."""
    fingerprint: str = ""
    """Settings of that task (`TaskRunner.fingerprint`); empty in snapshot files of before there were any."""

    measures: ClassVar[Mapping[str, float] | None] = None
    """What the task measured where this state was made, so that the next step need not measure again. A cache: no part
    of the value, not in files, None where nobody measured."""

    def __post_init__(self) -> None:
        own = {}
        for name, value in self.values.items():
            if type(value) is np.ndarray and value.base is None and value.dtype.isnative:
                flags = value.flags
                if not flags.writeable and flags.c_contiguous and value.dtype.kind in "biuf" and value.itemsize <= 8:
                    own[name] = value  # another state's
                    continue
            # A copy in one piece and the machine's own byte order, whatever was given: transposed, reversed, mapped.
            array = np.array(value, order="C")
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise ValueError(
                    f"task state {name!r} has dtype {array.dtype}, which no snapshot file can hold; "
                    "keep numbers or booleans of at most 64 bits."
                )
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            array.flags.writeable = False
            own[name] = array
        object.__setattr__(self, "values", own)

    @classmethod
    def of(cls, task: str, **values: ArrayLike) -> TaskState:
        """A state from numbers and arrays."""
        return cls(task, {name: np.asarray(value) for name, value in values.items()})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def number(self, name: str) -> float:
        """A value of shape () as a Python number."""
        return float(self.values[name])

    def with_(self, **changes: ArrayLike) -> TaskState:
        """A copy with some values changed or added."""
        return TaskState(self.task, {**self.values, **changes}, self.fingerprint)  # type: ignore[dict-item]

    def measured(self, measures: Mapping[str, float]) -> TaskState:
        """This very state, with its `measures` noted down."""
        object.__setattr__(self, "measures", measures)
        return self

    def equal(self, other: TaskState | None) -> bool:
        """Whether both hold the same bits of the same task; settings count where both know them."""
        if other is None or self.task != other.task or self.values.keys() != other.values.keys():
            return False
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            return False
        return all(
            mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
            for mine, theirs in ((value, other.values[name]) for name, value in self.values.items())
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> TaskState:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskState, (self.task, dict(self.values), self.fingerprint)  # arrays come back writeable from a pickle
