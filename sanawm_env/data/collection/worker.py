"""`Worker`: one model that plays work items, several at a time, and writes them to a store.

It gets items and gives back words (`Done`), both JSON-ready, and knows nothing of who else works: so it can live in
another process.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding

from sanawm_env.data.collection.filters import check_start, make_filters, needs_frames, start_distance
from sanawm_env.data.collection.looks import start_hash
from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.data.collection.player import SlotEnv
from sanawm_env.data.collection.recorder import Done, EpisodeRecorder
from sanawm_env.data.collection.seat import PolicyFailed, Seat, attempt, goal_of, numbers_of, of_slot, text_of
from sanawm_env.data.collection.store import Store
from sanawm_env.data.execution.background import Background
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.simulator import Simulator, StepResult
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.scenes.start_image import built_in, draw_seeds, read_image
from sanawm_env.world.checkpoints.prompts import takes_prompts
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.provenance import frames_depend_on

__all__ = ["WORLD_ARGUMENTS", "Worker"]

WORLD_ARGUMENTS = ("dtype", "precision", "state_precision")
"""Arguments of `SanaWMEnv` that load the world, and are no longer settings where there is one."""


@dataclass(eq=False)
class _Group:
    """Episodes that are stepped in one call: they share model and controls."""

    env: SanaWMEnv
    now: Slots
    seats: list[Seat] = field(default_factory=list)


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
        self._distance = start_distance(plan.keep)
        self._policies = PolicyMaker(plan.policy, plan.policy_settings)
        self._env = SanaWMEnv(model, **self.arguments(plan.item(0)))
        self._envs: dict[tuple[float | None, float], SanaWMEnv] = {}
        self._hashes: dict[int, int] = {}
        self._pictures: dict[str, Any] = {}
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
            simulator.plan(self.options(self._plan.item(number)))
        item = self._plan.item(0)
        env = copy.deepcopy(self._env)
        observation, info = env.reset(seed=item.seed, options=self.options(item))
        self._policies.make(item.policy_seed).begin(self._faced(env), observation, info)

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
        groups: list[_Group] = []
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

    # -- one episode ------------------------------------------------------------------------------------

    def arguments(self, item: Item) -> dict[str, Any]:
        """Arguments of `SanaWMEnv` for an item, without the checkpoint and what loads it."""
        given = {key: value for key, value in self._plan.env.items() if key not in WORLD_ARGUMENTS}
        if self._plan.task is not None:
            given["task"] = self._plan.task
        if item.fov is not None:
            given["fov_deg"] = item.fov
        if item.speed != 1.0:
            given["max_translation"] = self._usual_translation() * item.speed
        return given

    def options(self, item: Item) -> dict[str, Any]:
        """Options of an item's reset, with the picture itself."""
        found: dict[str, Any] = {}
        if item.image is not None:
            if item.image not in self._pictures:
                self._pictures = {item.image: read_image(self._store.root / item.image)}  # one: it may be large
            found["image"] = self._pictures[item.image]
        if item.prompt is not None and takes_prompts(self._model):
            found["prompt"] = item.prompt
        return found

    def _faced(self, env: SanaWMEnv) -> gym.Env[Any, Any]:
        """An environment as the policy is to see it."""
        return habitat_moves(env) if self._plan.discrete else env

    def _usual_translation(self) -> float:
        if (given := self._plan.env.get("max_translation")) is not None:
            return float(given)
        config = self._model.config
        chunk = self._plan.env.get("chunk_frames") or config.chunk_frames
        return config.max_translation * chunk * self._model.vae.temporal_stride

    def _env_of(self, fov: float | None, speed: float, item: Item) -> SanaWMEnv:
        """With an item's settings; the last few are kept."""
        key = fov, speed
        if key not in self._envs:
            while len(self._envs) >= 2 * self._slots + 2:
                del self._envs[next(iter(self._envs))]
            self._envs[key] = SanaWMEnv(self._model, **self.arguments(item))
        return self._envs[key]

    def _begin(self, item: Item, groups: list[_Group], background: Background) -> None:
        """Reset, and let the policy look; an episode that cannot begin is written down at once."""
        env = self._env_of(item.fov, item.speed, item)
        recorder = EpisodeRecorder(
            self._store, item, self._model.config.fps, self._plan.codec, self._filters, self._needs_frames
        )
        self._open = [each for each in self._open if not each.closed] + [recorder]
        seat = Seat(item, recorder, self._entries)
        simulator = env.simulation
        rng = seeding.np_random(item.seed)[0]
        try:
            begun = attempt("reset", lambda: simulator.begin([simulator.plan(self.options(item))], [rng]))
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
        if (reason := self._duplicate(item)) is not None:
            self._end(seat, background, reasons=(reason,))
            return
        group = self._seat(seat, env, begun, groups)
        observations, infos = simulator.show(begun)
        seat.look(of_slot(observations, 0), of_slot(infos, 0))
        seat.env = self._faced(SlotEnv.of(env, lambda: group.now.take(group.seats.index(seat))))
        try:
            seat.policy = attempt("policy", self._policies.make, item.policy_seed)
            attempt("policy.begin", seat.policy.begin, seat.env, seat.observation, seat.info)
        except PolicyFailed as failure:
            self._leave(group, [seat])
            self._end(seat, background, failed=str(failure))
            if not group.seats:
                groups.remove(group)

    def _seat(self, seat: Seat, env: SanaWMEnv, begun: Slots, groups: list[_Group]) -> _Group:
        if self._model.batched:
            for group in groups:
                if group.env.max_translation == env.max_translation:
                    moments = [group.now.take(i) for i in range(len(group.seats))]
                    group.now = Slots.of([*moments, begun.take(0)])
                    group.seats.append(seat)
                    return group
        group = _Group(env, begun, [seat])
        groups.append(group)
        return group

    def _step(self, group: _Group, background: Background) -> None:
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
        simulator = group.env.simulation
        try:
            after, result = simulator.step(group.now, actions)
        except ValueError:
            left = _one_by_one(simulator, group, actions)
            self._part(group, left.failed, background)
            if not group.seats:
                return
            actions, after, result = left.actions, left.after(), left.result()
        group.now = after
        observations, infos = simulator.show(after, result.infos)
        for i, (seat, action) in enumerate(zip(group.seats, actions, strict=True)):
            seat.look(of_slot(observations, i), of_slot(infos, i))
            ends = bool(result.terminated[i]), bool(result.truncated[i])
            seat.step(action, after.step_poses(i), float(result.rewards[i]), *ends)
            background.call(seat.recorder.add, after.step_frames(i), simulator.step_depth(after, i))
        over = [seat for seat in group.seats if seat.ended]
        self._leave(group, over)
        for seat in over:
            self._end(seat, background)

    def _part(self, group: _Group, failed: Mapping[Seat, str], background: Background) -> None:
        """Let the failed ones go."""
        self._leave(group, list(failed))
        for seat, reason in failed.items():
            self._end(seat, background, failed=reason)

    @staticmethod
    def _leave(group: _Group, seats: list[Seat]) -> None:
        stay = [i for i, seat in enumerate(group.seats) if seat not in seats]
        if stay and len(stay) < len(group.seats):
            group.now = group.now.select(stay)
        group.seats = [group.seats[i] for i in stay]

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
        env = self.arguments(item) | {key: plan.env[key] for key in WORLD_ARGUMENTS if key in plan.env}
        about = {
            "checkpoint": plan.checkpoint,
            "checkpoint_hash": plan.checkpoint_hash,
            "checkpoint_name": self._model.config.name,
            "env": env,
            "options": {} if item.prompt is None else {"prompt": item.prompt},
            "image": image,
            "policy": self._policies.describe(item.policy_seed),
            "depends_on": self._depends_on,
        }
        text = text_of(self._env.task, item.prompt)
        played = seat.played(about, text, self._env.frames_per_step, self._model.config.fps, failed, reasons)
        background.call(seat.recorder.finish, played)

    # -- starts that are alike --------------------------------------------------------------------------

    def _duplicate(self, item: Item) -> str | None:
        """Why an item's start is not new; decided by numbers, not by who was played first, so that reruns agree."""
        if self._distance is None:
            return None
        for number in range(item.number + 1):
            if number not in self._hashes:
                self._hashes[number] = self._start_hash(self._plan.item(number))
        earlier = {number: self._hashes[number] for number in range(item.number)}
        return check_start(self._hashes[item.number], earlier, self._distance)

    def _start_hash(self, item: Item) -> int:
        if item.image is not None:
            return start_hash(self.options(item)["image"])
        config = self._model.config
        fov = self._plan.env.get("fov_deg") if item.fov is None else item.fov
        scene, _ = draw_seeds(seeding.np_random(item.seed)[0])
        return start_hash(built_in(scene, config.width, config.height, fov, bool(self._plan.env.get("level"))).image)


