"""`Worker`: one model that plays work items, several at a time, and writes them to a store.

It gets items and gives back words (`Done`), both JSON-ready, and knows nothing of who else works: so it can live in
another process.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from sanawm_env.data.collection.filters import make_filters, needs_frames, start_distance
from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.data.collection.recorder import Done, EpisodeRecorder
from sanawm_env.data.collection.slots.group import Group
from sanawm_env.data.collection.slots.item_envs import ItemEnvs
from sanawm_env.data.collection.slots.seat import PolicyFailed, Seat, attempt, goal_of, numbers_of, of_slot, text_of
from sanawm_env.data.collection.slots.slot_env import SlotEnv
from sanawm_env.data.collection.starts import Starts
from sanawm_env.data.collection.store import Store
from sanawm_env.data.execution.background import Background
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.slots import Slots
from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.provenance import frames_depend_on

__all__ = ["Worker"]


class Worker:
    """Plays items with the slots of one model.

    On the CPU, where slots are computed one after another anyway, each is stepped by itself: no state is copied, and
    every bit is that of a lone `SanaWMEnv`. Where slots share a forward (`WorldModel.batched`) all with the same speed
    do.
    """

    def __init__(self, model: WorldModel, plan: Plan, store: Store, slots: int) -> None:
        """Make everything that can be refused.

        Args:
            model: The world.
            plan: What was asked for.
            store: Where episodes go; opened by whoever made this.
            slots: Episodes at a time, at least 1.

        Raises:
            ValueError: A setting of the environment, a policy or a filter that cannot be.
        """
        if slots < 1:
            raise ValueError(f"--slots must be at least 1; got {slots}.")
        self._model, self._plan, self._store, self._slots = model, plan, store, slots
        self._filters, self._needs_frames = make_filters(plan.keep), needs_frames(plan.keep)
        distance = start_distance(plan.keep)
        self._policies = PolicyMaker(plan.policy, plan.policy_settings)
        self._envs = ItemEnvs(model, plan, store.root, most=2 * slots + 2)
        self._env = SanaWMEnv(model, **self._envs.arguments(plan.item(0)))
        self._starts = Starts(plan, distance, self._envs.first_picture)
        self._depends_on = frames_depend_on(model)
        self._entries = numbers_of(self._env.simulation)
        self._open: list[EpisodeRecorder] = []

    def check(self) -> None:
        """Begin an episode in the mind: what every episode would stumble over is told now.

        Raises:
            ValueError: A picture or prompt that the world cannot use, or an environment in which the policy cannot act.
        """
        simulator = self._env.simulation
        for number in range(max(1, len(self._plan.images))):
            simulator.plan(self._envs.options(self._plan.item(number)))
        item = self._plan.item(0)
        env = copy.deepcopy(self._env)
        observation, info = env.reset(seed=item.seed, options=self._envs.options(item))
        self._policies.make(item.policy_seed).begin(self._envs.faced(env), observation, info)

    @property
    def env(self) -> SanaWMEnv:
        """An environment with the settings of item 0."""
        return self._env

    def play(self, items: Iterator[Item]) -> Iterator[Done | None]:
        """Play items until there are none.

        Args:
            items: Asked for one by one as slots fall free, so that others may take from it, too.

        Yields:
            What lies on the disk, in the order in which it came there; None after each step in between, for a caller
            that watches the clock. Closing the generator throws away what is in play, and nothing else.

        Raises:
            OSError: The disk is full, say. What is done stays; the rest can be played again.
            Exception: What the world or a filter of the user's own raises.
        """
        background = Background()
        groups: list[Group] = []
        try:
            while True:
                while sum(len(group.seats) for group in groups) < self._slots:
                    if (item := next(items, None)) is None:
                        break
                    self._begin(item, groups, background)
                if not groups:
                    break
                for group in groups:
                    self._step(group, background)
                groups = [group for group in groups if group.seats]
                yield from background.results()
                yield None
            yield from background.finish()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                background.stop()  # what has ended is written down before we go
            else:
                background.abandon()
            for recorder in self._open:
                recorder.discard()
            self._open = []
            raise

    def _begin(self, item: Item, groups: list[Group], background: Background) -> None:
        """Reset, and let the policy look; an episode that cannot begin is written down at once."""
        env = self._envs.of(item)
        recorder = EpisodeRecorder(
            self._store, item, self._model.config.fps, self._plan.codec, self._filters, self._needs_frames
        )
        self._open = [each for each in self._open if not each.closed] + [recorder]
        seat = Seat(item, recorder, self._entries)
        simulator = env.simulation
        rng = seeding.np_random(item.seed)[0]
        try:
            begun = attempt("reset", lambda: simulator.begin([simulator.plan(self._envs.options(item))], [rng]))
        except PolicyFailed as failure:
            if not isinstance(failure.__cause__, ValueError):  # the world's own trouble would befall all that follow
                raise (failure.__cause__ or failure) from None
            self._end(seat, background, failed=str(failure))
            return
        seat.intrinsics = begun.state.intrinsics[0].cpu().numpy().astype(np.float64)
        seat.goal = goal_of(begun)
        frame = begun.last_frames[0][None]
        seat.begin(frame, begun.c2w[:1])
        background.call(recorder.add, frame, simulator.step_depth(begun, 0))
        if (reason := self._starts.duplicate(item)) is not None:
            self._end(seat, background, reasons=(reason,))
            return
        group = self._seat(seat, env, begun, groups)
        observations, infos = simulator.show(begun)
        seat.look(of_slot(observations, 0), of_slot(infos, 0))
        seat.env = self._envs.faced(SlotEnv.of(env, lambda: group.present(seat)))
        try:
            seat.policy = attempt("policy", self._policies.make, item.policy_seed)
            attempt("policy.begin", seat.policy.begin, seat.env, seat.observation, seat.info)
        except PolicyFailed as failure:
            group.leave([seat])
            self._end(seat, background, failed=str(failure))
            if not group.seats:
                groups.remove(group)

    def _seat(self, seat: Seat, env: SanaWMEnv, begun: Slots, groups: list[Group]) -> Group:
        if self._model.batched:
            for group in groups:
                if group.env.max_translation == env.max_translation:
                    group.join(seat, begun)
                    return group
        group = Group(env, begun, [seat])
        groups.append(group)
        return group

    def _step(self, group: Group, background: Background) -> None:
        """One step of all episodes of a group; those that end leave it."""
        actions, failed = [], {}
        for seat in group.seats:
            try:
                actions.append(_as_recorded(attempt("policy.act", seat.act)))
            except PolicyFailed as failure:
                failed[seat] = str(failure)
        self._part(group, failed, background)
        if not group.seats:
            return
        stepped = group.step(actions)
        self._part(group, stepped.failed, background)
        if (result := stepped.result) is None:
            return
        simulator, after = group.env.simulation, group.now
        observations, infos = simulator.show(after, result.infos)
        for i, (seat, action) in enumerate(zip(group.seats, stepped.actions, strict=True)):
            seat.look(of_slot(observations, i), of_slot(infos, i))
            ends = bool(result.terminated[i]), bool(result.truncated[i])
            seat.step(action, after.step_poses(i), float(result.rewards[i]), *ends)
            background.call(seat.recorder.add, after.step_frames(i), simulator.step_depth(after, i))
        over = [seat for seat in group.seats if seat.ended]
        group.leave(over)
        for seat in over:
            self._end(seat, background)

    def _part(self, group: Group, failed: Mapping[Seat, str], background: Background) -> None:
        """Let the failed ones go."""
        group.leave(failed)
        for seat, reason in failed.items():
            self._end(seat, background, failed=reason)

    def _end(
        self, seat: Seat, background: Background, *, failed: str | None = None, reasons: tuple[str, ...] = ()
    ) -> None:
        """Hand the episode over to be judged and written down.

        Args:
            seat: The episode.
            background: Who writes.
            failed: Why it could not go on; None if it could.
            reasons: What speaks against it otherwise.
        """
        item, plan = seat.item, self._plan
        image = None
        if item.image is not None:
            image = {"file": item.image, "sha256": Path(item.image).stem}
        about = {
            "checkpoint": plan.checkpoint,
            "checkpoint_hash": plan.checkpoint_hash,
            "checkpoint_name": self._model.config.name,
            "env": self._envs.recorded(item),
            "options": {} if item.prompt is None else {"prompt": item.prompt},
            "image": image,
            "policy": self._policies.describe(item.policy_seed),
            "depends_on": self._depends_on,
        }
        text = text_of(self._env.task, item.prompt)
        played = seat.played(about, text, self._env.frames_per_step, self._model.config.fps, failed, reasons)
        background.call(seat.recorder.finish, played)


def _as_recorded(action: Any) -> Any:
    """An action in the type in which it goes on record, so that the record gives the same bits.

    What is no array of numbers goes on as it is: the environment says what is wrong with it.
    """
    try:
        return np.asarray(action, np.float32)
    except (TypeError, ValueError):
        return action
