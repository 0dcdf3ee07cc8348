"""`Seat`: one episode in play: who acts, what has happened, and what of it goes on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sanawm_env.data.collection.plan import Item
from sanawm_env.data.collection.recorder import EpisodeRecorder, Played
from sanawm_env.envs.sensors.observations import Observation
from sanawm_env.envs.simulator import Simulator
from sanawm_env.envs.slots import Slots
from sanawm_env.scenes.start_image import draw_seeds
from sanawm_env.tasks import Task

__all__ = ["PolicyFailed", "Seat", "attempt", "goal_of", "numbers_of", "of_slot", "text_of"]

_LONGEST_REASON = 300
_CLOCKS = ("frame_index", "time", "state_bytes")
"""Of info: what tells the time, but not how well it went."""


class PolicyFailed(Exception):
    """A policy, or what it wanted of the environment, ended one episode and not the collection."""


def attempt(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call it.

    Raises:
        PolicyFailed: With the reason, whatever it raises.
    """
    try:
        return call(*arguments)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise PolicyFailed(f"{what}: {said[:_LONGEST_REASON]}") from error


class Seat:
    """One episode from its reset to its end."""

    def __init__(self, item: Item, recorder: EpisodeRecorder, entries: tuple[str, ...] = ()) -> None:
        """An episode that is about to begin; `entries` are the observation's that go on record, one row a look."""
        self._entries: dict[str, list[Any]] = {name: [] for name in entries}
        self.item, self.recorder = item, recorder
        self.policy: Any = None
        self.env: Any = None
        """What the policy sees as its environment."""
        self.observation: Observation | Any = None
        self.info: Mapping[str, Any] = {}
        self.intrinsics = np.zeros(4)
        self.goal: Any = None
        self.terminated = self.truncated = False
        self._poses: list[NDArray[np.float64]] = []
        self._actions: list[Any] = []
        self._rewards: list[float] = []
        self._size = (0, 0)
        self._began = time.perf_counter()

    def begin(self, frame: NDArray[np.uint8], pose: NDArray[np.float64]) -> None:
        """Frame 0 `(1, H, W, 3)` and its pose `(1, 4, 4)`."""
        self._poses, self._size = [np.array(pose)], (frame.shape[1], frame.shape[2])

    def look(self, observation: Any, info: Mapping[str, Any]) -> None:
        """What the policy will act on next."""
        self.observation, self.info = observation, info
        for name, rows in self._entries.items():
            rows.append(np.array(observation[name], np.float32))

    def act(self) -> Any:
        """What the policy does next, as an action of the environment beneath its wrappers."""
        action = self.policy.act(self.observation, self.info)
        return self.env.action(action) if isinstance(self.env, gym.ActionWrapper) else action

    def step(self, action: Any, poses: NDArray[np.float64], reward: float, terminated: bool, truncated: bool) -> None:
        """What a step gave: poses `(F, 4, 4)`, and what it meant."""
        self._actions.append(action)
        self._poses.append(np.array(poses))
        self._rewards.append(reward)
        self.terminated, self.truncated = terminated, truncated

    @property
    def ended(self) -> bool:
        """Whether the task or a limit has ended it."""
        return self.terminated or self.truncated

    def played(
        self,
        about: Mapping[str, Any],
        text: str,
        frames_per_step: int,
        fps: float,
        failed: str | None,
        reasons: tuple[str, ...],
    ) -> Played:
        """All of it, once it has ended.

        Args:
            about: Fields of the recipe that the worker knows.
            text: What was to be done, in words.
            frames_per_step: Pixel frames of a step.
            fps: Frames per second.
            failed: Why it could not go on; None if it could.
            reasons: What speaks against it otherwise.
        """
        steps = len(self._actions)
        actions = np.array(self._actions, dtype=np.float32) if steps else np.zeros((0, 6), np.float32)
        c2w = np.concatenate(self._poses) if self._poses else np.zeros((0, 4, 4))
        measures = {key: float(value) for key, value in self.info.items() if key not in _CLOCKS and _is_number(value)}
        success = bool(measures["success"]) if "success" in measures else None
        imagined = getattr(self.policy, "frames", 0)
        return Played(
            recipe={
                **about,
                "seed": self.item.seed,
                "start": self._start(),
                "actions": actions.tolist(),
                "frames": len(c2w),
                "frames_per_step": frames_per_step,
                "size": self._size,
                "fps": fps,
            },
            outcome={
                "text": text,
                "reward": float(sum(self._rewards)),
                "terminated": self.terminated,
                "truncated": self.truncated,
                "success": success,
                "failed": failed,
                "steps": steps,
                "frames": steps * frames_per_step,
                "imagined": int(imagined) if isinstance(imagined, int | np.integer) else 0,
                "seconds_of_world": steps * frames_per_step / fps,
                "seconds": time.perf_counter() - self._began,
                "measures": measures,
            },
            reasons=reasons if failed is None else (f"failed: {failed}", *reasons),
            c2w=c2w,
            intrinsics=self.intrinsics,
            actions=actions,
            rewards=np.array(self._rewards, dtype=np.float64),
            entries={name: np.stack(rows) for name, rows in self._entries.items() if rows},
        )

    def _start(self) -> dict[str, Any]:
        from gymnasium.utils import seeding

        scene, noise = draw_seeds(seeding.np_random(self.item.seed)[0])
        return {
            "scene_seed": scene if self.item.image is None else None,
            "noise_seed": noise,
            "intrinsics": self.intrinsics.tolist(),
            "goal": self.goal,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number | np.bool_) and bool(np.isfinite(value))


def numbers_of(simulator: Simulator) -> tuple[str, ...]:
    """Entries of the observation that are numbers, and no pictures: the task's, and those of sensors but for depth."""
    runner, suite, space = simulator.runner, simulator.suite, simulator.observation_space
    if not isinstance(space, spaces.Dict):
        return ()
    added = {**({} if runner is None else runner.entries), **({} if suite is None else suite.entries)}
    boxes = {name: space[name] for name in added if name in space.keys() and name != "depth"}
    return tuple(name for name, box in boxes.items() if isinstance(box, spaces.Box) and box.dtype != np.uint8)


def of_slot(batched: Any, slot: int) -> Any:
    """One slot's part of what `Simulator.show` gives; numbers as Python's."""
    if isinstance(batched, dict):
        return {key: of_slot(value, slot) for key, value in batched.items()}
    value = batched[slot]
    return value.item() if isinstance(value, np.generic) else value


def goal_of(begun: Slots) -> Any:
    """The task's goal, JSON-ready; None where there is none that is a handful of numbers."""
    task = begun.tasks[0]
    goal = None if task is None else task.values.get("goal")
    return None if goal is None or goal.size > 64 else goal.tolist()


def text_of(task: Task | None, prompt: str | None) -> str:
    """What was to be done, in words."""
    words = [task.name if task is not None else "", prompt or ""]
    return ": ".join(word for word in words if word) or "free walk"