@dataclass(eq=False)
class _Left:
    """What is left of a step after some of its slots were refused."""

    actions: list[Any] = field(default_factory=list)
    moments: list[EnvSnapshot] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)
    failed: dict[Seat, str] = field(default_factory=dict)

    def after(self) -> Slots:
        return Slots.of(self.moments)

    def result(self) -> StepResult:
        return StepResult(
            np.concatenate([result.rewards for result in self.results]),
            np.concatenate([result.terminated for result in self.results]),
            np.concatenate([result.truncated for result in self.results]),
            [info for result in self.results for info in result.infos],
        )


def _one_by_one(simulator: Simulator, group: _Group, actions: list[Any]) -> _Left:
    """Step slots by themselves after one of them was refused, so that it takes no other along."""
    left = _Left()
    for i, (seat, action) in enumerate(zip(group.seats, actions, strict=True)):
        try:
            after, result = simulator.step(group.now.select([i]), [action])
        except ValueError as error:
            left.failed[seat] = " ".join(f"step: {type(error).__name__}: {error}".split())
            continue
        left.moments.append(after.only)
        left.results.append(result)
        left.actions.append(action)
    return left


def _as_recorded(action: Any) -> Any:
    """An action in the type in which it goes on record, so that the record gives the same bits.

    What is no array of numbers goes on as it is: the environment says what is wrong with it.
    """
    try:
        return np.asarray(action, np.float32)
    except (TypeError, ValueError):
        return action
