"""`PolicyMaker`: a policy of its own for each episode."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sanawm_env.policies.registry import FILES, POLICIES, make_policy

__all__ = ["PolicyMaker", "seed_beside"]


def seed_beside(reset_seed: int) -> int:
    """A policy's seed for the episode of a reset seed: it follows from it, and yet gives other random numbers.

    An environment and a policy that were both seeded with 7 would draw from the same stream.
    """
    return int(np.random.SeedSequence([reset_seed, 1]).generate_state(1)[0] >> 1)


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

    def digest(self) -> str:
        """Hash of what the policy is made from: this package's policies, and its own file or module.

        Modules that the user's own module imports are not in it.
        """
        kind, _, rest = self._name.partition(":")
        folder = Path(__file__).parent
        files = sorted(folder.rglob("*.py"))
        if kind in FILES:
            files.append(Path(rest))
        elif self._name not in POLICIES:
            files += [Path(file) for file in [getattr(sys.modules.get(kind), "__file__", None)] if file]
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def _seed(self, number: int) -> dict[str, Any]:
        return {"seed": int(self._settings.get("seed", 0)) + number} if self._seeded else {}

    def _takes_seed(self) -> bool:
        try:
            make_policy(self._name, **self._settings, seed=0)
        except ValueError:  # it has no such setting
            return False
        return True
