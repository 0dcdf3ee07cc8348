"""What single and vector environment show of their simulator alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.tasks import Task
from sanawm_env.world.model import WorldModel

__all__ = ["SimulatorFace"]


class SimulatorFace:
    """The part of an environment that only passes on; Gymnasium's classes are the other part."""

    _simulator: Simulator
    _now: Slots | None

    def _show_simulator(self, simulator: Simulator, render_mode: str | None) -> None:
        """Take over a simulator's numbers."""
        self._simulator = simulator
        self.frames_per_step: int = simulator.frames_per_step
        """Pixel frames F of one step."""
        self.step_seconds: float = simulator.step_seconds
        """World time of one step."""
        self.max_translation: float = simulator.max_translation
        """Metres per step of a full action component (not in action mode `keys`)."""
        self.max_rotation: float = simulator.max_rotation
        """Radians per step of a full action component (likewise)."""
        self.render_mode = render_mode
        if (form := simulator.goal_form) is not None:
            # Only then: learners take any environment that has it for one with goals.
            self.compute_reward = form.compute_reward

    @property
    def render_fps(self) -> float:
        """Pictures per second of world time that `render` is asked for: steps in mode `rgb_array`, else frames."""
        return self.model.config.fps / (self.frames_per_step if self.render_mode == "rgb_array" else 1)

    @property
    def model(self) -> WorldModel:
        """The world model, of all slots."""
        return self._simulator.model

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the components of an action in mode `keys`; empty in the other modes."""
        return self._simulator.keys

    @property
    def task(self) -> Task | None:
        """The task, of all slots; None is a world without one."""
        return self._simulator.task

    @property
    def simulation(self) -> Simulator:
        """The parts that stay the same from episode to episode, for what is built on this environment."""
        return self._simulator

    @property
    def max_episode_steps(self) -> int | None:
        """Steps after which an episode is truncated, in place of `episode_seconds`; -1 is never. It may be set."""
        return self._simulator.settings.max_episode_steps

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:
        self._simulator = self._simulator.with_limit(steps)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels of the sampler."""
        return self._simulator.sigmas

    @property
    def step_poses(self) -> tuple[NDArray[np.float64], ...]:
        """Poses `(F, 4, 4)` of the frames of each slot's last step; `(1, 4, 4)` where no step led to the present.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
        """
        now = self._require("step_poses")
        return tuple(now.step_poses(slot) for slot in range(len(now)))

    def _warm_up(self, slots: int, options: dict[str, Any]) -> dict[str, float]:
        chunk = self.frames_per_step // self.model.vae.temporal_stride
        return self.model.warmup(slots, chunk, **({"sigmas": self.sigmas} | options))

    def _require(self, call: str) -> Slots:
        if self._now is None:
            raise ResetNeeded(f"call reset() before {call}().")
        return self._now
