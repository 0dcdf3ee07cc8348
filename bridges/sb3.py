"""`SanaWMVecEnv`: `SanaWMVectorEnv` as Stable-Baselines3's vector environment, one model for all slots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from sanawm_env.bridges.infos import info_of_slot
from stable_baselines3.common.vec_env import VecEnv

from sanawm_env.envs.options.slots import read_slots
from sanawm_env.envs.vector_env import SanaWMVectorEnv

__all__ = ["HEAVY_INFO", "SanaWMVecEnv"]

HEAVY_INFO = ("frames", "frame_c2w")
"""Entries of info that only make copies in a training loop: `F` frames per step and slot, and their poses."""

_OF_SLOTS = ("snapshot", "restore", "fork", "reset", "render")
_PER_SLOT = {"np_random", "np_random_seed"}
_SINGLE = {"action_space": "single_action_space", "observation_space": "single_observation_space"}


class SanaWMVecEnv(VecEnv):
    """
    N worlds for Stable-Baselines3, computed by one model.

    The same transitions as `DummyVecEnv` over N single environments with the same seeds and actions, bit for bit on
    the CPU, without N copies of the model.

    ```python
    from stable_baselines3 import PPO
    from sanawm_env.bridges.sb3 import SanaWMVecEnv

    envs = SanaWMVecEnv("SanaWM/PointNav-v0", num_envs=8, obs_size=(48, 84))
    PPO("MultiInputPolicy", envs).learn(10_000)
    ```

    As everywhere in Stable-Baselines3 a slot is reset within the step that ends its episode: its last observation is
    `infos[i]["terminal_observation"]`, its last info the rest of `infos[i]`, and that of its reset in
    `reset_infos[i]`. `infos[i]["TimeLimit.truncated"]` tells time-outs from ends.

    `env_method`, `get_attr` and `set_attr` speak of slots as if each were an environment. `snapshot`, `restore`,
    `fork`, `reset` and `render` work on the slots of `indices`; a method that belongs to no slot, such as
    `compute_reward`, is called once, and its result is given to each. A setting belongs to all slots together.

    Args:
        envs: An environment id, or a vector environment: a `SanaWMVectorEnv` with autoreset mode `SAME_STEP`, or one
            in Gymnasium's vector wrappers.
        num_envs: Slots, where `envs` is an id; 1 if not given.
        leave_out: Entries of info that are not passed on; `()` keeps all.
        **arguments: Of `gym.make_vec`, where `envs` is an id.

    Raises:
        TypeError: Another kind of vector environment.
        ValueError: Another autoreset mode, or arguments for an environment that is made already.
        gymnasium.error.Error: No such id.
    """  # noqa: D212

    def __init__(
        self,
        envs: str | VectorEnv[Any, Any, Any],
        num_envs: int | None = None,
        *,
        leave_out: Collection[str] = HEAVY_INFO,
        **arguments: Any,
    ) -> None:
        """See the class."""
        if isinstance(leave_out, str):
            raise ValueError(
                f"leave_out is a collection of keys; got the string {leave_out!r}, write ({leave_out!r},)."
            )
        if isinstance(envs, str):
            arguments = {"autoreset_mode": AutoresetMode.SAME_STEP} | arguments
            count = 1 if num_envs is None else num_envs
            envs = gym.make_vec(envs, count, vectorization_mode="vector_entry_point", **arguments)
        elif num_envs is not None or arguments:
            given = ", ".join(["num_envs"] * (num_envs is not None) + sorted(arguments))
            raise ValueError(f"{given} belong(s) to an environment that is made from its id; this one is made already.")
        if not isinstance(envs, VectorEnv) or not isinstance(envs.unwrapped, SanaWMVectorEnv):
            raise TypeError(
                f"envs must be an id or a SanaWMVectorEnv, wrapped or not; got {type(envs).__name__}. "
                "For other environments use stable_baselines3.common.env_util.make_vec_env."
            )
        if (mode := envs.unwrapped.autoreset_mode) is not AutoresetMode.SAME_STEP:
            raise ValueError(
                "Stable-Baselines3 resets a slot within the step that ends its episode; "
                f"make the environment with autoreset_mode='SameStep' (it has {mode.value!r})."
            )
        self.envs = envs
        """The vector environment."""
        self.leave_out = frozenset(leave_out)
        """Entries of info that are not passed on."""
        self._actions: Any = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.metadata = envs.metadata | self.metadata

    # -- stepping -----------------------------------------------------------------------------------------

    def reset(self) -> Any:
        """Begin the episodes of all slots, with the seeds of `seed` and the options of `set_options`, once.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used; the message names the slot.
        """
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        options = {"per_slot": [own or None for own in self._options]} if any(self._options) else None
        observations, infos = self.envs.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        self.reset_infos = [self._info(infos, slot) for slot in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: Any) -> None:
        """Take one action per slot, for `step_wait`.

        Raises:
            ValueError: Another number of them, or one that is not finite.
        """
        values = np.asarray(actions)
        if values.ndim == 0 or len(values) != self.num_envs:
            raise ValueError(
                f"actions must be {self.num_envs}, one per slot, of shape {self.action_space.shape} each; "
                f"got an array of shape {values.shape}."
            )
        if values.dtype.kind == "f":
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if len(bad):
                raise ValueError(f"slot {bad[0]}: the action holds NaN or infinity; check the policy.")
        self._actions = values

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Move all slots, and begin anew those whose episodes end.

        Raises:
            ResetNeeded: Before `reset`.
            ValueError: No actions are waiting, or one lies outside the space; the message names the slot.
        """
        if self._actions is None:
            raise ValueError("no actions are waiting; call step_async(actions) before step_wait(), or step(actions).")
        actions, self._actions = self._actions, None
        observations, rewards, terminated, truncated, batch = self.envs.step(actions)
        infos = []
        for slot in range(self.num_envs):
            info = self._info(batch, slot)
            if terminated[slot] or truncated[slot]:
                # The batch speaks of the new episode, but for the statistics that a wrapper has added to it.
                last = info_of_slot(batch["final_info"], slot, self.leave_out)
                if "episode" in info:
                    last["episode"] = info.pop("episode")
                self.reset_infos[slot] = info
                info = last | {"terminal_observation": batch["final_obs"][slot]}
            info["TimeLimit.truncated"] = bool(truncated[slot] and not terminated[slot])
            infos.append(info)
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Options of the next `reset`, for all slots or one dictionary for each.

        Raises:
            ValueError: Another number of dictionaries.
        """
        if isinstance(options, list | tuple) and len(options) != self.num_envs:
            raise ValueError(f"options must be one dictionary, or {self.num_envs}, one per slot; got {len(options)}.")
        super().set_options(options)

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The last frame `(H, W, 3)` of every slot; None each where the environment was made to render nothing."""
        images = self.envs.render()
        return [None] * self.num_envs if images is None else list(images)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    # -- as if each slot were an environment --------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of slots; spaces, random numbers and `state` are a single slot's.

        Raises:
            AttributeError: No such attribute.
            ValueError: No such slot.
        """
        slots, value = self._slots(indices), self._find(_SINGLE.get(attr_name, attr_name))
        if attr_name == "state":
            return [value.select([slot]) for slot in slots]
        return [value[slot] if attr_name in _PER_SLOT else value for slot in slots]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set an attribute of all slots, where it is already there, or else on the outermost wrapper.

        Raises:
            ValueError: Some slots only: they share one environment.
        """
        if len(self._slots(indices)) != self.num_envs:
            raise ValueError(f"slots share one environment; set {attr_name!r} for all of them, without indices.")
        holders = [layer for layer in self._layers() if hasattr(layer, attr_name)]
        setattr(holders[-1] if holders else self.envs, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of slots; see the class for those that work on slots.

        Raises:
            AttributeError: No such method.
            ValueError: No such slot.
        """
        slots = self._slots(indices)
        if method_name in _OF_SLOTS:
            own: Callable[..., Any] = getattr(self, f"_{method_name}_of")
            return [own(slot, *method_args, **method_kwargs) for slot in slots]
        return [self._find(method_name)(*method_args, **method_kwargs)] * len(slots)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None) -> list[bool]:
        """Whether a vector wrapper of that class is around the slots."""
        wrapped = any(isinstance(layer, wrapper_class) for layer in self._layers()[:-1])
        return [wrapped] * len(self._slots(indices))

    # -- parts --------------------------------------------------------------------------------------------

    @property
    def _worlds(self) -> SanaWMVectorEnv:
        return self.envs.unwrapped  # type: ignore[return-value]

    def _info(self, infos: dict[str, Any], slot: int) -> dict[str, Any]:
        return info_of_slot(infos, slot, self.leave_out | {"final_obs", "final_info"})

    def _slots(self, indices: int | Iterable[int] | None) -> list[int]:
        if indices is None or isinstance(indices, int | np.integer):
            return read_slots(indices, self.num_envs)
        return read_slots(list(indices), self.num_envs)

    def _layers(self) -> list[Any]:
        """The vector environment from its outermost wrapper to its core."""
        layers: list[Any] = [self.envs]
        while layers[-1] is not self._worlds:
            layers.append(layers[-1].env)
        return layers

    def _find(self, name: str) -> Any:
        for layer in self._layers():
            if hasattr(layer, name):
                return getattr(layer, name)
        raise AttributeError(f"neither SanaWMVectorEnv nor its wrappers have an attribute {name!r}.")

    def _snapshot_of(self, slot: int) -> Any:
        return self._worlds.snapshot(slot)

    def _restore_of(self, slot: int, snapshot: Any) -> tuple[Any, dict[str, Any]]:
        return self._one(*self._worlds.restore([snapshot], slots=[slot]), slot)

    def _fork_of(self, slot: int, n: int) -> SanaWMVectorEnv:
        return self._worlds.fork(n, slots=slot)

    def _render_of(self, slot: int) -> Any:
        return self.get_images()[slot]

    def _reset_of(
        self, slot: int, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        seeds: list[int | None] = [None] * self.num_envs
        seeds[slot] = seed
        chosen = {"reset_mask": np.arange(self.num_envs) == slot}
        own = [options if i == slot else None for i in range(self.num_envs)]
        return self._one(*self.envs.reset(seed=seeds, options=chosen | {"per_slot": own}), slot)  # type: ignore[arg-type]

    def _one(self, observations: Any, infos: dict[str, Any], slot: int) -> tuple[Any, dict[str, Any]]:
        if isinstance(observations, dict):
            return {key: values[slot] for key, values in observations.items()}, self._info(infos, slot)
        return observations[slot], self._info(infos, slot)
