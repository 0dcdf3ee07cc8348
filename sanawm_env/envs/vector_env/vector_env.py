"""`SanaWMVectorEnv`: many independent worlds behind one model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, overload

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.face import SimulatorFace
from sanawm_env.envs.options.slots import naming, one_each, read_moments, read_options, read_seeds, read_slots
from sanawm_env.envs.sensors.observations import Observation, masked
from sanawm_env.envs.settings import Settings, check_choice
from sanawm_env.envs.simulator import Moment, ResetPlan, Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.envs.vector_env.autoreset import Flags, step_slots
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.world.model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["SanaWMVectorEnv"]

VectorStep: TypeAlias = tuple[Observation, NDArray[np.float64], Flags, Flags, dict[str, Any]]


class SanaWMVectorEnv(SimulatorFace, VectorEnv[Observation, Any, NDArray[Any]]):
    """
    ## Description
    N worlds ("slots") of `SanaWMEnv` with one model: one `WorldState` of N slots. Slots are independent: each has
    its own seed, first frame, camera, past and clock, and may be reset, snapshot, restored and forked on its own.
    Spaces, rewards, arguments and the meaning of observations and info are those of `SanaWMEnv`, batched.

    ```python
    import gymnasium as gym
    import numpy as np
    import sanawm_env

    envs = gym.make_vec("SanaWM-v0", num_envs=4, vectorization_mode="vector_entry_point", chunk_frames=1)
    observations, infos = envs.reset(seed=7)  # seeds 7, 8, 9, 10
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())

    third = np.array([False, False, True, False])
    envs.reset(seed=[None, None, 3, None], options={"reset_mask": third})  # the others stay where they are

    here = envs.snapshot(2)
    envs.restore([here] * 4)  # all in the place of slot 2
    wide = envs.fork(8, slots=[0, 2])  # 16 worlds: eight copies of each of the two
    ```

    ## Exactness
    On the CPU slot i equals a `SanaWMEnv` with the same seeds and actions bit for bit, whatever its neighbours do,
    because slots are computed one after another. `exact=False` computes them in one forward: matrix products of
    another shape sum in another order, so that a slot then depends on its neighbours by rounding. With the built-in
    checkpoint (CPU, four slots, eight random steps) 2 in 100,000 values of the frames differed, by one level of 255,
    and the state by a relative 4e-6, without growing from step to step.
    The default, `exact=None`, leaves it to the model: exact on the CPU, in one forward elsewhere.

    ## Reset
    `reset(seed=..., options=...)` resets all slots, or those of a mask. `seed` is None, an integer (slot i gets
    `seed + i`) or a list of N integers or None; those of slots that are not reset do not count. `options`:

    | Key                                      | Meaning                                                           |
    |------------------------------------------|-------------------------------------------------------------------|
    | `reset_mask`                             | `(N,)` bool array, which slots to reset; without it all           |
    | `image`, `prompt`, `intrinsics`, `state`,| as in `SanaWMEnv`, for all slots that are reset                   |
    | `goal`                                   |                                                                   |
    | `per_slot`                               | list of N: a slot's own dictionary of those five, in place of the |
    |                                          | shared ones, or None                                              |

    Options count for one episode; autoreset begins the next one from the arguments of the environment.

    ## Autoreset
    `autoreset_mode` decides what follows the end of a slot's episode, as in Gymnasium's own vector environments:

    - `NEXT_STEP` (default): the next `step` resets the slot, ignores its action and gives reward 0.
    - `SAME_STEP`: the step that ends it resets it, too; its last observation and info are in
      `infos["final_obs"]` and `infos["final_info"]`.
    - `DISABLED`: nothing; `step` is refused until the slot was reset through `reset_mask`, or restored.

    ## Info
    The keys of `SanaWMEnv`, each an array over slots, with a mask `_key` of the slots that have it.

    ## Arguments
    | Argument            | Default     | Meaning                                                             |
    |---------------------|-------------|---------------------------------------------------------------------|
    | `num_envs`          | 1           | slots N                                                             |
    | `checkpoint`        | `"small-reflect"` | as in `SanaWMEnv`                                                   |
    | `autoreset_mode`    | `NEXT_STEP` | an `AutoresetMode` or its value; also in `metadata["autoreset_mode"]` |
    | `exact`             | `None`      | see above                                                           |
    | `render_mode`       | `None`      | `"rgb_array"`: `render` gives the last frame of every slot          |
    | `max_episode_steps` | `None`      | truncation in steps, in place of `episode_seconds`; -1 is never     |
    | others              |             | as in `SanaWMEnv`                                                   |

    ## Errors
    Bad seeds, options, actions and states raise before anything changes; the message names the slot.
    """  # noqa: D205, D212

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 16,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    _goes_on = False

    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | Path | WorldModel = DEFAULT_CHECKPOINT,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        exact: bool | None = None,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        """See the class; `arguments` are the fields of `Settings`."""
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer of at least 1; got {num_envs!r}.")
        check_choice("render_mode", render_mode, (None, "rgb_array"))
        if not isinstance(autoreset_mode, AutoresetMode):
            check_choice("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        batched = None if exact is None else not exact
        self._set_up(Simulator(checkpoint, Settings.read(arguments), batched=batched), render_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self._set_slots(int(num_envs))
        self._now: Slots | None = None
        self._ended: Flags = np.zeros(self.num_envs, bool)
        self._rngs = [seeding.np_random() for _ in range(self.num_envs)]

    @classmethod
    def of(cls, env: SanaWMEnv, num_envs: int, *, exact: bool | None = False, refine: bool = False) -> SanaWMVectorEnv:
        """Make a vector environment whose slots are all at the present of a single environment.

        It shares the model, the settings and the task, and nothing else: what planners imagine with. There is no
        limit of steps, and a slot whose task ends just goes on, so that its neighbours need not wait.

        Args:
            env: A `SanaWMEnv` (`env.unwrapped` of a wrapped one) that was reset.
            num_envs: Slots.
            exact: See the class.
            refine: Let the slots run stage 2 where the environment does. Without it, futures cost stage 1 alone, and
                only the one that is lived is refined.

        Raises:
            ResetNeeded: Before the environment's first `reset` or `restore`.
            ValueError: num_envs below 1.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1; got {num_envs}.")
        moment, simulator = env.snapshot(), env.simulation
        if not refine and simulator.model.refiner is not None:
            simulator, moment = simulator.without_refiner(), replace(moment, state=moment.state.without_refiner())
        twin = object.__new__(cls)
        twin._set_up(simulator.with_limit(-1).with_batching(None if exact is None else not exact), None)
        twin.autoreset_mode = AutoresetMode.DISABLED
        twin.metadata = twin.metadata | {"autoreset_mode": AutoresetMode.DISABLED}  # type: ignore[misc]
        twin._goes_on = True
        twin._set_slots(num_envs)
        twin._now = Slots.of([moment]).select([0] * num_envs)
        twin._ended = np.zeros(num_envs, bool)
        twin._rngs = [seeding.np_random() for _ in range(num_envs)]
        return twin

    # -- Gymnasium ----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the episodes of all slots or, with a mask, of some; see the class.

        Returns:
            Observations of all slots, and the info of those that were reset.

        Raises:
            ValueError, TypeError, FileNotFoundError: A seed, mask or option that cannot be used.
            ResetNeeded: A mask before all slots were reset once.
        """
        chosen, shared, own = read_options(options, self.num_envs)
        seeds = read_seeds(seed, self.num_envs)
        self._require_all(chosen)
        # What slots share is read once: it may be a large picture.
        common = self._simulator.plan(shared) if len(own) < len(chosen) else ResetPlan()
        plans: list[ResetPlan] = []
        for slot in chosen:
            with naming(slot):
                plans.append(self._simulator.plan(own[slot]) if slot in own else common)
        # Copies: a reset that fails leaves the random numbers where they were.
        rngs = {
            slot: copy.deepcopy(self._rngs[slot]) if seeds[slot] is None else seeding.np_random(seeds[slot])
            for slot in chosen
        }
        begun = self._simulator.begin(plans, [rngs[slot][0] for slot in chosen])
        self._put(chosen, begun)
        for slot in chosen:
            self._rngs[slot] = rngs[slot]
        return self._show(chosen)

    def step(self, actions: Any) -> VectorStep:
        """Move the cameras and let the worlds follow.

        Args:
            actions: One action per slot; that of a slot which autoreset begins anew is not looked at.

        Returns:
            Observations, rewards, terminations, truncations and info of all slots.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`; and without autoreset, where an episode has ended.
            ValueError: Another number of actions, or one outside the space.
        """
        now = self._require("step")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            slots = ", ".join(map(str, np.flatnonzero(self._ended)))
            raise ResetNeeded(
                f"the episode of slot {slots} has ended and autoreset is disabled; "
                "begin another with reset(options={'reset_mask': ...})."
            )
        actions = one_each(actions, self.num_envs, self.action_space.shape)
        done = step_slots(self._simulator, now, self._ended, actions, self.autoreset_mode, self.np_random)
        self._now, self._ended = done.slots, done.ended & (not self._goes_on)
        observations, infos = self._show(range(self.num_envs), done.infos)
        for slot, end in done.final.items():
            infos = self._add_info(infos, end, slot)
        return observations, done.rewards, done.terminated, done.truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The last frame `(H, W, 3)` of every slot."""
        if self.render_mode is None:
            gym.logger.warn('render() was called without a render mode; pass render_mode="rgb_array" to make_vec.')
            return None
        now = self._require("render")
        return tuple(frame.copy() for frame in now.last_frames)

    def warmup(self, **options: Any) -> dict[str, float]:
        """Run every kind of step once, for as many slots; options and answer are those of `WorldModel.warmup`.

        Slots that share a forward are warmed up in step. Where some begin a new episode the groups are smaller, and
        such steps run as without a warm-up.
        """
        return self._warm_up(self.num_envs, options)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Random numbers of each slot."""
        return tuple(rng for rng, _ in self._rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each slot."""
        return tuple(seed for _, seed in self._rngs)

    # -- snapshot, restore, fork --------------------------------------------------------------------------

    @overload
    def snapshot(self, slots: int) -> EnvSnapshot: ...
    @overload
    def snapshot(self, slots: Sequence[int] | None = None) -> list[EnvSnapshot]: ...
    def snapshot(self, slots: int | Sequence[int] | None = None) -> EnvSnapshot | list[EnvSnapshot]:
        """The moment of a slot, as a value; `SanaWMEnv.restore` takes it as well.

        Args:
            slots: A number gives one `EnvSnapshot`, a sequence a list of them, None a list of all.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
            ValueError: No such slot.
        """
        now = self._require("snapshot")
        taken = [now.take(slot) for slot in read_slots(slots, self.num_envs)]
        return taken[0] if isinstance(slots, int | np.integer) else taken

    def restore(
        self, moments: Moment | Sequence[Moment], slots: int | Sequence[int] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Put slots back to moments, bit for bit; random numbers of later resets are not touched.

        An episode that had ended at its moment goes on, as in `SanaWMEnv`.

        Args:
            moments: One per slot: a sequence of what `SanaWMEnv.restore` takes, or a `WorldState` of many slots.
            slots: Where to put them, in that order; None is all slots.

        Returns:
            Observations of all slots, and the info of those that were restored.

        Raises:
            ValueError, FileNotFoundError: Another number of moments than of slots; one that does not belong
                to this world; or no usable file.
            ResetNeeded: Some slots only, before all were begun once.
        """
        chosen, given = read_slots(slots, self.num_envs), read_moments(moments)
        if len(given) != len(chosen):
            raise ValueError(
                f"{len(given)} moment(s) cannot be restored into {len(chosen)} slot(s); give one for each, repeat "
                f"one with [moment] * {len(chosen)}, or name the slots with restore(moments, slots=[...])."
            )
        self._require_all(chosen)
        adopted: list[EnvSnapshot] = []
        for slot, moment in zip(chosen, given, strict=True):
            with naming(slot):
                adopted.append(self._simulator.adopt(moment))
        self._put(chosen, Slots.of(adopted))
        return self._show(chosen)

    def fork(self, n: int, slots: int | Sequence[int] | None = None) -> SanaWMVectorEnv:
        """Make a vector environment of n copies of slots, the first slot's copies first.

        They share their past, this environment's model and settings, and nothing else; under the same actions
        copies of one slot give the same frames.

        Args:
            n: Copies of each slot.
            slots: Which; None is all.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
            ValueError: n below 1, or no such slot.
        """
        self._require("fork")
        if n < 1:
            raise ValueError(f"fork needs at least one copy; got n = {n}.")
        return self._copy([slot for slot in read_slots(slots, self.num_envs) for _ in range(n)])

    # -- inquiries ----------------------------------------------------------------------------------------

    @property
    def state(self) -> WorldState:
        """The state of all slots; it never changes.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
        """
        return self._require("state").state

    # -- parts --------------------------------------------------------------------------------------------

    def _set_up(self, simulator: Simulator, render_mode: str | None) -> None:
        self._show_simulator(simulator, render_mode)
        self.metadata = self.metadata | {"render_fps": self.render_fps}  # type: ignore[misc]

    def _set_slots(self, count: int) -> None:
        self.num_envs = count
        self.single_action_space = self._simulator.action_space
        self.single_observation_space = copy.deepcopy(self._simulator.observation_space)
        self.action_space = batch_space(self.single_action_space, count)
        self.observation_space = batch_space(self.single_observation_space, count)

    def _put(self, slots: Sequence[int], others: Slots) -> None:
        if len(slots) == self.num_envs:
            self._now = others.select(np.argsort(slots).tolist())
        else:
            self._now = self._require("restore").put(slots, others)
        self._ended = self._ended.copy()
        self._ended[list(slots)] = False

    def _show(
        self, slots: Sequence[int], step_infos: Sequence[dict[str, Any] | None] = ()
    ) -> tuple[Observation, dict[str, Any]]:
        """Observations of all slots, and the info of some in Gymnasium's format; see `Simulator.show`."""
        observations, info = self._simulator.show(self._require("show"), step_infos)
        mask = np.zeros(self.num_envs, bool)
        mask[list(slots)] = True
        return observations, masked(info, mask)

    def _require_all(self, slots: Sequence[int]) -> None:
        if self._now is None and len(slots) < self.num_envs:
            raise ResetNeeded("some slots cannot begin before the others: first call reset() without a mask.")

    # -- copies -------------------------------------------------------------------------------------------

    def _copy(self, slots: Sequence[int]) -> SanaWMVectorEnv:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.metadata = dict(self.metadata)  # type: ignore[misc]
        twin._set_slots(len(slots))
        twin._rngs = [copy.deepcopy(self._rngs[slot]) for slot in slots]
        twin._ended = self._ended[list(slots)]
        twin._now = None if self._now is None else self._now.select(slots)
        if self.spec is not None:
            twin.spec = copy.copy(self.spec)
            twin.spec.kwargs = self.spec.kwargs | {"num_envs": twin.num_envs}
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> SanaWMVectorEnv:
        twin = self._copy(range(self.num_envs))
        memo[id(self)] = twin
        for name in ("single_action_space", "single_observation_space", "action_space", "observation_space"):
            setattr(twin, name, copy.deepcopy(getattr(self, name), memo))  # with their random numbers
        return twin
