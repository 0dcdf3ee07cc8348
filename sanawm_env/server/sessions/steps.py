"""Steps of sessions: those that share a simulator go together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sanawm_env.envs.actions import ActionError
from sanawm_env.envs.simulator import StepResult
from sanawm_env.envs.slots import Slots
from sanawm_env.server import protocol
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.session import Session, content

if TYPE_CHECKING:
    from sanawm_env.server.sessions.host import Host

__all__ = ["step_many"]

Answer = dict[str, Any]


def step_many(host: Host, asked: Sequence[tuple[Session, protocol.Step]]) -> list[Answer | ServerError]:
    """Steps of sessions that share a simulator, in one call; a mistake concerns its own session only."""
    outcomes: list[Any] = [None] * len(asked)
    texts = [content(message) for _, message in asked]
    going: list[int] = []
    for i, (session, message) in enumerate(asked):
        try:
            outcomes[i] = session.repeated(message, texts[i][1])
            if outcomes[i] is None:
                session.require()
                going.append(i)
        except ServerError as error:
            outcomes[i] = error
    if not going:
        return outcomes
    try:
        stepped = _stepped(host, [asked[i] for i in going])
    except (ValueError, TypeError, RuntimeError) as error:
        if len(going) == 1:
            if isinstance(error, RuntimeError):
                raise
            outcomes[going[0]] = ServerError("invalid", " ".join(str(error).split())[:500])
            return outcomes
        for i in going:  # so that the others do not pay for the one
            outcomes[i] = step_many(host, [asked[i]])[0]
        return outcomes
    for i, (after, result, seconds) in zip(going, stepped, strict=True):
        session = asked[i][0]
        try:
            with session.whole():
                answer = session.stepped(asked[i][1].action, after, result, seconds)
                outcomes[i] = session.done(texts[i][0], texts[i][1], answer)
        except ServerError as error:
            outcomes[i] = error
            continue
        host.steps += 1
        host.store.save_moment(session, least=host.limits.save_every)
    return outcomes


def _stepped(host: Host, asked: Sequence[tuple[Session, protocol.Step]]) -> list[tuple[Slots, StepResult, float]]:
    simulator = asked[0][0].simulator
    now = [session.require() for session, _ in asked]
    actions = [_as_action(message.action) for _, message in asked]
    together = now[0] if len(now) == 1 else Slots.of([slots.only for slots in now])
    began = time.perf_counter()
    after, result = simulator.step(together, actions)
    seconds = time.perf_counter() - began
    host.step_seconds.append(seconds)
    if len(now) == 1:
        return [(after, result, seconds)]
    return [(Slots.of([after.take(i)]), _only(result, i), seconds) for i in range(len(now))]


def _only(result: StepResult, i: int) -> StepResult:
    part = slice(i, i + 1)
    return StepResult(result.rewards[part], result.terminated[part], result.truncated[part], list(result.infos[part]))


def _as_action(values: list[Any]) -> Any:
    try:
        return np.array(values)
    except ValueError:
        raise ActionError("action is a list of numbers as the action space has it.") from None
