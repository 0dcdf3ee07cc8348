"""Who acts in a slot: a policy of its own for each episode, and what it sees of the slot as its environment."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.policies import make_policy

__all__ = ["PolicyMaker", "SlotEnv"]


class PolicyMaker:
    """Makes the policy of an episode, a new one each time, so that none knows what was played before it.

    One that takes a `seed` gets another for each episode, counted up from the setting of that name, or from 0:
    otherwise all episodes would be the same walk, or depend on the order in which they are played.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make one to see whether it can be.

        Args:
            name: Of `make_policy`.
            settings: Its settings.

        Raises:
            ValueError, FileNotFoundError: It cannot be made; names the fix.
        """
        self._name, self._settings = name, dict(settings)
        make_policy(name, **settings)
        self._seeded = "seed" in settings or self._takes_seed()

    def make(self, number: int) -> Any:
        """The policy of an episode with that policy seed."""
        return make_policy(self._name, **self._settings | self._seed(number))

    def describe(self, number: int) -> str:
        """It in words, with its seed, as the command line has it."""
        settings = self._settings | self._seed(number)
        return ",".join([self._name, *(f"{key}={value}" for key, value in settings.items())])

    def _seed(self, number: int) -> dict[str, Any]:
        return {"seed": int(self._settings.get("seed", 0)) + number} if self._seeded else {}

    def _takes_seed(self) -> bool:
        try:
            make_policy(self._name, **self._settings, seed=0)
        except ValueError:  # it has no such setting
            return False
        return True


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
