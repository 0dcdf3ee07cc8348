"""`RemoteSanaWMVectorEnv`: several sessions of a server as one vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from numpy.typing import NDArray

from sanawm_env.envs.options.slots import naming, one_each, read_options, read_seeds, read_slots
from sanawm_env.envs.sensors.batches import join, masked
from sanawm_env.server.client.connection import Connection
from sanawm_env.server.client.session import RemoteSession
from sanawm_env.server.client.values import RemoteSnapshot, plain, read_space

__all__ = ["RemoteSanaWMVectorEnv"]


class RemoteSanaWMVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """
    ## Description
    `SanaWMVectorEnv` at a distance: N sessions of one server, whose steps are sent together. Arguments are those of
    `RemoteSanaWMEnv`; options, masks, seeds, autoreset and info are those of `SanaWMVectorEnv`.

    ```python
    envs = gym.make_vec(
        "sanawm_env.client:RemoteSanaWM-v0", num_envs=4, vectorization_mode="vector_entry_point", url="http://..."
    )
    ```
    """  # noqa: D205, D212

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 16,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        url: str = "",
        token: str | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        encoding: str = "raw",
        patience: float = 60.0,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """See `RemoteSanaWMEnv` and `SanaWMVectorEnv`."""
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer of at least 1; got {num_envs!r}.")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array'; got {render_mode!r}.")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._closed = False
        connection = Connection(url, token, patience=patience)
        self._remotes: list[RemoteSession] = []
        try:
            for _ in range(num_envs):
                self._remotes.append(RemoteSession.create(connection, settings, encoding))
        except BaseException:
            for remote in self._remotes:
                remote.close()
            connection.close()
            raise
        self._settle(render_mode)

    def _settle(self, render_mode: str | None) -> None:
        facts, count = self._remotes[0].facts, len(self._remotes)
        self.num_envs, self.render_mode = count, render_mode
        self.frames_per_step: int = facts["frames_per_step"]
        self.step_seconds: float = facts["step_seconds"]
        self.single_action_space = read_space(facts["action_space"])
        self.single_observation_space = read_space(facts["observation_space"])
        self.action_space = batch_space(self.single_action_space, count)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.metadata = self.metadata | {  # type: ignore[misc]
            "render_fps": facts["fps"] / self.frames_per_step,
            "autoreset_mode": self.autoreset_mode,
        }
        if facts["goal_form"]:
            self.compute_reward = self._remotes[0].compute_reward
        self._seen: list[dict[str, Any] | None] = [None] * count
        self._ended = np.zeros(count, bool)
        self._rngs = [seeding.np_random() for _ in range(count)]

    # -- Gymnasium ----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the episodes of all slots or, with a mask, of some; see `SanaWMVectorEnv`.

        Raises:
            ValueError, TypeError, FileNotFoundError: A seed, mask or option that cannot be used. What the server finds
                wrong with one slot leaves the others begun.
            ResetNeeded: A mask before all slots were reset once.
        """
        chosen, shared, own = read_options(options, self.num_envs)
        seeds = read_seeds(seed, self.num_envs)
        self._require_all(chosen)
        messages = []
        for slot in chosen:
            with naming(slot):
                messages.append(self._remotes[slot].reset_message(seeds[slot], own.get(slot, shared)))
        self._begin(chosen, messages, seeds)
        return self._show(chosen)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Move the cameras and let the worlds follow; see `SanaWMVectorEnv`.

        Raises:
            ResetNeeded: Before the first `reset`; and without autoreset, where an episode has ended.
            ValueError: Another number of actions, or one outside the space: then no slot has moved.
        """
        if self._seen[0] is None:
            raise ResetNeeded("call reset() before step().")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            slots = ", ".join(map(str, np.flatnonzero(self._ended)))
            raise ResetNeeded(
                f"the episode of slot {slots} has ended and autoreset is disabled; "
                "begin another with reset(options={'reset_mask': ...})."
            )
        actions = one_each(actions, self.num_envs, self.action_space.shape)
        moving, anew = np.flatnonzero(~self._ended).tolist(), np.flatnonzero(self._ended).tolist()
        for slot in moving:  # before any slot moves
            if not _holds(self.single_action_space, actions[slot]):
                raise ValueError(
                    f"slot {slot}: the action is not in {self.single_action_space}; got {actions[slot]!r:.80}."
                )
        messages = [self._remotes[slot].numbered("step", action=plain(actions[slot])) for slot in moving]
        messages += [self._remotes[slot].reset_message(None, {}) for slot in anew]
        self._ask([*moving, *anew], messages)
        rewards = np.array([_of(each, "reward") for each in self._seen], np.float64)
        terminated = np.array([_of(each, "terminated") for each in self._seen], bool)
        truncated = np.array([_of(each, "truncated") for each in self._seen], bool)
        self._ended = terminated | truncated
        final: dict[int, dict[str, Any]] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            over = np.flatnonzero(self._ended).tolist()
            for slot in over:
                final[slot] = {
                    "final_obs": _of(self._seen[slot], "observation"),
                    "final_info": _of(self._seen[slot], "info"),
                }
            self._begin(over, [self._remotes[slot].reset_message(None, {}) for slot in over], [None] * self.num_envs)
        observations, infos = self._show(range(self.num_envs))
        for slot, end in final.items():
            infos = self._add_info(infos, end, slot)
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The last frame `(H, W, 3)` of every slot."""
        return None if self.render_mode is None else tuple(remote.last_frame() for remote in self._remotes)

    def close_extras(self, **arguments: Any) -> None:
        """End the sessions."""
        for remote in self._remotes:
            remote.close()

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Random numbers of each slot."""
        return tuple(rng for rng, _ in self._rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each slot."""
        return tuple(seed for _, seed in self._rngs)

    # -- snapshot, restore, fork --------------------------------------------------------------------------

    def snapshot(self, slots: int | Sequence[int] | None = None) -> RemoteSnapshot | list[RemoteSnapshot]:
        """The moments of slots, as handles; a number gives one, a sequence or None a list."""
        taken = [self._remotes[slot].snapshot() for slot in read_slots(slots, self.num_envs)]
        return taken[0] if isinstance(slots, int | np.integer) else taken

    def restore(
        self, moments: RemoteSnapshot | Sequence[RemoteSnapshot], slots: int | Sequence[int] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Put slots back to moments, bit for bit.

        Raises:
            ValueError: Another number of moments than of slots.
        """
        given = [moments] if isinstance(moments, RemoteSnapshot) else list(moments)
        chosen = read_slots(slots, self.num_envs)
        if len(given) != len(chosen):
            raise ValueError(
                f"{len(given)} moment(s) cannot be restored into {len(chosen)} slot(s); give one for each."
            )
        self._require_all(chosen)
        self._ask(chosen, [self._remotes[slot].restore_message(each) for slot, each in zip(chosen, given, strict=True)])
        self._ended = self._ended.copy()
        self._ended[chosen] = False
        return self._show(chosen)

    # -- parts --------------------------------------------------------------------------------------------

    def _begin(self, slots: Sequence[int], messages: list[dict[str, Any]], seeds: Sequence[int | None]) -> None:
        answers = self._ask(slots, messages)
        self._ended = self._ended.copy()
        for slot, answer in zip(slots, answers, strict=True):
            if seeds[slot] is not None:
                self._rngs[slot] = seeding.np_random(seeds[slot])
                self._rngs[slot][0].bit_generator.state = answer["rng"]
            self._ended[slot] = False

    def _ask(self, slots: Sequence[int], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One request per slot, all at once; what they answer is what the slots show."""
        answers = self._remotes[0].connection.ask_all(messages)
        failed: tuple[int, Exception] | None = None
        done = []
        for slot, answer in zip(slots, answers, strict=True):
            if isinstance(answer, Exception):
                failed = failed or (slot, answer)
                continue
            self._seen[slot] = self._remotes[slot].done(answer)
            if answer["rng"] is not None:  # the server drew
                self._rngs[slot][0].bit_generator.state = answer["rng"]
            done.append(answer)
        if failed is not None:
            with naming(failed[0]):
                raise failed[1]
        return done

    def _show(self, slots: Sequence[int]) -> tuple[Any, dict[str, Any]]:
        seen = [_of(each, "observation") for each in self._seen]
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        observations = concatenate(self.single_observation_space, seen, empty)
        mask = np.zeros(self.num_envs, bool)
        mask[list(slots)] = True
        return observations, masked(join([_of(each, "info") for each in self._seen]), mask)

    def _require_all(self, slots: Sequence[int]) -> None:
        if self._seen[0] is None and len(slots) < self.num_envs:
            raise ResetNeeded("some slots cannot begin before the others: first call reset() without a mask.")


def _of(answer: dict[str, Any] | None, key: str) -> Any:
    if answer is None:
        raise ResetNeeded("call reset() first.")
    return answer[key]


def _holds(space: gym.Space[Any], action: Any) -> bool:
    """Whether the server would take an action; it forgives rounding, and any type of number."""
    values = np.asarray(action)
    if values.shape != space.shape or values.dtype.kind not in "fiub":
        return False
    if isinstance(space, gym.spaces.Box):
        return bool((np.abs(values.astype(np.float64)) <= 1 + 1e-6).all())
    return bool(np.isin(values, (0, 1)).all())
