"""`Pilot`: a policy of `sanawm_env.policies` at the controls of a session."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.policies.registry import POLICIES, make_policy
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.session import Session, refusing

__all__ = ["Pilot"]


class Pilot:
    """Acts from where the session is. It is called in the host's thread."""

    def __init__(self, name: str, session: Session) -> None:
        """Let the policy look at the present.

        Args:
            name: Of `POLICIES`; a name that would be imported or read from a file is refused.
            session: Where it acts.

        Raises:
            ServerError: `invalid`: no such policy, or it cannot act there.
        """
        if name not in POLICIES:
            raise ServerError("invalid", f"policy is one of {', '.join(POLICIES)}.")
        settings = session.simulator.settings
        arguments = {each.name: getattr(settings, each.name) for each in fields(settings)}
        # The settings of the world itself are the model's.
        for name_of_world in ("device", "dtype", "precision", "state_precision"):
            arguments.pop(name_of_world)
        with refusing():
            self._env = SanaWMEnv(session.simulator.model, **arguments)
            observation, info = self._env.restore(session.require().only)
            self._policy = make_policy(name)
            self._policy.begin(self._env, observation, info)

    def act(self, session: Session) -> list[Any]:
        """The next action, as JSON has it."""
        observation, info = self._env.restore(session.require().only)
        with refusing():
            action: list[Any] = np.asarray(self._policy.act(observation, info)).tolist()
        return action
