"""A step of N slots, and what follows the end of their episodes: Gymnasium's `AutoresetMode`, without its formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from sanawm_env.envs.actions import ActionError
from sanawm_env.envs.sensors.observations import first
from sanawm_env.envs.simulator import Simulator, StepResult
from sanawm_env.envs.slots import Slots

__all__ = ["Flags", "Stepped", "step_slots"]

Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a step made of N slots."""

    slots: Slots
    """The present."""
    ended: Flags
    """`(N,)`, whose episode is over and not begun anew yet."""
    rewards: NDArray[np.float64]
    """`(N,)`; 0 where the step began an episode instead."""
    terminated: Flags
    """`(N,)`, by the task."""
    truncated: Flags
    """`(N,)`, by the task or because time is up."""
    infos: Sequence[dict[str, Any] | None]
    """What the task said of the steps that led to the present, N of them; None where none did."""
    final: dict[int, dict[str, Any]]
    """`final_obs` and `final_info` of slots that the same step ended and began anew."""


def step_slots(
    simulator: Simulator,
    now: Slots,
    ended: Flags,
    actions: Any,
    mode: AutoresetMode,
    rngs: Sequence[np.random.Generator],
) -> Stepped:
    """Step the slots whose episode goes on, and begin new episodes where the mode says so.

    Args:
        simulator: Of all slots.
        now: The present; not modified.
        ended: `(N,)`, whose episode the step before ended; these begin anew, and their action is not looked at.
        actions: One per slot.
        mode: Whether episodes that this step ends begin anew with it.
        rngs: Random numbers of each slot; new episodes draw from them.

    Raises:
        ActionError: An action outside the space; names the slot.
    """
    count = len(now)
    moving, anew = np.flatnonzero(~ended).tolist(), np.flatnonzero(ended).tolist()
    rewards = np.zeros(count)
    terminated, truncated = np.zeros(count, bool), np.zeros(count, bool)
    infos: list[dict[str, Any] | None] = [None] * count
    after = now
    if moving:
        after, result = _advance(simulator, now, moving, actions)
        rewards[moving], terminated[moving], truncated[moving] = result.rewards, result.terminated, result.truncated
        for slot, info in zip(moving, result.infos, strict=False):  # none at all without a task
            infos[slot] = info
    if anew:
        after = after.put(anew, _begin(simulator, anew, rngs))
    ended = terminated | truncated
    final: dict[int, dict[str, Any]] = {}
    if mode is AutoresetMode.SAME_STEP and ended.any():
        over = np.flatnonzero(ended).tolist()
        for slot in over:
            last, known = after.select([slot]), infos[slot]
            observation, shown = simulator.show(last, () if known is None else [known])
            final[slot] = {"final_obs": first(observation), "final_info": first(shown)}
            infos[slot] = None
        after = after.put(over, _begin(simulator, over, rngs))
        ended = np.zeros(count, bool)
    return Stepped(after, ended, rewards, terminated, truncated, infos, final)


def _advance(simulator: Simulator, now: Slots, moving: list[int], actions: Any) -> tuple[Slots, StepResult]:
    """A step of some slots; the others stay."""
    if len(moving) == len(now):
        part, chosen = now, actions
    else:
        part = now.select(moving)
        chosen = actions[moving] if isinstance(actions, np.ndarray) else [actions[slot] for slot in moving]
    try:
        after, result = simulator.step(part, chosen)
    except ActionError as error:
        raise ActionError(f"slot {moving[error.slot]}: {error}", moving[error.slot]) from None
    return now.put(moving, after), result


def _begin(simulator: Simulator, slots: Sequence[int], rngs: Sequence[np.random.Generator]) -> Slots:
    """New episodes of some slots, from the arguments of the environment."""
    return simulator.begin([simulator.plan(None)] * len(slots), [rngs[slot] for slot in slots])
