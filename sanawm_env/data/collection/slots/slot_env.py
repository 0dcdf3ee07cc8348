"""What a policy sees of a slot as its environment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot

__all__ = ["SlotEnv"]


class SlotEnv(SanaWMEnv):
    """A face of one slot, for spaces, limits, the task, snapshots and forks.

    Policies read an environment and never step it, so that neither `reset` nor `step` works here. Its moment is taken
    out of the slots only if somebody wants it: planners do, others cost nothing. A fork is a `SanaWMEnv` of its own.
    """

    _present: Callable[[], EnvSnapshot]

    @classmethod
    def of(cls, env: SanaWMEnv, present: Callable[[], EnvSnapshot]) -> SlotEnv:
        """A face with an environment's settings, and the moment that `present` gives."""
        face = object.__new__(cls)
        face.__dict__.update(copy.deepcopy(env).__dict__)
        face._present = present
        return face

    def reset(self, **given: Any) -> Any:
        """Refused."""
        raise RuntimeError("the collection resets this environment; a policy may read and fork it.")

    def step(self, action: Any) -> Any:
        """Refused."""
        raise RuntimeError("the collection steps this environment; a policy may read it, and step a fork of it.")

    def restore(self, snapshot: Any) -> Any:
        """Refused."""
        raise RuntimeError("the collection owns this environment's present; restore a fork of it.")

    def _require(self, call: str) -> Slots:
        return Slots.of([self._present()])

    def __deepcopy__(self, memo: dict[int, Any]) -> SanaWMEnv:
        plain = object.__new__(SanaWMEnv)
        plain.__dict__.update({name: value for name, value in self.__dict__.items() if name != "_present"})
        plain._now = self._require("fork")
        return plain.__deepcopy__(memo)
